"""One client's reading of one stream: every event after its offset, once and in order, whatever happens meanwhile.

The whole of resuming is here. A subscription registers for live entries first, then reads the log from its offset,
unless it was registered before the log began, then goes on live; whenever live delivery does not continue exactly where
it stands, it reads the log again. The log is always read from the entry it has, inclusive: if that entry is not there,
the log went another way (a fork), or the reader is ahead of a log that is being repaired.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

import structlog
from redis.exceptions import RedisError

from relay.live.hub import Hub
from relay.live.inbox import Inbox
from shared.backoff import Backoff
from shared.entry import Entry
from shared.errors import GoneError
from shared.metrics import FORKS, GAP_REPAIRS, REPLAYED
from shared.offset import MAX_EVENTS_PER_ENTRY, NO_ENTRY, START, EntryId, Offset
from shared.run import Run
from shared.stream_log import StreamLog

log = structlog.get_logger()

_BATCH_BYTES = 8_192
"""The most that one ``read`` gives out, in bytes of a dialect, about; one entry is given at any size."""
_MOST_BATCH_BYTES = 32_768
"""The same for a reader that takes much at once."""
_ENTRY_BYTES = 128
"""What an entry comes to, before any was seen."""
_RESTORING_S = 15.0
"""How long a log may be missing before its readers are told that it is gone: a worker's longest absence."""


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
            yield from map(Piece, one.entries())
        else:
            yield one


class Subscription:
    """Reads one stream from an offset. One reader at a time; an async context manager.

    ``ended`` is true once the end event was given out. ``catching_up`` is true while a reader that was too slow for
    live delivery reads the log, and for a batch that gathered while it or the relay was slow: its dialect may then
    merge. Reading rides out any absence of Redis, in silence.
    """

    __slots__ = (
        "_ahead",
        "_backoff",
        "_batch_bytes",
        "_entry_bytes",
        "_from_log",
        "_hub",
        "_inbox",
        "_log",
        "_missing_since_s",
        "_most_entries",
        "_write",
        "catching_up",
        "ended",
        "offset",
        "stream_id",
    )

    def __init__(self, hub: Hub, stream_log: StreamLog, stream_id: str, offset: Offset, page_entries: int) -> None:
        """Prepare to read ``stream_id`` after ``offset``; nothing is asked of Redis yet."""
        self.stream_id = stream_id
        self.offset = offset
        self.ended = False
        self.catching_up = False
        self._hub = hub
        self._log = stream_log
        self._most_entries = page_entries
        self._entry_bytes = _ENTRY_BYTES
        self._batch_bytes = _BATCH_BYTES
        self._inbox: Inbox | None = None
        self._from_log = True
        self._ahead = False
        """Whether the log lacks the reader's entry: until it is back, nobody knows whether the reader has all of it."""
        self._backoff = Backoff(0.05, 1.0)
        self._missing_since_s: float | None = None
        self._write: Callable[[Entry], bool]

    async def __aenter__(self) -> Self:
        """Register for live entries. Raises ``UnavailableError`` when Redis does not answer."""
        self._inbox = await self._hub.join(self.stream_id)
        self._from_log = self.offset != START or not self._inbox.whole
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the live entries."""
        if self._inbox is not None:
            await self._hub.leave(self._inbox)

    async def skip_to_now(self) -> None:
        """Move the offset to the log's tail, so that only what comes is read. Raises ``RedisError``."""
        self.offset = Offset(await self.tail(), MAX_EVENTS_PER_ENTRY - 1)

    async def tail(self) -> EntryId:
        """Return the log's last entry, ``NO_ENTRY`` when there is no log. Raises ``RedisError``."""
        return await self._log.tail(self.stream_id)

    async def at_end(self) -> bool:
        """Tell whether the reader has the end event already. Raises ``RedisError``."""
        page = await self._log.read(self.stream_id, self.offset.entry, 2)
        at_tail = len(page) == 1 and page[0].id == self.offset.entry and self.offset.sub >= len(page[0].lines) - 1
        return at_tail and page[0].ends

    def deliver_directly(self, write: Callable[[Entry], bool]) -> None:
        """Have ``write`` tell the next entry, should it come while ``read`` waits for it; False: ``read`` returns it.

        Never the end, which ``read`` always returns.
        """
        assert self._inbox is not None
        self._write, self._inbox.direct = write, self._take_directly

    def _take_directly(self, entry: Entry) -> bool:
        """Tell a live entry that is exactly the next one."""
        here = self.offset.entry
        follows = entry.id.seq == here.seq + 1 and entry.id.attempt == here.attempt
        if not follows or self._ahead or entry.ends or not self._write(entry):
            return False
        self.offset = entry.last_offset()
        return True

    def poke(self) -> None:
        """Make a waiting ``read`` return, with nothing if need be."""
        if self._inbox is not None:
            self._inbox.poke()

    def pace(self, taken_bytes: int) -> None:
        """Give out more of the log at a time to a reader that has taken much at once, and little to any other."""
        much = taken_bytes * 4 >= self._batch_bytes  # some dialects say it in fewer bytes
        self._batch_bytes = min(self._batch_bytes * 2, _MOST_BATCH_BYTES) if much else _BATCH_BYTES

    async def read(self) -> Batch:
        """Wait for what comes next and return it; an empty batch is a sign of life after ``heartbeat_s`` of silence.

        Raises ``GoneError`` when the log has expired or was deleted. Safe to cancel: what was not returned is not lost.
        """
        assert self._inbox is not None
        if not self._from_log:
            await self._inbox.wait()
            self.catching_up = self._inbox.too_slow
            if not self._inbox.behind:
                batch = self._follow(self._inbox.take(_BATCH_BYTES))
                self.catching_up = self._inbox.crowded
                if batch or not self._from_log:
                    return batch
        self._from_log = True  # until the log has been read: a read that is cancelled here must not forget it
        try:
            self._inbox.caught_up()
            batch = await self._replay()
        except (RedisError, OSError) as error:
            log.info("subscription.redis_lost", stream=self.stream_id, error=type(error).__name__)
            await asyncio.sleep(self._backoff.next_s())
            return []
        if batch:
            self._backoff.reset()
        return batch

    def _follow(self, entries: list[Entry]) -> Batch:
        """Return the live entries that continue where the reader stands; turn to the log at the first that does not."""
        batch: Batch = []
        here, last = self.offset.entry, None
        for entry in entries:
            continues = entry.id.attempt == here.attempt or entry.follows == here
            if continues and entry.id.seq == here.seq + 1 and not self._ahead:
                batch.append(Piece(entry))
                here, last = entry.id, entry
            elif entry.id > here or entry.ends or (self._ahead and entry.id == here):
                # An end that is not ahead: the reader is ahead of all there will be.
                if entry.id.seq > here.seq + 1:
                    GAP_REPAIRS.inc()
                self._from_log = True
                break
        if last is not None:
            self._note(last)
        return batch

    async def _replay(self) -> Batch:
        """Return the next page of the log after the offset; at its tail, turn to live delivery."""
        here = self.offset.entry
        fitting = min(max(self._batch_bytes // self._entry_bytes, 1), self._most_entries)
        count = fitting + 1  # the entry it has
        page = await self._log.read_runs(self.stream_id, here, count)
        if page:
            self._missing_since_s = None
        if not page or (here != NO_ENTRY and page[0].first != here):
            return await self._off_the_log(something_follows=bool(page))
        self._ahead = False
        batch: Batch = []
        fresh = page
        if here != NO_ENTRY:
            had, fresh = page[0].entry(0), [*page[0].rest(), *page[1:]]
            if self.offset.sub < len(had.lines) - 1:
                batch.append(Piece(had, self.offset.sub + 1))
                self._note(had)
        told = self._within_a_batch(fresh)
        if told:
            self._note(told[-1])
        REPLAYED.inc(_entries(told))
        self._from_log = _entries(page) == count or _entries(told) < _entries(fresh)
        return [*batch, *told]

    def _within_a_batch(self, runs: Sequence[Run]) -> list[Run]:
        """Return as many of the first entries as a batch may hold, at least one, and read about as many next time.

        What does not fit is read again rather than held: a client may take its time over what it has been given.
        """
        told, told_bytes, entries = list[Run](), 0, 0
        for run in runs:
            fit = 0
            for more_bytes in run.told_bytes():
                if entries and told_bytes + more_bytes > self._batch_bytes:
                    break
                told_bytes, entries, fit = told_bytes + more_bytes, entries + 1, fit + 1
            if fit:
                told.append(run.first_of(fit))
            if fit < len(run):
                break
        if entries:
            self._entry_bytes = max(told_bytes // entries, 1)
        return told

    async def _off_the_log(self, *, something_follows: bool) -> Batch:
        """Decide what it means that the log does not hold the reader's entry."""
        glance = (await self._log.glance([self.stream_id]))[0]
        if not something_follows and glance.length == 0:
            return await self._wait_for_restoring(ended=glance.ended)
        self._missing_since_s = None
        if something_follows or glance.ended or glance.attempt > self.offset.entry.attempt:
            FORKS.inc()
            self.offset, self._from_log, self._ahead, self.ended = START, True, False, False
            return [Fork()]
        self._from_log, self._ahead = False, True  # the log is being repaired by its worker: wait until it passes
        return []

    async def _wait_for_restoring(self, *, ended: bool) -> Batch:
        """Give the worker of a stream whose log Redis has lost time to restore it. Raises ``GoneError`` after that."""
        now_s = time.monotonic()
        if self._missing_since_s is None:
            self._missing_since_s = now_s
        if ended or now_s - self._missing_since_s > _RESTORING_S:
            message = "the stream's log has expired or was deleted; start a new stream"
            raise GoneError(message, stream_id=self.stream_id)
        await asyncio.sleep(self._backoff.next_s())
        return []

    def _note(self, told: Entry | Run) -> None:
        """Move the offset past what was told."""
        self.offset = told.last_offset()
        self.ended = told.ends


def _entries(runs: Sequence[Run]) -> int:
    """Return how many entries runs have together."""
    return sum(map(len, runs))
