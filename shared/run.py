"""A run: entries that one attempt wrote one after the other, as they stand in the log.

Most of what reading an entry costs is to make an object of it. A run is taken apart into entries only by those who need
them; who tells it event by event reads its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import Any

from shared.entry import FRAME_BYTES, Entry
from shared.events import encoded_type
from shared.offset import EntryId, Offset


class Run:
    """The blobs of at least one entry, whose ids are ``first`` and those that follow it."""

    __slots__ = ("blobs", "first", "frames")

    def __init__(self, first: EntryId, blobs: Sequence[bytes]) -> None:
        """Take blobs as they stand in the log; nothing is checked before it is looked at."""
        self.first = first
        self.blobs = blobs
        self.frames: bytes | None = None
        """Its wire form in the native dialect, once somebody was told it."""

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.blobs)

    def entry(self, at: int) -> Entry:
        """Return one entry. Raises ``ValueError`` when it is not ours."""
        return Entry(EntryId(self.first.attempt, self.first.seq + at), self.blobs[at])

    def entries(self) -> list[Entry]:
        """Return all of them. Raises ``ValueError`` when one is not ours."""
        return [self.entry(at) for at in range(len(self.blobs))]

    def first_of(self, count: int) -> Run:
        """Return the first ``count`` entries, which is at least one."""
        return self if count >= len(self.blobs) else Run(self.first, self.blobs[:count])

    def after(self, count: int) -> list[Run]:
        """Return what follows the first ``count`` entries: one run, or none."""
        if count >= len(self.blobs):
            return []
        return [Run(EntryId(self.first.attempt, self.first.seq + count), self.blobs[count:])]

    def told_bytes(self) -> int:
        """Return what it comes to in a dialect, about: an entry counts as one event, which it mostly is."""
        return sum(map(len, self.blobs)) + FRAME_BYTES * len(self.blobs)

    def fitting(self, most_bytes: int, guess: int) -> int:
        """Return how many of the first entries come to ``most_bytes`` in a dialect, but no more than ``guess``."""
        first = self.first_of(guess)
        if first.told_bytes() <= most_bytes:
            return len(first)
        sizes = accumulate(len(blob) + FRAME_BYTES for blob in first.blobs)
        return sum(1 for _ in takewhile(most_bytes.__ge__, sizes))

    def last_offset(self) -> Offset:
        """Return the offset of a reader who has all of it."""
        last = EntryId(self.first.attempt, self.first.seq + len(self.blobs) - 1)
        return Offset(last, max(self.blobs[-1].count(b"\n") - 1, 0))

    @property
    def ends(self) -> bool:
        """Whether its last event is the end. Raises ``ValueError`` when that is no event."""
        blob = self.blobs[-1]
        return encoded_type(blob[blob.rindex(b"\n") + 1 :]) == b"end"


def count_entries(runs: Sequence[Run]) -> int:
    """Return how many entries runs have together."""
    return sum(map(len, runs))


def runs_of(found: Sequence[Any]) -> list[Run]:
    """Return the raw answer of an ``XRANGE`` as runs, as few as may be. Raises ``ValueError`` for what is no log.

    Ids only ever grow. So where the last is as far from the first as there are entries, none is missing in between.
    """
    if not found:
        return []
    first, last = EntryId.parse(found[0][0]), EntryId.parse(found[-1][0])
    if last == EntryId(first.attempt, first.seq + len(found) - 1):
        return [Run(first, [fields[1] for _, fields in found])]
    half = len(found) // 2
    return _joined(runs_of(found[:half]), runs_of(found[half:]))


def _joined(runs: list[Run], more: list[Run]) -> list[Run]:
    """Return the runs of two parts of a log; those where they meet are one, if they can be."""
    left, right = runs[-1], more[0]
    if EntryId(left.first.attempt, left.first.seq + len(left)) != right.first:
        return runs + more
    return [*runs[:-1], Run(left.first, [*left.blobs, *right.blobs]), *more[1:]]
