"""What has come live for one subscription and has not been taken yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from shared.entry import Entry
from shared.metrics import CATCH_UPS


class Limits(NamedTuple):
    """What one inbox may hold: so many entries, of so many bytes as ``put`` counts them; and what is a crowd."""

    entries: int
    size: int
    merge: int


class Inbox:
    """A bounded queue of live entries with one taker.

    When it is full it is emptied and marked ``behind``: the taker reads the log instead, at its own pace, so that a
    slow client costs no memory and loses nothing. ``too_slow`` tells that from other reasons to read the log.
    ``crowded``: so much had gathered when it was taken last that its deltas should be told as one.
    """

    __slots__ = (
        "_bytes",
        "_entries",
        "_limits",
        "_waiter",
        "behind",
        "crowded",
        "direct",
        "last_wake_s",
        "stream_id",
        "too_slow",
    )

    def __init__(self, stream_id: str, limits: Limits) -> None:
        """Hold what ``limits`` allow of the stream."""
        self.stream_id = stream_id
        self.behind = False
        self.too_slow = False
        self.last_wake_s = time.monotonic()
        self.crowded = False
        self.direct: Callable[[Entry], bool] | None = None
        """Offered what comes while the taker waits; where it takes it, the taker goes on waiting."""
        self._limits = limits
        self._bytes = 0
        self._entries: list[Entry] = []  # not a deque: an empty one takes 600 bytes, and mostly it is empty
        self._waiter: asyncio.Future[None] | None = None

    @property
    def whole(self) -> bool:
        """Whether it has heard the log from its first entry on, so that nobody needs to read it."""
        return bool(self._entries) and not self.behind and self._entries[0].id.seq == 1

    def offer(self, entry: Entry) -> bool:
        """Hand a live entry on directly; return False where it must be ``put``."""
        waits = self._waiter is not None and not self._waiter.done()
        if waits and self.direct is not None and self.direct(entry):
            self.last_wake_s = time.monotonic()
            return True
        return False

    def put(self, entry: Entry, share_bytes: int) -> None:
        """Add a live entry, of whose memory ``share_bytes`` are this inbox's; one alone is taken at any size."""
        if self.behind:
            return
        self._bytes += share_bytes
        if self._entries and (len(self._entries) >= self._limits.entries or self._bytes > self._limits.size):
            CATCH_UPS.inc()
            self.too_slow = True
            self.mark_behind()
            return
        self._entries.append(entry)
        self.poke()

    def mark_behind(self) -> None:
        """Say that entries may have been missed: the log must be read."""
        self._entries.clear()
        self._bytes = 0
        self.behind = True
        self.poke()

    def poke(self) -> None:
        """Wake the taker, if it waits, with whatever there is, even nothing."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Return when there are entries, when they were missed, or at a ``poke``."""
        if not self._entries and not self.behind:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self.last_wake_s = time.monotonic()

    def take(self, most_bytes: int) -> list[Entry]:
        """Return and remove the first entries, as many as come to ``most_bytes`` in a dialect, but at least one.

        What many readers share here is each one's own once it is told: so much of it at a time is enough.
        """
        before = len(self._entries)
        self.crowded = before >= self._limits.merge
        if before == 1:
            self._bytes = 0
            return [self._entries.pop()]
        count, told_bytes = 0, 0
        for entry in self._entries:
            told_bytes += entry.told_bytes
            if count and told_bytes > most_bytes:
                break
            count += 1
        taken, self._entries = self._entries[:count], self._entries[count:]
        self._bytes = self._bytes * len(self._entries) // max(before, 1)
        return taken

    def caught_up(self) -> None:
        """Forget that anything was missed; call before reading the log, not after, so that nothing slips between."""
        self.behind = self.too_slow = False
