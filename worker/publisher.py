"""Group commit: one writer per worker process appends what all its streams have gathered, in one round trip.

Whatever comes while an append is in flight goes out together with the next. Under load there is a pause between two
appends, the longer the more they carry, which saves more than half of what a token costs. An attempt's first tokens
wait for neither: they have a lane of their own. An entry once sent is frozen: the same id and the same bytes, however
often it must be sent again; and a stream has one append in flight at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import chain

import structlog
from redis.exceptions import RedisError

from shared.backoff import Backoff
from shared.events import Event
from shared.metrics import APPENDS, COMMITS
from shared.stream_log import MAX_APPENDS, Appended, StreamLog
from worker.stream_writer import StreamWriter
from worker.sweep import Sweep

log = structlog.get_logger()

_REFUSED_S = 0.25
"""After this a stream that Redis has refused is tried again; meanwhile the others go on."""
_END_FOLLOWS_S = 0.02
"""How long an answer's last events wait for its end, which is written once the provider's connection is done with."""
_PER_ENTRY_S = 0.003
"""How far apart two appends begin for each entry of the first: it matters from about 330 entries a second on."""
_SHORTEST_PAUSE_S = 0.001
"""The event loop's timers tick in milliseconds."""
_TOLD_S = 1.0
"""Refusals are logged no more often than this."""


class _Lane:
    """Streams that wait to be written together."""

    def __init__(self) -> None:
        """Begin with none."""
        self.wake = asyncio.Event()
        self._dirty: dict[StreamWriter, None] = {}

    def put(self, writer: StreamWriter) -> None:
        """Add a stream, if it is not there."""
        self._dirty[writer] = None
        self.wake.set()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._dirty)

    def take(self, may_go: Callable[[StreamWriter], bool]) -> list[StreamWriter]:
        """Return as many as may be written at once, in the order in which they asked; forget those that may not go."""
        taken: list[StreamWriter] = []
        for writer in list(self._dirty):
            del self._dirty[writer]
            if may_go(writer):
                taken.append(writer)
                if len(taken) == MAX_APPENDS:
                    break
        return taken


class Publisher:
    """The one part of a worker process that writes to the logs. Rides out any absence of Redis."""

    def __init__(self, stream_log: StreamLog, most_apart_s: float) -> None:
        """Write through ``stream_log``, under load each stream once in ``most_apart_s``."""
        self.sweep = Sweep()
        """Run before each append that follows another."""
        self._log = stream_log
        self._most_apart_s = most_apart_s
        self._usual, self._urgent = _Lane(), _Lane()
        self._away = False
        self._told_s = -_TOLD_S
        self._resting: set[StreamWriter] = set()
        """Streams that Redis has just refused."""

    def write(self, writer: StreamWriter, events: Sequence[Event], *, end_follows: bool = False) -> None:
        """Gather ``events`` for ``writer``'s stream and see that they are appended. Never waits.

        ``end_follows``: the answer's end is to be written next and at once, so that they can be one entry.
        """
        awaits_end = end_follows and writer.may_await_end(events)
        writer.gather(events)
        if awaits_end:
            self._hold(writer, _END_FOLLOWS_S)
        elif not (writer.delay_s and writer.may_hold(events)):
            self.touch(writer)
        elif not writer.held:
            self._hold(writer, writer.delay_s)

    def _hold(self, writer: StreamWriter, most_s: float) -> None:
        """Hold back what ``writer`` has gathered, unless it is touched before."""
        writer.held = True
        asyncio.get_running_loop().call_later(most_s, self.touch, writer)

    def touch(self, writer: StreamWriter) -> None:
        """See that whatever ``writer`` has pending is appended now."""
        writer.held = False
        (self._urgent if writer.eager else self._usual).put(writer)

    async def run(self) -> None:
        """Append until cancelled. Cancellation loses what is not in the log: flush the writers first."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_writing(), name="publisher.usual")
            group.create_task(self._keep_hastening(), name="publisher.urgent")

    async def _keep_writing(self) -> None:
        """Write what is usual, with pauses, reading answers under way before each further commit."""
        backoff = Backoff(0.05, 1.0)
        while True:
            await self._usual.wake.wait()
            self._usual.wake.clear()
            while waiting := len(self._usual):
                began_s = time.monotonic()
                written = await self._commit_all(waiting)
                if written is None:
                    self.sweep.end()  # the providers must be read all the same, or would seem silent
                    await asyncio.sleep(backoff.next_s())
                elif written:
                    backoff.reset()
                    await self._rest(written, began_s)
                    self.sweep.run()
            self.sweep.end()

    async def _commit_all(self, waiting: int) -> int | None:
        """Write the ``waiting`` streams that are there, by as many appends as that takes: no pause between them.

        Return how many could be written, or None when Redis cannot be reached; the others wait on.
        """
        written = 0
        while written < waiting and (batch := self._usual.take(self._may_go)):
            if not await self._commit(batch):
                return None
            written += len(batch)
        return written

    async def _keep_hastening(self) -> None:
        """Write what must not wait, at once."""
        backoff = Backoff(0.05, 1.0)
        while True:
            await self._urgent.wake.wait()
            self._urgent.wake.clear()
            while batch := self._urgent.take(self._may_go):
                if await self._commit(batch):
                    backoff.reset()
                else:
                    await asyncio.sleep(backoff.next_s())

    async def _rest(self, written: int, began_s: float) -> None:
        """Let the streams gather until it is time for the next sweep and append: the later, the more was written.

        Counted from when that began, so that on a slow machine, too, tokens wait no longer than that.
        """
        due_s = began_s + min(written * _PER_ENTRY_S, self._most_apart_s / self.sweep.runs)
        pause_s = due_s - self.sweep.took_s - time.monotonic()
        if pause_s >= _SHORTEST_PAUSE_S:
            await asyncio.sleep(pause_s)

    def _may_go(self, writer: StreamWriter) -> bool:
        """Tell whether a stream can be written now. One that is in flight comes back when its outcome is known."""
        return writer.due and writer.lost is None and writer not in self._resting

    async def _commit(self, batch: list[StreamWriter]) -> bool:
        """Send one append a stream; return False when Redis cannot be reached."""
        now_ms = round(time.time() * 1000)
        each = MAX_APPENDS // len(batch)
        appends = [writer.next_appends(each, now_ms) for writer in batch]
        try:
            outcomes = await self._log.append(list(chain.from_iterable(appends)))
        except (RedisError, OSError) as error:
            if not self._away:
                log.warning("publisher.redis_lost", error=type(error).__name__, streams=len(batch))
            self._away = True
            outcomes = [Appended("error", detail=type(error).__name__)] * sum(map(len, appends))
        else:
            self._away = False
            COMMITS.inc()
            APPENDS.inc(len(outcomes))
        at = 0
        for writer, mine in zip(batch, appends, strict=True):
            last = _settle(writer, outcomes[at : at + len(mine)])
            at += len(mine)
            if last == "gone":
                await self.restore(writer)
            writer.in_flight = False
            if last == "error" and not self._away:
                self._resting.add(writer)
                asyncio.get_running_loop().call_later(_REFUSED_S, self._try_again, writer)
            elif writer.due and writer.lost is None:
                self.touch(writer)
        refused = [outcome.detail for outcome in outcomes if outcome.status == "error"]
        if refused and not self._away and time.monotonic() - self._told_s > _TOLD_S:
            self._told_s = time.monotonic()
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
            outlook = (await self._log.outlook([(writer.stream_id, writer.record)]))[0]
        except (RedisError, OSError) as error:
            log.warning("publisher.not_restored", stream=writer.stream_id, error=type(error).__name__)
        else:
            log.warning("publisher.restored", stream=writer.stream_id, entries=len(writer.entries))
            if outlook.status == "tail":  # what else there may be, its next append is told
                writer.rewind(outlook.tail)
        self.touch(writer)


def _settle(writer: StreamWriter, outcomes: Sequence[Appended]) -> str:
    """Tell a writer what became of its appends, up to the first that was not done; return the last status told."""
    for outcome in outcomes:
        if outcome.status != "gone":
            writer.settle(outcome)
        if outcome.status != "done":
            break
    return outcome.status
