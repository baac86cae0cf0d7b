"""The streams of one worker: takes them on while there is room, runs each in a task, and lets go in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence

import structlog
from redis.exceptions import RedisError

from shared.appointments import Appointment
from shared.events import AttemptReason
from shared.jobs import NO_JOB
from shared.metrics import STREAMS
from shared.record import Record
from shared.scripts import Call
from shared.tasks import end_tasks
from worker.claiming import Grant, appointed, claim, release
from worker.parts import Parts
from worker.production import Production
from worker.stream_writer import Interrupt, StreamWriter

log = structlog.get_logger()

_FLUSH_S = 5.0
"""What handing over may take after the drain budget: writing what has gathered."""


class Supervisor:
    """Holds the streams that run here. ``run`` must be running while it takes any."""

    def __init__(self, parts: Parts, on_room: Callable[[], None]) -> None:
        """Call ``on_room`` whenever a slot becomes free."""
        self.running: dict[str, Production] = {}
        self.lingering: dict[str, tuple[StreamWriter, float]] = {}
        """Ended streams whose log is kept to restore what Redis may lose, each until a monotonic time."""
        self._parts = parts
        self._on_room = on_room
        self._claiming = 0
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = asyncio.Event()
        self._taking = True

    @property
    def ends_jobs(self) -> bool:
        """Whether the claim of a first attempt takes a ``job_end`` with it."""
        return self._parts.one_redis

    @property
    def draining(self) -> bool:
        """Whether nothing more is taken, because the worker shuts down."""
        return not self._taking

    def room(self) -> int:
        """Return how many more streams can be taken now."""
        free = self._parts.settings.worker_slots - len(self.running) - self._claiming
        return max(free, 0) if self._taking and self._group is not None else 0

    async def accept(self, stream_id: str, attempt: int, job_end: Call = NO_JOB) -> bool:
        """Claim a stream for ``attempt`` and run it; False when it is not to be had. Raises ``RedisError``."""
        return await self.take(stream_id, "first", attempt - 1, job_end)

    async def take(
        self, stream_id: str, reason: AttemptReason, replaces: int | None = None, job_end: Call = NO_JOB
    ) -> bool:
        """Claim a stream, whoever had it before, and run it; False when it is not to be had. Raises ``RedisError``."""
        if stream_id in self.running or stream_id in self.lingering or not self.room():
            return False
        return await self._run_claimed(stream_id, claim(self._parts, stream_id, reason, replaces, job_end))

    async def appoint(self, appointment: Appointment, made_ms: int) -> None:
        """Run a stream that has been claimed for this worker, or hand it over if there is no room any more.

        ``made_ms``: when it was claimed, by Redis TIME. Raises ``RedisError``.
        """
        if appointment.stream_id in self.running or appointment.stream_id in self.lingering:
            return  # told twice
        if self.room():
            await self._run_claimed(appointment.stream_id, appointed(self._parts, appointment, made_ms))
        else:
            await self._parts.leases.hand_over([appointment.stream_id])

    async def _run_claimed(self, stream_id: str, claiming: Coroutine[None, None, Grant | None]) -> bool:
        """Wait for the claim and run the stream; False when it was not granted, or nothing is taken any more."""
        self._claiming += 1
        try:
            grant = await claiming
        finally:
            self._claiming -= 1
        if grant is None:
            return False
        if not self._taking or self._group is None:  # granted while the worker was told to stop
            await self._parts.leases.hand_over([stream_id])
            return False
        if stream_id in self.running:  # claimed here twice at once; the log has given it to this one
            self.running[stream_id].interrupt("lost")
        production = Production(self._parts, grant)
        self.running[stream_id] = production
        self._idle.clear()
        STREAMS.labels("running").set(len(self.running))
        task = self._group.create_task(self._run_one(production, grant), name=f"stream:{stream_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def run(self) -> None:
        """Hold the tasks of all streams until ``drain`` has let go of them. Cancelling it stops every provider call."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._closed.wait()
            await self.end()

    async def end(self) -> None:
        """Take nothing more and stop every provider call, for certain: also where a cancellation was lost."""
        self._group = None
        await end_tasks(set(self._tasks))
        self._closed.set()

    async def drain(self, budget_s: float) -> None:
        """Take nothing more, let what finishes within ``budget_s`` finish, and hand the rest over at once."""
        self._taking = False
        log.info("worker.draining", streams=len(self.running))
        await self._wait_idle(budget_s)
        rest = list(self.running.values())
        for production in rest:
            production.interrupt("drained")
        await self._wait_idle(_FLUSH_S)
        try:
            await self._parts.leases.hand_over([one.stream_id for one in rest if one.handed_over])
        except (RedisError, OSError) as error:
            log.warning("worker.not_handed_over", streams=len(rest), error=type(error).__name__)
        self._closed.set()

    def interrupt_all(self, why: Interrupt) -> None:
        """Stop every provider call here."""
        for production in self.running.values():
            production.interrupt(why)

    async def _wait_idle(self, budget_s: float) -> None:
        """Return when no stream runs, or after ``budget_s``."""
        try:
            async with asyncio.timeout(budget_s):
                await self._idle.wait()
        except TimeoutError:
            pass

    async def _run_one(self, production: Production, grant: Grant) -> None:
        """Run one stream to its end here. A defect costs that stream an attempt, never the worker."""
        try:
            await production.run()
        except Exception:
            log.exception("stream.defect", stream=grant.stream_id)
        finally:
            if self.running.get(grant.stream_id) is production:
                del self.running[grant.stream_id]
            STREAMS.labels("running").set(len(self.running))
            if not self.running:
                self._idle.set()
            self._on_room()
        if production.writer.ended:
            linger_until_s = time.monotonic() + self._parts.settings.linger_s
            self.lingering[grant.stream_id] = (production.writer, linger_until_s)
            # A renewal since then may have put its lease back; one that is under way, ``release_ended`` looks after.
            if production.writer.release is None or self._parts.leases.renewed_s >= production.writer.end_sent_s:
                await self._release(production.stream_id, production.record)

    async def release_ended(self, stream_ids: Sequence[str]) -> None:
        """Take streams whose leases have just been renewed out of the book again, where they have ended meanwhile."""
        for stream_id in stream_ids:
            if stream_id in self.lingering and stream_id not in self.running:
                await self._release(stream_id, self.lingering[stream_id][0].record)

    async def _release(self, stream_id: str, record: Record) -> None:
        """Take the ended stream out of the book; if Redis is away, its lease brings somebody who does."""
        try:
            await release(self._parts, stream_id, record)
        except (RedisError, OSError) as error:
            log.info("stream.not_released", stream=stream_id, error=type(error).__name__)
