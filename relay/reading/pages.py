"""A log as one reader is given it: read page by page, and given out in batches.

Who takes all at once is read large pages, which are held meanwhile. Of anybody else nothing is held but what is being
told: a slow client costs no memory. The log of a stream that has ended is gathered while its reader keeps up, and the
next reader is given it from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from relay.reading.kept_logs import Gathering, KeptLogs
from shared.metrics import KEPT_REPLAYS
from shared.offset import NO_ENTRY, EntryId
from shared.run import Run, count_entries
from shared.stream_log import StreamLog

_BATCH_BYTES = 8_192
"""The most that is given out at a time, in bytes of a dialect, about; one entry is given out at any size."""
_MOST_BATCH_BYTES = 32_768
"""The same for a reader that takes much at once."""
_PAGE_BATCHES = 8
"""What is read at a time for such a reader; for any other it is what is given out at a time."""
_ENTRY_BYTES = 128
"""What an entry comes to, before any was seen."""


class Page(NamedTuple):
    """What was read of a log at a time."""

    runs: list[Run]
    last: bool
    """Whether the log held no more."""


class LogPages:
    """Reads one stream's log for one reader, who takes the pages in the order of the log."""

    __slots__ = (
        "_as_kept",
        "_asking",
        "_batch_bytes",
        "_entry_bytes",
        "_gathering",
        "_held",
        "_kept_logs",
        "_last",
        "_log",
        "_most_entries",
        "_peeked",
        "_stream_id",
    )

    def __init__(self, stream_log: StreamLog, stream_id: str, most_entries: int, asking: Callable[[], None]) -> None:
        """Read up to ``most_entries`` at a time; nothing is asked of Redis yet.

        ``asking`` is called right before each time that it is: what happens after that may not be in the answer.
        """
        self._log = stream_log
        self._stream_id = stream_id
        self._most_entries = most_entries
        self._asking = asking
        self._batch_bytes = _BATCH_BYTES
        self._entry_bytes = _ENTRY_BYTES
        self._held: list[Run] = []
        self._last = False
        self._peeked: tuple[EntryId, Page] | None = None
        """A page that was read to be looked at, and from where on."""
        self._kept_logs: KeptLogs | None = None
        self._gathering: Gathering | None = None
        self._as_kept = False
        """Whether what was read last are runs of a kept log, which are given out whole: their frames are shared."""

    def of_ended(self, kept_logs: KeptLogs) -> None:
        """Take the log, which is an ended stream's, from ``kept_logs``, or else have it kept there once it was told."""
        self._kept_logs = kept_logs

    @property
    def held(self) -> bool:
        """Whether there is something to ``take``."""
        return bool(self._held)

    @property
    def more(self) -> bool:
        """Whether the log held more than has been taken."""
        return bool(self._held) or not self._last

    def pace(self, taken_bytes: int) -> None:
        """Give out and read more at a time for a reader that has taken much at once, and little after a ``shed``.

        Little taken, as of the last few entries of a page, says nothing.
        """
        if taken_bytes * 4 >= self._batch_bytes:  # some dialects say it in fewer bytes
            self._batch_bytes = min(self._batch_bytes * 2, _MOST_BATCH_BYTES)

    async def peek(self, start: EntryId) -> list[Run]:
        """Return what ``read`` returns next, if that is from the same ``start`` on. Raises as ``read`` does."""
        page = await self.read(start)
        self._peeked = start, page
        return page.runs

    async def read(self, start: EntryId) -> Page:
        """Return a page from ``start`` on, itself included. Safe to cancel.

        Raises ``RedisError``, and ``ValueError`` for what is no log.
        """
        peeked, self._peeked = self._peeked, None
        if peeked is not None and peeked[0] == start:
            return peeked[1]
        kept = await self._read_kept(start)
        self._as_kept = kept is not None
        if kept is not None:
            return Page(kept, last=True)
        page_bytes = self._batch_bytes * (_PAGE_BATCHES if self._takes_much else 1)
        fitting = min(max(page_bytes // self._entry_bytes, 1), self._most_entries)
        count = fitting + 1  # the entry that the reader has
        self._asking()
        runs = await self._log.read_runs(self._stream_id, start, count)
        self._gather_from(start, runs)
        return Page(runs, count_entries(runs) < count)

    def hold(self, runs: list[Run], *, last: bool) -> None:
        """Keep what was read until it is taken; ``last``: the log held no more."""
        self._held, self._last = runs, last

    def take(self) -> list[Run]:
        """Return as many of the first entries held as may be given out at a time, but at least one.

        The rest is held for a reader that takes much. For any other it is read again: it may take its time over this.
        """
        taken, left_bytes, entries = list[Run](), self._batch_bytes, 0
        while self._held:
            run = self._held[0]
            if not (fit := self._fitting(run, left_bytes, first=not taken)):
                break
            taken.append(run.first_of(fit))
            left_bytes, entries = left_bytes - taken[-1].told_bytes(), entries + fit
            self._held[:1] = run.after(fit)
            if fit < len(run):
                break
        if entries:
            self._entry_bytes = max((self._batch_bytes - left_bytes) // entries, 1)
        if self._gathering is not None:
            self._gathering.add(taken)
        if not (self._takes_much or self._as_kept):
            self._drop()
        return taken

    def shed(self) -> None:
        """Hold nothing any more: the client has stopped reading."""
        self._batch_bytes = _BATCH_BYTES
        self._drop()
        self.close()

    def close(self) -> None:
        """Gather nothing any more. Idempotent."""
        if self._gathering is not None:
            self._gathering.stop()

    def _fitting(self, run: Run, left_bytes: int, *, first: bool) -> int:
        """Return how many entries of a run to give out within ``left_bytes``: of the ``first`` run at least one."""
        if self._as_kept:
            return len(run) if first or run.told_bytes() <= left_bytes else 0
        return run.fitting(left_bytes, max(left_bytes // self._entry_bytes, 1)) or int(first)

    async def _read_kept(self, start: EntryId) -> list[Run] | None:
        """Return the rest of the log from memory, None where it is not there or not what Redis has."""
        if self._kept_logs is None or (kept := self._kept_logs.get(self._stream_id)) is None:
            return None
        if (runs := kept.since(start)) is None:
            return None
        self._asking()
        last = await self._log.read_runs(self._stream_id, kept.last.first, 2)
        if kept.ends_in(last):
            KEPT_REPLAYS.inc()
            self.close()
            return runs
        self._kept_logs.drop(self._stream_id)
        return None

    def _gather_from(self, start: EntryId, runs: list[Run]) -> None:
        """Gather what is told, beginning with the entry that the reader has; nothing if the log lacks that."""
        if self._kept_logs is None:
            return None
        if start != NO_ENTRY and (not runs or runs[0].first != start):
            return self.close()
        had = [] if start == NO_ENTRY else [runs[0].first_of(1)]
        if self._gathering is None and not (had and had[0].ends):  # who has the end is told nothing
            self._gathering = self._kept_logs.gather(self._stream_id)
            self._gathering.add(had)
        return None

    @property
    def _takes_much(self) -> bool:
        """Whether the reader has taken all that it was given at once."""
        return self._batch_bytes > _BATCH_BYTES

    def _drop(self) -> None:
        """Forget what is held; it is read again."""
        self._last = self._last and not self._held
        self._held = []
