"""The table: what was struck, what survived, how long readers waited, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.faults.rounds import Outcome

HEADS = (
    "fault",
    "streams",
    "survived",
    "indexes",
    "wait p50",
    "p99",
    "dup",
    "lost",
    "resets",
    "takeovers",
    "calls",
    "most",
)
_TAKEN = ("lease_expired", "handed_over")


@dataclass
class Row:
    """What came of one fault, or of all."""

    fault: str
    rounds: int = 0
    streams: int = 0
    survived: int = 0
    indexes: set[int] = field(default_factory=set)
    """The places in an answer, in events, at which it was struck."""
    silences_s: list[float] = field(default_factory=list)
    """Of each struck stream: the longest silence of any of its SSE and long-poll readers from the strike on."""
    duplicates: int = 0
    losses: int = 0
    resets: int = 0
    takeovers: int = 0
    calls: list[int] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Take in one round."""
        self.rounds += 1
        self.calls += outcome.calls
        for answer in outcome.struck:
            told = answer.transcripts
            assert answer.struck_s is not None
            self.streams += 1
            self.survived += not answer.wrong and all(one.ended for one in told)
            self.indexes.add(answer.struck_index)
            self.duplicates += sum(one.duplicates for one in told)
            self.losses += sum(one.losses for one in told)
            self.resets += sum(one.resets for one in told)
            self.takeovers += max((sum(why in _TAKEN for why in one.attempts()) for one in told), default=0)
            readings = [one.silence_after(answer.struck_s) for one in told if one.mode in ("post", "events", "poll")]
            if silences := [silence for silence in readings if silence is not None]:
                self.silences_s.append(max(silences))

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        return (
            self.fault,
            str(self.streams),
            str(self.survived),
            str(len(self.indexes)),
            f"{percentile(self.silences_s, 50):.2f} s",
            f"{percentile(self.silences_s, 99):.2f} s",
            str(self.duplicates),
            str(self.losses),
            str(self.resets),
            str(self.takeovers),
            str(sum(self.calls)),
            str(max(self.calls, default=0)),
        )


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below or at which so many percent of ``values`` lie; 0 for none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] if ordered else 0.0


def rows_of(outcomes: Iterable[Outcome]) -> list[Row]:
    """Return a row per fault, and one of all."""
    rows: dict[str, Row] = {}
    every = Row("all")
    for outcome in outcomes:
        rows.setdefault(outcome.fault, Row(outcome.fault)).add(outcome)
        every.add(outcome)
    return [*rows.values(), every]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown."""
    cells = [HEADS, *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(HEADS))]
    lines = [_line(line, widths) for line in cells]
    rule = "|".join(("", *("-" * (width + 1) + ("-" if at == 0 else ":") for at, width in enumerate(widths)), ""))
    return "\n".join([lines[0], rule, *lines[1:]])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if at == 0 else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
