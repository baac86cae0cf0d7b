"""Taking turns: each round begins with another system, so that none always runs after the same one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def rotated(things: Sequence[T], number: int) -> list[T]:
    """Return the things in the order of round ``number``, counted from 0."""
    at = number % len(things)
    return [*things[at:], *things[:at]]
