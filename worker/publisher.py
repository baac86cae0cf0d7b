"""Group commit: one writer per worker process appends what all its streams have gathered, in one round trip.

A stream's first event goes out at once; whatever comes while an append is in flight goes out together with the
next. An entry once sent is frozen: the same id and the same bytes, however often it must be sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from redis.exceptions import RedisError

from shared.backoff import Backoff
from shared.events import Event
from shared.metrics import APPENDS, COMMITS
from shared.stream_log import MAX_APPENDS, Appended, StreamLog
from worker.stream_writer import StreamWriter

log = structlog.get_logger()

_REFUSED_S = 0.25
"""After this a stream that Redis has refused is tried again; meanwhile the others go on."""


class Publisher:
    """The one task of a worker process that writes to the logs. Rides out any absence of Redis."""

    def __init__(self, stream_log: StreamLog) -> None:
        """Write through ``stream_log``."""
        self._log = stream_log
        self._dirty: dict[StreamWriter, None] = {}
        self._wake = asyncio.Event()
        self._away = False
        self._resting: set[StreamWriter] = set()
        """Streams that Redis has just refused."""

    def write(self, writer: StreamWriter, events: Sequence[Event]) -> None:
        """Gather ``events`` for ``writer``'s stream and see that they are appended. Never waits."""
        writer.gather(events)
        if not writer.may_hold(events):
            self.touch(writer)
        elif not writer.held:
            writer.held = True
            asyncio.get_running_loop().call_later(writer.delay_s, self.touch, writer)

    def touch(self, writer: StreamWriter) -> None:
        """See that whatever ``writer`` has pending is appended now."""
        writer.held = False
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
        return [one for one in batch if one.due and one.lost is None and one not in self._resting]

    async def _commit(self, batch: list[StreamWriter]) -> bool:
        """Send one append a stream; return False when Redis cannot be reached."""
        appends = [writer.next_append() for writer in batch]
        try:
            outcomes = await self._log.append(appends)
        except (RedisError, OSError) as error:
            if not self._away:
                log.warning("publisher.redis_lost", error=type(error).__name__, streams=len(batch))
            self._away = True
            outcomes = [Appended("error", detail=type(error).__name__)] * len(batch)
        else:
            self._away = False
            COMMITS.inc()
            APPENDS.inc(len(batch))
        for writer, outcome in zip(batch, outcomes, strict=True):
            if outcome.status == "gone":
                await self.restore(writer)
            else:
                writer.settle(outcome)
            if outcome.status == "error" and not self._away:
                self._resting.add(writer)
                asyncio.get_running_loop().call_later(_REFUSED_S, self._try_again, writer)
            elif writer.due and writer.lost is None:
                self._dirty[writer] = None
        refused = [outcome.detail for outcome in outcomes if outcome.status == "error"]
        if refused and not self._away:
            log.warning("publisher.refused", streams=len(refused), error=refused[0])
        return not self._away

    def _try_again(self, writer: StreamWriter) -> None:
        """Let a stream that was refused have another try."""
        self._resting.discard(writer)
        self.touch(writer)

    async def restore(self, writer: StreamWriter) -> None:
        """Make a stream that Redis has lost anew from what its writer holds; its entries follow, with their old ids."""
        try:
            await self._log.create(writer.stream_id, writer.record, writer.entries[0], new=False)
        except (RedisError, OSError) as error:
            log.warning("publisher.not_restored", stream=writer.stream_id, error=type(error).__name__)
        else:
            log.warning("publisher.restored", stream=writer.stream_id, entries=len(writer.entries))
            writer.rewind(writer.entries[0].id)
        self.touch(writer)
