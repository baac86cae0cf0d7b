"""The worker's own copy of a log, held so that it costs little for as long as the stream runs.

A writer keeps every entry, to write again what Redis may lose. As objects they would be most of what the process holds,
and Python's collector would stop all streams for a tenth of a second and more to look through them; bytes it passes by.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import overload

from shared.entry import Entry
from shared.offset import EntryId


class Entries(Sequence[Entry]):
    """All entries of a log from its first on, without a gap, of any number of attempts one after the other."""

    __slots__ = ("_attempts", "_begins", "_blobs", "size")

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Hold ``entries``."""
        self._blobs: list[bytes] = []
        self._attempts: list[int] = []
        self._begins: list[int] = []
        """Where the entries of each attempt begin."""
        self.size = 0
        """The bytes of all blobs."""
        for entry in entries:
            self.append(entry.id.attempt, entry.blob)

    def append(self, attempt: int, blob: bytes) -> None:
        """Add the next entry."""
        if not self._attempts or attempt != self._attempts[-1]:
            self._attempts.append(attempt)
            self._begins.append(len(self._blobs))
        self._blobs.append(blob)
        self.size += len(blob)

    def id_at(self, at: int) -> EntryId:
        """Return the id of one entry, counted from 0."""
        return EntryId(self._attempts[bisect_right(self._begins, at) - 1], at + 1)

    def since(self, at: int, most: int) -> list[tuple[EntryId, bytes]]:
        """Return the ids and blobs of up to ``most`` entries from the one at ``at`` on."""
        return [(self.id_at(place), self._blobs[place]) for place in range(at, min(at + most, len(self._blobs)))]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._blobs)

    @overload
    def __getitem__(self, at: int) -> Entry: ...

    @overload
    def __getitem__(self, at: slice) -> list[Entry]: ...

    def __getitem__(self, at: int | slice) -> Entry | list[Entry]:
        """Return one entry, or several, as objects of their own."""
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        place = range(len(self._blobs))[at]
        return Entry(self.id_at(place), self._blobs[place])
