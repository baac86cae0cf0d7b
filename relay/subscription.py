"""One client's reading of one stream: every event after its offset, once and in order, whatever happens meanwhile.

The whole of resuming is here. A subscription registers for live entries first, then reads the log from its offset,
then goes on live; whenever live delivery does not continue exactly where it stands, it reads the log again. The
log is always read from the entry it has, inclusive: if that entry is not there, the log went another way (a fork),
or the reader is ahead of a log that is being repaired.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

import structlog
from redis.exceptions import RedisError

from relay.hub import Hub
from relay.inbox import Inbox
from shared.backoff import Backoff
from shared.entry import Entry
from shared.errors import GoneError
from shared.metrics import FORKS, GAP_REPAIRS, REPLAYED
from shared.offset import MAX_EVENTS_PER_ENTRY, NO_ENTRY, START, EntryId, Offset
from shared.stream_log import StreamLog

log = structlog.get_logger()

_BATCH_BYTES = 8_192
"""The most that one ``read`` gives out, in bytes of a dialect, about; one entry is given at any size."""
_FIRST_PAGE = 16
_RESTORING_S = 15.0
"""How long a log may be missing before its readers are told that it is gone: a worker's longest absence."""


class Piece(NamedTuple):
    """An entry, of which the first ``skip`` events were had before."""

    entry: Entry
    skip: int = 0


@dataclass(frozen=True)
class Fork:
    """The reader must discard all it has; the stream is told again from its start."""


Batch = list[Piece | Fork]


class Subscription:
    """Reads one stream from an offset. One reader at a time; an async context manager.

    ``ended`` is true once the end event was given out. ``catching_up`` is true while a reader that was too slow for
    live delivery reads the log, and for a batch that gathered while it or the relay was slow: its dialect may then
    merge. Reading rides out any absence of Redis, in silence.
    """

    def __init__(self, hub: Hub, stream_log: StreamLog, stream_id: str, offset: Offset, page_entries: int) -> None:
        """Prepare to read ``stream_id`` after ``offset``; nothing is asked of Redis yet."""
        self.stream_id = stream_id
        self.offset = offset
        self.ended = False
        self.catching_up = False
        self._hub = hub
        self._log = stream_log
        self._most_entries = page_entries
        self._page_entries = min(page_entries, _FIRST_PAGE)
        self._inbox: Inbox | None = None
        self._from_log = True
        self._backoff = Backoff(0.05, 1.0)
        self._missing_since_s: float | None = None
        self._write: Callable[[Entry], bool]

    async def __aenter__(self) -> Self:
        """Register for live entries. Raises ``UnavailableError`` when Redis does not answer."""
        self._inbox = await self._hub.join(self.stream_id)
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
        if not follows or entry.ends or not self._write(entry):
            return False
        self.offset = entry.last_offset()
        return True

    def poke(self) -> None:
        """Make a waiting ``read`` return, with nothing if need be."""
        if self._inbox is not None:
            self._inbox.poke()

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
            if entry.id.attempt == here.attempt and entry.id.seq == here.seq + 1:
                batch.append(Piece(entry))
                here, last = entry.id, entry
            elif entry.id > here or entry.ends:  # an end that is not ahead: the reader is ahead of all there will be
                if entry.id.seq > here.seq + 1:
                    GAP_REPAIRS.inc()
                self._from_log = True
                break
        if last is not None:
            self._note(last)
        return batch

    async def _replay(self) -> Batch:
        """Return the next page of the log after the offset; at its tail, turn to live delivery."""
        here, count = self.offset.entry, self._page_entries + 1  # one more: the entry it has
        page = await self._log.read(self.stream_id, here, count)
        if page:
            self._missing_since_s = None
        if here == NO_ENTRY and page:
            fresh = page
        elif page and page[0].id == here:
            fresh = page[1:]
        else:
            return await self._off_the_log(something_follows=bool(page))
        told = self._within_a_batch(fresh)
        REPLAYED.inc(len(told))
        batch: Batch = []
        if page[0].id == here and self.offset.sub < len(page[0].lines) - 1:
            batch.append(Piece(page[0], self.offset.sub + 1))
            self._note(page[0])
        batch += [Piece(entry) for entry in told]
        if told:
            self._note(told[-1])
        self._from_log = len(page) == count or len(told) < len(fresh)
        return batch

    def _within_a_batch(self, entries: list[Entry]) -> list[Entry]:
        """Return as many of the first entries as a batch may hold, at least one, and read about as many next time.

        What does not fit is read again rather than held: a client may take its time over what it has been given.
        """
        told_bytes, told = 0, len(entries)
        for number, entry in enumerate(entries):
            more_bytes = entry.told_bytes
            if number and told_bytes + more_bytes > _BATCH_BYTES:
                told = number
                break
            told_bytes += more_bytes
        if told:
            self._page_entries = min(max(told * _BATCH_BYTES // told_bytes, 1), self._most_entries)
        return entries[:told]

    async def _off_the_log(self, *, something_follows: bool) -> Batch:
        """Decide what it means that the log does not hold the reader's entry."""
        glance = (await self._log.glance([self.stream_id]))[0]
        if not something_follows and glance.length == 0:
            return await self._wait_for_restoring(ended=glance.ended)
        self._missing_since_s = None
        if something_follows or glance.ended or glance.attempt > self.offset.entry.attempt:
            FORKS.inc()
            self.offset, self._from_log, self.ended = START, True, False
            return [Fork()]
        self._from_log = False  # ahead of a log that its worker is repairing: wait until it passes
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

    def _note(self, entry: Entry) -> None:
        """Move the offset past ``entry``."""
        self.offset = entry.last_offset()
        self.ended = entry.ends
