"""What a subscription gives out at a time: entries, runs of them, and forks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from shared.entry import Entry
from shared.run import Run


class Piece(NamedTuple):
    """An entry, of which the first ``skip`` events were had before."""

    entry: Entry
    skip: int = 0


@dataclass(frozen=True)
class Fork:
    """The reader must discard all it has; the stream is told again from its start."""


Batch = list[Piece | Fork | Run]


def pieces(batch: Batch) -> Iterator[Piece | Fork]:
    """Yield a batch entry by entry."""
    for one in batch:
        if isinstance(one, Run):
            for at in range(len(one)):
                yield Piece(one.entry(at))
        else:
            yield one
