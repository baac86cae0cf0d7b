"""What the local provider must know of a wire to answer in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.messages_script import Frame, Script

Body = dict[str, Any]


@dataclass(frozen=True)
class Wire:
    """One provider's API, as its server has it."""

    name: str
    path: str
    """The route, as aiohttp writes it."""
    frames: Callable[[Script, Body, str], Iterator[Frame]]
    """The answer to a request of which a part has been said already."""
    turns: Callable[[Body], list[tuple[str, str]]]
    """Who said what in a request: ``user`` or ``assistant``, and the text."""
    error: Callable[[Script], Body]
    """The body of a refusal."""
    error_frame: Callable[[Script], bytes]
    """The same in the middle of an answer."""
    ping: bytes = b": ping\n\n"
    """A sign of life that says nothing."""
    problem: Callable[[Body], str | None] = lambda _: None
    """What the API would say is wrong with a request, if anything."""


def text_of(content: str | list[dict[str, Any]] | None) -> str:
    """Return the text of content, of whatever blocks or parts it is made."""
    return content if isinstance(content, str) else "".join(str(part.get("text") or "") for part in content or ())
