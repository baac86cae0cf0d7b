"""One client's reading of one stream: every event after its offset, once and in order, whatever happens meanwhile.

The whole of resuming is here. A subscription registers for live entries first, then reads the log from its offset,
unless it was registered before the log began, then goes on live; whenever live delivery does not continue exactly where
it stands, it reads the log again. The log is always read from the entry it has, inclusive: if that entry is not there,
the log went another way (a fork), or the reader is ahead of a log that is being repaired. Of a stream that has ended
the log is read first: only where it lacks the end is there anything to register for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

import structlog
from redis.exceptions import RedisError

from relay.live.hub import Hub
from relay.live.inbox import Inbox
from relay.live.outbox import Outbox
from relay.reading.batch import Batch, Fork, Piece
from relay.reading.kept_logs import KeptLogs
from relay.reading.pages import LogPages
from shared.backoff import Backoff
from shared.entry import Entry
from shared.errors import GoneError, UnavailableError
from shared.metrics import FORKS, GAP_REPAIRS, REPLAYED
from shared.offset import MAX_EVENTS_PER_ENTRY, NO_ENTRY, START, EntryId, Offset
from shared.run import Run, count_entries
from shared.stream_log import StreamLog

log = structlog.get_logger()

_BATCH_BYTES = 8_192
"""The most that is given out of what came live, in bytes of a dialect, about; one entry is given at any size."""
_RESTORING_S = 15.0
"""How long a log may be missing before its readers are told that it is gone: a worker's longest absence."""


class Subscription:
    """Reads one stream from an offset. One reader at a time; an async context manager.

    ``ended`` is true once the end event was given out. ``catching_up`` is true while a reader that was too slow for
    live delivery reads the log, and for a batch that gathered while it or the relay was slow: its dialect may then
    merge. Reading rides out any absence of Redis, in silence.
    """

    __slots__ = (
        "_ahead",
        "_backoff",
        "_from_log",
        "_hub",
        "_inbox",
        "_late",
        "_log",
        "_missing_since_s",
        "_page_entries",
        "_pages",
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
        self._page_entries = page_entries
        self._pages: LogPages | None = None
        """While the log is read. Nothing of it is kept while live entries are waited for."""
        self._inbox: Inbox | None = None
        self._late = False
        self._from_log = True
        self._ahead = False
        """Whether the log lacks the reader's entry: until it is back, nobody knows whether the reader has all of it."""
        self._backoff = Backoff(0.05, 1.0)
        self._missing_since_s: float | None = None
        self._write: Callable[[Entry], bool] | None = None

    def join_late(self, kept_logs: KeptLogs) -> None:
        """Register for live entries only should the log not hold the end, as a stream's does that has ended.

        To be called before anything is read. Such a log is read from ``kept_logs`` if it is there, or else kept there.
        """
        self._late = True
        self._reading().of_ended(kept_logs)

    async def __aenter__(self) -> Self:
        """Register for live entries. Raises ``UnavailableError`` when Redis does not answer."""
        if not self._late:
            inbox = await self._join()
            self._from_log = self.offset != START or not inbox.whole
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the live entries."""
        self._close_pages()
        if self._inbox is not None:
            self._hub.leave(self._inbox)

    async def _join(self) -> Inbox:
        """Register for live entries: what is read of the log after this misses nothing."""
        self._inbox = await self._hub.join(self.stream_id)
        if self._write is not None:
            self._inbox.direct = self._take_directly
        return self._inbox

    async def skip_to_now(self) -> None:
        """Move the offset to the log's tail, so that only what comes is read. Raises ``RedisError``."""
        self.offset = Offset(await self.tail(), MAX_EVENTS_PER_ENTRY - 1)

    async def tail(self) -> EntryId:
        """Return the log's last entry, ``NO_ENTRY`` when there is no log. Raises ``RedisError``."""
        return await self._log.tail(self.stream_id)

    async def look(self) -> Literal["end", "more", "nothing"]:
        """Tell what the log holds now of what ``read`` gives out: the end, which the reader has; more; or nothing.

        Nothing: the reader is ahead of the log, or there is none. Raises ``RedisError``. What is read of the log for
        this is not read again.
        """
        here = self.offset.entry
        try:
            runs = await self._reading().peek(here)
            at_tail = count_entries(runs) == 1 and runs[0].first == here and runs[0].last_offset() <= self.offset
            if at_tail and runs[0].ends:
                return "end"
        except ValueError:  # no log: ``read`` says so
            return "more"
        return "more" if runs else "nothing"

    def deliver_directly(self, write: Callable[[Entry], bool]) -> Outbox:
        """Have ``write`` tell the next entry, should it come while ``read`` waits for it; False: ``read`` returns it.

        Never the end, which ``read`` always returns. What is told so goes to the outbox that is returned.
        """
        self._write = write
        if self._inbox is not None:
            self._inbox.direct = self._take_directly
        return self._hub.outbox

    def _take_directly(self, entry: Entry) -> bool:
        """Tell a live entry that is exactly the next one."""
        if self._write is None or self._ahead or not entry.continues(self.offset.entry) or entry.ends:
            return False
        if not self._write(entry):
            return False
        self.offset = entry.last_offset()
        return True

    def poke(self) -> None:
        """Make a waiting ``read`` return, with nothing if need be."""
        if self._inbox is not None:
            self._inbox.poke()

    def pace(self, taken_bytes: int) -> None:
        """Give out more of the log at a time to a reader that has taken much at once, until ``shed``.

        To be called by who calls ``shed`` before waiting for a client.
        """
        if self._pages is not None:
            self._pages.pace(taken_bytes)

    def shed(self) -> None:
        """Hold nothing of the log for a client that has stopped reading; it is read again."""
        if self._pages is not None:
            self._pages.shed()

    async def read(self) -> Batch:
        """Wait for what comes next and return it; an empty batch is a sign of life after ``heartbeat_s`` of silence.

        Raises ``GoneError`` when the log has expired or was deleted. Safe to cancel: what was not returned is not lost.
        """
        if not self._from_log and self._inbox is not None:
            await self._inbox.wait()
            self.catching_up = self._inbox.too_slow
            if not self._inbox.behind:
                batch = self._follow(self._inbox.take(_BATCH_BYTES))
                self.catching_up = self._inbox.crowded
                if batch or not self._from_log:
                    return batch
        try:
            if not self._from_log and self._inbox is None:
                await self._join()
            self._from_log = True  # until the log has been read: a read that is cancelled here must not forget it
            batch = await self._replay()
        except (RedisError, OSError, UnavailableError) as error:
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
            if not self._ahead and entry.continues(here):
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
        """Return what follows in the log after the offset; at its tail, turn to live delivery."""
        pages = self._reading()
        batch: Batch = []
        if pages.held:
            await asyncio.sleep(0)  # others have their turn between two batches of a page, as they do while one is read
        else:
            here = self.offset.entry
            page = await pages.read(here)
            if not page.runs or (here != NO_ENTRY and page.runs[0].first != here):
                return await self._off_the_log(something_follows=bool(page.runs))
            self._missing_since_s = None
            self._ahead = False
            fresh = page.runs
            if here != NO_ENTRY:
                had, fresh = fresh[0].entry(0), [*fresh[0].after(1), *fresh[1:]]
                if self.offset.sub < len(had.lines) - 1:
                    batch.append(Piece(had, self.offset.sub + 1))
                    self._note(had)
            pages.hold(fresh, last=page.last)
        told = pages.take()
        if told:
            self._note(told[-1])
        REPLAYED.inc(count_entries(told))
        self._from_log = pages.more
        if not self._from_log:
            self._close_pages()
        return [*batch, *told]

    def _reading(self) -> LogPages:
        """Return what reads the log."""
        if self._pages is None:
            self._pages = LogPages(self._log, self.stream_id, self._page_entries, self._caught_up)
        return self._pages

    def _close_pages(self) -> None:
        """Hold nothing of the log."""
        pages, self._pages = self._pages, None
        if pages is not None:
            pages.close()

    def _caught_up(self) -> None:
        """Forget what was missed so far, since the log is about to be read."""
        if self._inbox is not None:
            self._inbox.caught_up()

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
