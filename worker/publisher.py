"""Group commit: one writer per worker process appends what all its streams have gathered, in one round trip.

A stream's first event goes out at once; whatever comes while an append is in flight goes out together with the
next. An entry once sent is frozen: the same id and the same bytes, however often it must be sent again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Literal

import structlog
from redis.exceptions import RedisError

from shared.backoff import Backoff
from shared.entry import Entry, blob_of_lines
from shared.events import EndEvent, EndStatus, Event, encode_event
from shared.metrics import APPENDS, COMMITS
from shared.offset import MAX_EVENTS_PER_ENTRY, NO_ENTRY, EntryId
from shared.record import Record
from shared.stream_log import MAX_APPENDS, Append, Appended, StreamLog

log = structlog.get_logger()


Interrupt = Literal["cancelled", "abandoned", "lost", "detached", "drained", "too_long"]
"""Why a provider call is stopped before its end."""


class LostStreamError(Exception):
    """The stream is no longer this writer's: ``status`` is fenced, closed or gone. Nothing more can be written."""

    def __init__(self, status: str) -> None:
        """Take the log's answer."""
        super().__init__(status)
        self.status = status


class StreamWriter:
    """The pen of one attempt: gathers its events and knows every entry of the log, its own and those before.

    ``limit_bytes`` bounds what is written here but not yet in the log; a full writer makes ``room`` wait, so that
    the provider is read no further.
    """

    def __init__(self, stream_id: str, record: Record, limit_bytes: int) -> None:
        """Make a writer for a granted attempt. ``adopt`` must give it the log before the first write.

        ``record`` is the stream's as of the grant, with our token; it is what restores a stream that Redis has lost.
        """
        self.stream_id = stream_id
        self.record = record
        self.attempt = record.attempt
        self.entries: list[Entry] = []
        self.on_signal: Callable[[Interrupt], None] = _ignore
        """Told ``cancelled`` when the log carries a wish to cancel, and ``lost`` when the stream is no longer ours."""
        self.settled_s = time.monotonic()
        """When the log last answered, on the monotonic clock."""
        self.lost: str | None = None
        self.ended = False
        self.log_bytes = 0
        self._limit_bytes = limit_bytes
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._unwritten_bytes = 0
        self._end_status: EndStatus | None = None
        self._next = 0
        self._changed = asyncio.Event()

    def adopt(self, entries: Sequence[Entry]) -> None:
        """Take over the log as read after the grant, with its original ids."""
        self.entries = list(entries)
        self.log_bytes = sum(len(entry.blob) for entry in entries)
        self._next = len(self.entries)

    def gather(self, events: Sequence[Event]) -> None:
        """Add events to the next entry. Never waits; callers await ``room`` between reads of the provider."""
        for event in events:
            line = encode_event(event)
            self._gathered.append(line)
            self._gathered_bytes += len(line)
            if isinstance(event, EndEvent):
                self._end_status = event.status

    async def room(self) -> None:
        """Return when there is room for more. Raises ``LostStreamError`` when there is no more use for it."""
        while self.lost is None and self._gathered_bytes + self._unwritten_bytes >= self._limit_bytes:
            self._changed.clear()
            await self._changed.wait()
        self._raise_if_lost()

    async def flushed(self) -> None:
        """Return when all that was gathered is in the log. Raises ``LostStreamError``."""
        while self.lost is None and self.pending:
            self._changed.clear()
            await self._changed.wait()
        self._raise_if_lost()

    @property
    def pending(self) -> bool:
        """Whether anything is not yet known to be in the log."""
        return bool(self._gathered) or self._next < len(self.entries)

    def next_append(self) -> Append:
        """Return the append to send now, freezing what has gathered when nothing older is unwritten."""
        if self._next == len(self.entries):
            lines, self._gathered = self._gathered[:MAX_EVENTS_PER_ENTRY], self._gathered[MAX_EVENTS_PER_ENTRY:]
            blob = blob_of_lines(lines, round(time.time() * 1000))
            self.entries.append(Entry(EntryId(self.attempt, len(self.entries) + 1), blob))
            self.log_bytes += len(blob)
            self._unwritten_bytes = sum(map(len, lines))
            self._gathered_bytes -= self._unwritten_bytes
        last = self._next == len(self.entries) - 1 and not self._gathered
        status = self._end_status if last else None
        return Append(self.stream_id, self.record.token, self.entries[self._next], status)

    def settle(self, outcome: Appended) -> None:
        """Take in what became of the append in flight."""
        self.settled_s = time.monotonic()
        if outcome.cancel_asked:
            self.on_signal("cancelled")
        match outcome.status:
            case "done":
                self._next += 1
                if self._next == len(self.entries):
                    self._unwritten_bytes = 0
                    self.ended = self._end_status is not None and not self._gathered
            case "tail":
                self.rewind(outcome.tail)
            case "fenced" | "closed" | "gone":
                self._lose(outcome.status)
            case "error":
                pass
        self._changed.set()

    def rewind(self, tail: EntryId) -> None:
        """Go back to the entry after ``tail``: the log has lost what follows, so it is sent again, unchanged."""
        known = 0 < tail.seq <= len(self.entries) and self.entries[tail.seq - 1].id == tail
        if not known and tail.seq != 0:
            self._lose("fenced")
            return
        self._next = tail.seq

    @property
    def tail(self) -> EntryId:
        """The last entry known to be in the log."""
        return self.entries[self._next - 1].id if self._next else NO_ENTRY

    def _lose(self, status: str) -> None:
        """Note that nothing more can be written."""
        self.lost = status
        self.on_signal("lost")
        self._changed.set()

    def _raise_if_lost(self) -> None:
        if self.lost is not None:
            raise LostStreamError(self.lost)


class Publisher:
    """The one task of a worker process that writes to the logs. Rides out any absence of Redis."""

    def __init__(self, stream_log: StreamLog) -> None:
        """Write through ``stream_log``."""
        self._log = stream_log
        self._dirty: dict[StreamWriter, None] = {}
        self._wake = asyncio.Event()

    def write(self, writer: StreamWriter, events: Sequence[Event]) -> None:
        """Gather ``events`` for ``writer``'s stream and see that they are appended. Never waits."""
        writer.gather(events)
        self.touch(writer)

    def touch(self, writer: StreamWriter) -> None:
        """See that whatever ``writer`` has pending is appended."""
        self._dirty[writer] = None
        self._wake.set()

    async def run(self) -> None:
        """Append until cancelled. Cancellation loses what is not in the log: flush the writers first."""
        backoff = Backoff(0.05, 1.0)
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._batch():
                if await self._commit(batch):
                    backoff.reset()
                else:
                    await asyncio.sleep(backoff.next_s())

    def _batch(self) -> list[StreamWriter]:
        """Return the streams to write next, each once, in the order in which they asked."""
        batch = list(self._dirty)[:MAX_APPENDS]
        for writer in batch:
            del self._dirty[writer]
        return [writer for writer in batch if writer.pending and writer.lost is None]

    async def _commit(self, batch: list[StreamWriter]) -> bool:
        """Send one append a stream; return False when Redis could not take all of them now."""
        appends = [writer.next_append() for writer in batch]
        try:
            outcomes = await self._log.append(appends)
        except (RedisError, OSError) as error:
            log.warning("publisher.retry", error=type(error).__name__, streams=len(batch))
            outcomes = [Appended("error", detail=type(error).__name__)] * len(batch)
        COMMITS.inc()
        APPENDS.inc(len(batch))
        for writer, outcome in zip(batch, outcomes, strict=True):
            if outcome.status == "gone":
                await self.restore(writer)
            else:
                writer.settle(outcome)
            if writer.pending and writer.lost is None:
                self._dirty[writer] = None
        refused = [outcome.detail for outcome in outcomes if outcome.status == "error"]
        if refused and len(refused) < len(batch):
            log.warning("publisher.refused", streams=len(refused), error=refused[0])
        return not refused

    async def restore(self, writer: StreamWriter) -> None:
        """Make a stream that Redis has lost anew from what its writer holds; its entries follow, with their old ids."""
        try:
            await self._log.create(writer.stream_id, writer.record, writer.entries[0])
        except (RedisError, OSError) as error:
            log.warning("publisher.not_restored", stream=writer.stream_id, error=type(error).__name__)
        else:
            log.warning("publisher.restored", stream=writer.stream_id, entries=len(writer.entries))
            writer.rewind(writer.entries[0].id)
        self.touch(writer)


def _ignore(_why: Interrupt) -> None:
    """Do nothing: nobody listens yet."""
