"""What the measurements come to: each row holds one of our numbers against somebody else's, from the same run."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Literal

from bench.measure import Load, Measured
from bench.percentile import percentile
from bench.plan import Plan
from bench.target import DIRECT, PROXY, TAILRACE, TUTORIAL, Target


@dataclass(frozen=True)
class Row:
    """One comparison. ``reached`` and ``target`` are a difference in ``unit`` for ``added``, a factor for ``ratio``."""

    what: str
    ours: float
    against: str
    theirs: float
    unit: str
    kind: Literal["added", "ratio"]
    reached: float
    target: float | None = None
    """The most that it is meant to be, where something is."""

    @property
    def missed(self) -> bool:
        """Whether there is a target and it was not reached."""
        return self.target is not None and self.reached > self.target


def rows_of(measured: Measured, plan: Plan) -> list[Row]:
    """Return every row of the table, in its order."""
    few, many = plan.few_streams, plan.streams
    return [
        *_first_token_rows(measured, DIRECT, (None, None)),
        *_first_token_rows(measured, TUTORIAL, (None, None)),
        *_first_token_rows(measured, PROXY, (4.0, 12.0)),
        _cpu_row(measured, Load(TAILRACE.name, few), Load(TUTORIAL.name, few), None),
        _cpu_row(measured, Load(TAILRACE.name, many), Load(TUTORIAL.name, few), 0.3),
        _cpu_row(measured, Load(TAILRACE.name, many), Load(PROXY.name, many), 1.2),
    ]


def _first_token_rows(measured: Measured, other: Target, targets: tuple[float | None, float | None]) -> list[Row]:
    """Return how much later than the other's our first token comes, at the median and at p99."""
    rows = []
    for share, target in zip((0.5, 0.99), targets, strict=True):
        ours = percentile(measured.first_token_ms[TAILRACE.name], share)
        theirs = percentile(measured.first_token_ms[other.name], share)
        what = f"first token, idle, p{share * 100:.0f}"
        rows.append(Row(what, ours, other.title, theirs, "ms", "added", ours - theirs, target))
    return rows


def _cpu_row(measured: Measured, ours: Load, theirs: Load, target: float | None) -> Row:
    """Return what a token costs us beside what it costs the other: the median of the ratios of each round.

    The ratio is taken within a round, since whatever else the machine does changes from round to round.
    """
    pairs = zip(measured.loads[ours], measured.loads[theirs], strict=True)
    ratio = median(our.us_per_token / their.us_per_token for our, their in pairs)
    our_us, their_us = (median(one.us_per_token for one in measured.loads[load]) for load in (ours, theirs))
    title = next(one.title for one in (TUTORIAL, PROXY) if one.name == theirs.target)
    what = f"CPU per token, {ours.streams} streams"
    return Row(what, our_us, f"{title}, {theirs.streams} streams", their_us, "us", "ratio", ratio, target)
