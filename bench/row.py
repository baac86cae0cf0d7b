"""A row of the table: one of our numbers against somebody else's or a limit, from the same run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.plan import Plan

Kind = Literal["ratio", "added", "amount"]
"""What ``reached`` is: ours by theirs, ours less theirs, or ours alone."""


@dataclass(frozen=True)
class Row:
    """One comparison; ``reached`` and ``target`` are a factor for ``ratio``, else in ``unit``."""

    name: str
    """As ``--only`` takes it."""
    what: str
    ours: float
    against: str
    """Empty where the target is a limit."""
    theirs: float | None
    unit: str
    kind: Kind
    reached: float
    target: float | None = None
    """What it is meant to be, where something is."""
    at_least: bool = False
    """Whether the target is the least, not the most."""

    @property
    def missed(self) -> bool:
        """Whether there is a target and it was not reached."""
        if self.target is None:
            return False
        return self.reached < self.target if self.at_least else self.reached > self.target


@dataclass(frozen=True)
class Table:
    """What lies behind rows, for a person to read."""

    title: str
    head: tuple[str, ...]
    lines: Sequence[tuple[str, ...]]


@dataclass
class Findings:
    """What a family of rows has found. ``data`` is what JSON keeps of it, every round by itself."""

    rows: list[Row] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """Rows that share a measurement. It runs when one of them is wanted, and gives no rows that are not."""

    name: str
    rows: tuple[str, ...]
    measure: Callable[[Plan], Awaitable[Findings]]
    """Starts what it needs and ends it. Raises ``BenchError``."""
    limit_s: Callable[[Plan], float]
    """The seconds after which it is given up on a machine that is too slow for it."""
