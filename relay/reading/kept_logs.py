"""Logs of ended streams that were told to their end not long ago, so that the next reader of one is told from memory.

A long answer that has ended is mostly read again soon, if it is: by a page that is loaded anew, by another device, by
all those who were sent the link. Nothing here is taken for true: before each use the log in Redis must still end in the
very entry that was read.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from shared.offset import NO_ENTRY, EntryId
from shared.run import Run

_KEEP_S = 60.0
"""For how long a log is kept that nobody reads."""
_RUN_BYTES = 8_192
"""What its runs come to in a dialect, about: as much as any reader is given at a time."""
_PER_LOG = 4
"""A log may take this part of the memory of all."""
_COPIES = 3
"""What a blob and its frames take, in blobs: at most, but for entries of many tiny events."""
_ENTRY_BYTES = 100
"""What an entry takes beside its bytes, about."""


@dataclass(frozen=True, slots=True)
class KeptLog:
    """A log from some entry to the end."""

    runs: list[Run]
    size_bytes: int
    """The memory that it takes, about, with the frames of one dialect."""

    @property
    def last(self) -> Run:
        """Its last entry."""
        return self.runs[-1].after(len(self.runs[-1]) - 1)[0]

    def goes_back_to(self, other: KeptLog) -> bool:
        """Tell whether it is the same log from the same entry on, or from an earlier one."""
        return self.ends_in([other.last]) and self.runs[0].first <= other.runs[0].first

    def ends_in(self, found: list[Run]) -> bool:
        """Tell whether what a log was found to hold from the last entry on is that entry and nothing else."""
        last = self.last
        return [(run.first, run.blobs) for run in found] == [(last.first, last.blobs)]

    def since(self, start: EntryId) -> list[Run] | None:
        """Return what it has from ``start`` on, itself included; None when that is not here."""
        if start == NO_ENTRY:
            return self.runs.copy() if self.runs[0].first.seq == 1 else None
        at = bisect_right(self.runs, start, key=_first) - 1
        run = self.runs[max(at, 0)]
        skipped = start.seq - run.first.seq
        if run.first.attempt != start.attempt or not 0 <= skipped < len(run):
            return None
        rest = run.after(skipped)[0] if skipped else run
        return [rest.first_of(1), *rest.after(1), *self.runs[at + 1 :]]


class KeptLogs:
    """The logs that a relay keeps, ``most_bytes`` at most, with those that are being told for the first time."""

    def __init__(self, most_bytes: int, keep_s: float = _KEEP_S) -> None:
        """Keep nothing yet. A log that nobody reads for ``keep_s`` is let go."""
        self._most_bytes = most_bytes
        self._keep_s = keep_s
        self.held_bytes = 0
        """What is kept and gathered now, about."""
        self._logs: OrderedDict[str, tuple[KeptLog, asyncio.TimerHandle]] = OrderedDict()
        """By stream, and in the order of their use."""
        self.gathered: set[str] = set()
        """The streams whose logs are being taken in, each of one reader."""

    def get(self, stream_id: str) -> KeptLog | None:
        """Return the log of a stream, and keep it for longer."""
        if stream_id not in self._logs:
            return None
        kept, timer = self._logs[stream_id]
        timer.cancel()
        self._logs[stream_id] = kept, self._drop_later(stream_id)
        self._logs.move_to_end(stream_id)
        return kept

    def drop(self, stream_id: str) -> None:
        """Keep the log of a stream no longer. Idempotent."""
        if stream_id in self._logs:
            kept, timer = self._logs.pop(stream_id)
            timer.cancel()
            self.held_bytes -= kept.size_bytes

    def gather(self, stream_id: str) -> Gathering:
        """Return what takes in the log of an ended stream while it is told; nothing if somebody else's reading does."""
        return Gathering(self, stream_id)

    def hold(self, more_bytes: int, of_one_bytes: int) -> bool:
        """Account for ``more_bytes`` of one log, which then has ``of_one_bytes``; False when that is too much."""
        if of_one_bytes > self._most_bytes // _PER_LOG:
            return False
        while self.held_bytes + more_bytes > self._most_bytes and self._logs:
            self.drop(next(iter(self._logs)))
        if self.held_bytes + more_bytes > self._most_bytes:
            return False
        self.held_bytes += more_bytes
        return True

    def let_go(self, fewer_bytes: int) -> None:
        """Account for as much less."""
        self.held_bytes -= fewer_bytes

    def keep(self, stream_id: str, kept: KeptLog) -> None:
        """Keep a log, whose memory is accounted for, unless there is more of the same."""
        there, _ = self._logs.get(stream_id, (None, None))
        if there is not None and there.goes_back_to(kept):
            return self.let_go(kept.size_bytes)
        self.drop(stream_id)
        self._logs[stream_id] = kept, self._drop_later(stream_id)
        return None

    def _drop_later(self, stream_id: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._keep_s, self.drop, stream_id)


class Gathering:
    """Takes in an ended log while it is told, page by page."""

    __slots__ = ("_kept_logs", "_over", "_runs", "_size_bytes", "_stream_id")

    def __init__(self, kept_logs: KeptLogs, stream_id: str) -> None:
        """Begin with nothing. While there is one of the same stream it takes in nothing."""
        self._kept_logs = kept_logs
        self._stream_id = stream_id
        self._runs: list[Run] = []
        self._size_bytes = 0
        self._over = stream_id in kept_logs.gathered
        if not self._over:
            kept_logs.gathered.add(stream_id)

    def add(self, runs: Iterable[Run]) -> None:
        """Take in what comes next; with the end the log is kept. Raises ``ValueError`` for what is no log."""
        if self._over:
            return None
        for run in runs:
            size_bytes = _COPIES * sum(map(len, run.blobs)) + _ENTRY_BYTES * len(run)
            if not self._kept_logs.hold(size_bytes, self._size_bytes + size_bytes):
                return self.stop()
            self._size_bytes += size_bytes
            self._runs += _cut(run)
        if self._runs and self._runs[-1].ends:
            kept, self._size_bytes = KeptLog(self._runs, self._size_bytes), 0
            self._kept_logs.keep(self._stream_id, kept)
            self.stop()
        return None

    def stop(self) -> None:
        """Take in nothing more, and keep nothing of it. Idempotent."""
        if not self._over:
            self._kept_logs.gathered.discard(self._stream_id)
            self._kept_logs.let_go(self._size_bytes)
            self._runs, self._size_bytes, self._over = [], 0, True


def _first(run: Run) -> EntryId:
    return run.first


def _cut(run: Run) -> Iterable[Run]:
    """Yield the parts of a run that a reader is given at a time."""
    rest = [run]
    while rest:
        part = rest[0].first_of(rest[0].fitting(_RUN_BYTES, len(rest[0])) or 1)
        yield part
        rest = rest[0].after(len(part))
