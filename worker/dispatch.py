"""How a worker gets its jobs: arq's queue and job runner, woken at once and never holding a stream.

A job is short. It asks the supervisor to accept a stream, and is over when the supervisor has answered; the stream
then runs in the supervisor's own tasks. See docs/decisions/dispatch.md for what of arq is used and what is replaced.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from arq.cron import CronJob
from arq.worker import Retry
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared import keys
from shared.backoff import Backoff
from shared.errors import UnavailableError
from shared.jobs import ANY_JOB, NO_JOB, JobRedis, job_end, wake_workers
from shared.scripts import Call
from shared.settings import Settings
from shared.tasks import end_tasks
from worker.short_jobs import MOST_STARTING, MOST_TRIES, ShortJobs, quieten_arq
from worker.taking import Taking

MOST_WAKES_TAKEN = 8
"""Wakes taken in one go from a backlog: few, so that a burst spreads over the workers."""
RETRY_S = 0.5
"""Delay before an accept that Redis failed is tried again; doubles."""
FIRST_BACKOFF_S = 0.05
LONGEST_BACKOFF_S = 1.0
SHORTEST_WAIT_S = 0.01
_RIPE_MS = 100
"""How long a job has been due when a poll takes it: before, its wake waits, or who was woken claims its stream."""
_CLAIMING_MS = 10
"""The same for a worker that was full: before, who was woken for it is most likely at it."""
_JOB_ID = re.compile(r"[a-z2-7]{26}:[0-9]{1,8}")
_FIRST_JOB_ID = re.compile(rb"[a-z2-7]{26}:1")

log = structlog.get_logger()


class Dispatcher:
    """Picks jobs while there is room and hands each to ``taking``. At least once: a claim decides who writes.

    A job whose wake comes here ends with its claim, where that can be; else, and wherever the claim fails, it is arq's:
    an ``accept`` that answers false, or raises anything but a Redis failure, ends it. A Redis failure is tried
    ``MOST_TRIES`` times with a growing delay; what is lost even so is found by its lease.
    """

    def __init__(self, redis: Redis, settings: Settings, taking: Taking, cron_jobs: Sequence[CronJob] = ()) -> None:
        """Take the queue Redis, of whose pool one connection is kept while running, and arq cron jobs to serve."""
        self._taking = taking
        self._poll_s = settings.poll_s
        self._block_s = min(settings.poll_s, settings.redis_timeout_s / 2)
        self._ttl_ms = round(settings.running_ttl_s * 1000)
        pool = JobRedis(redis.connection_pool, expires_extra_ms=self._ttl_ms)
        self._worker = ShortJobs(pool, self._produce, cron_jobs, self._poll_s)
        self._line: Redis = pool.client()
        self._begun: dict[str, asyncio.Task[bool]] = {}
        """What has been asked for already, by job."""
        self._orphans: set[asyncio.Task[bool]] = set()
        """The same, of jobs that are not run here: arq could not, or another worker does, or they are over."""
        self._picking: asyncio.Task[None] | None = None
        self._blocked = False
        self._cancelled = False
        self._poll_at = 0.0
        self._nudged = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Pick jobs until ``stop``, riding out every loss of Redis; then wait for the jobs in flight.

        Cancelling it cancels them as well; arq leaves a cancelled job in the queue for another worker.
        """
        quieten_arq()
        try:
            async with asyncio.TaskGroup() as jobs:
                self._worker.tasks_in(jobs, self._begin, self._end)
                await self._run_picking()
            if self._orphans:
                await asyncio.wait(self._orphans)
        finally:
            self._stopped.set()
            await end_tasks(self._orphans)
            await self._line.aclose()

    async def _run_picking(self) -> None:
        """Pick until stopped or cancelled, and never leave jobs marked as in progress that nobody runs."""
        self._picking = picking = asyncio.create_task(self._pick(), name="dispatch-pick")
        try:
            await asyncio.wait((picking,))
        except asyncio.CancelledError:
            self._cancelled = True
            raise
        finally:
            self._stop_picking()
            await asyncio.wait((picking,))
        if not picking.cancelled():
            picking.result()

    def _stop_picking(self) -> None:
        """End the picking task without cutting a start in two: its waits are cancelled, its commands finished.

        The flag is what counts: before Python 3.12 a cancellation can be lost inside redis-py, in ``wait_for``. So do
        jobs look at ``_cancelled`` before they ask for anything.
        """
        self._stopping.set()
        self._nudged.set()
        if self._picking is not None and self._blocked:
            self._picking.cancel()

    def nudge(self) -> None:
        """Say that a slot may have become free: a worker that was full looks at the queue at once."""
        self._nudged.set()

    async def stop(self, deadline_s: float) -> None:
        """Pick nothing more from now on; return when the jobs in flight are done, cancelled after ``deadline_s``."""
        self._stop_picking()
        if self._picking is None or await _set_within(self._stopped, deadline_s):
            return
        log.warning("dispatch.jobs_cancelled", jobs=self._worker.in_flight)
        self._cancelled = True
        self._worker.cancel_all()
        for begun in self._orphans:
            begun.cancel()
        await _set_within(self._stopped, deadline_s)

    # Picking

    async def _pick(self) -> None:
        loop = asyncio.get_running_loop()
        lost_at: float | None = None
        backoff = Backoff(FIRST_BACKOFF_S, LONGEST_BACKOFF_S)
        while not self._stopping.is_set():
            try:
                await self._turn()
            except (RedisError, OSError) as error:
                if lost_at is None:
                    lost_at = loop.time()
                    log.warning("dispatch.redis_lost", error=type(error).__name__, reason=str(error))
                self._poll_at = 0.0
                await _set_within(self._stopping, backoff.next_s())
            else:
                if lost_at is not None:
                    log.info("dispatch.redis_back", away_s=round(loop.time() - lost_at, 3))
                    lost_at = None
                    backoff.reset()

    async def _turn(self) -> None:
        """Look at the queue if it is time to, else wait for a wake, or for room."""
        wait_s = self._poll_at - asyncio.get_running_loop().time()
        if wait_s <= 0:
            ripe_ms = _RIPE_MS if self._poll_at else 0
            self._poll_at = asyncio.get_running_loop().time() + self._poll_s
            await self._start(ripe_ms)
            await self._worker.heart_beat()
        elif self._free() > 0:
            await self._start_woken(max(min(wait_s, self._block_s), SHORTEST_WAIT_S))
        else:
            self._nudged.clear()
            if await _set_within(self._nudged, wait_s):
                await self._start(_CLAIMING_MS)

    async def _start_woken(self, wait_s: float) -> None:
        """Wait for a wake and start the jobs that the wakes name: the rest are for the others who wait."""
        self._blocked = True
        try:
            count = min(self._free(), MOST_WAKES_TAKEN)
            popped = await self._line.execute_command("BLMPOP", wait_s, 1, keys.WAKE, "LEFT", "COUNT", count)
        except asyncio.CancelledError:
            with suppress(RedisError, OSError):
                await self._pass_on([ANY_JOB])  # Redis may have handed out a wake that was not read
            raise
        finally:
            self._blocked = False
        if popped:
            wakes = popped[1]
            usable = 0 if self._stopping.is_set() else max(self._free(), 0)
            if usable:
                await self._start_named(wakes[:usable])
            if usable < len(wakes):
                await self._pass_on(wakes[usable:])

    async def _start_named(self, wakes: list[bytes]) -> None:
        """Ask for the streams of the jobs that these wakes name, and start those jobs that do not end with that."""
        ending = [wake for wake in wakes if self._taking.ends_jobs and _FIRST_JOB_ID.fullmatch(wake)]
        if len(ending) < len(wakes):  # first, since whichever jobs they lead to may be among the others
            await self._start_marked([wake for wake in wakes if wake not in ending])
        for job_id in map(bytes.decode, ending):
            if not self._worker.runs(job_id):
                self._begin(job_id, job_end(job_id))
                self._let_be(job_id)
        await asyncio.sleep(0)  # what is asked for has taken its slot once its task has begun

    async def _start_marked(self, wakes: list[bytes]) -> None:
        """Start the jobs of these wakes; their streams are asked for while the jobs have yet to be marked."""
        named = [wake for wake in wakes if wake != ANY_JOB]
        asked = [wake.decode(errors="replace") for wake in named]
        for job_id in asked:
            self._begin(job_id)
        try:
            await self._worker.start_due(self._line, len(wakes) - len(named), named)
        finally:
            for job_id in asked:
                if not self._worker.runs(job_id):  # somebody else does, or it is found once more
                    self._let_be(job_id)

    async def _pass_on(self, wakes: list[bytes]) -> None:
        await wake_workers(self._line, wakes, self._ttl_ms)

    async def _start(self, ripe_ms: int) -> None:
        if (most := self._free()) > 0 and not self._stopping.is_set():
            await self._worker.start_due(self._line, most, ripe_ms=ripe_ms)

    def _free(self) -> int:
        """Return how many jobs may be started: a job in flight may take a slot that ``room`` still counts."""
        return min(self._taking.room(), MOST_STARTING - len(self._orphans)) - self._worker.in_flight

    # The job

    def _begin(self, job_id: str, job_end: Call = NO_JOB) -> None:
        """Ask for the job's stream while arq has yet to start the job: its id says all that there is in it.

        That saves two round trips before the first token. Whether arq can then run the job, and whether it is ours,
        makes no difference to the stream: what the claim says is right. With ``job_end`` arq has no part in it, unless
        no claim is made: then the next look at the queue finds the job.
        """
        known = job_id in self._begun or self._worker.runs(job_id)
        if _JOB_ID.fullmatch(job_id) and not self._cancelled and not known:
            stream_id, attempt = job_id.split(":")
            self._begun[job_id] = asyncio.create_task(
                self._taking.accept(stream_id, int(attempt), job_end), name=f"accept-{job_id}"
            )

    def _end(self, job_id: str) -> None:
        """Take in that a job is over. Look for another one."""
        self._let_be(job_id)
        self.nudge()

    def _let_be(self, job_id: str) -> None:
        """Leave alone what was begun for a job that is not run here: its claim may be made."""
        begun = self._begun.pop(job_id, None)
        if begun is not None:
            self._orphans.add(begun)
            begun.add_done_callback(self._forget)
            if self._cancelled:
                begun.cancel()

    def _forget(self, begun: asyncio.Task[bool]) -> None:
        """Drop what became of it: if it has failed, its job is tried again, or else its lease runs out.

        It has counted as a slot meanwhile, which may have been the last.
        """
        self._orphans.discard(begun)
        self.nudge()
        error = None if begun.cancelled() else begun.exception()
        if error is not None and not isinstance(error, (RedisError, OSError, UnavailableError)):
            log.error("dispatch.defect", task=begun.get_name(), exc_info=error)

    async def _produce(self, ctx: dict[Any, Any], *data: object) -> None:
        """Run one job. Raises arq's ``Retry`` when Redis failed ``accept`` and tries are left."""
        try:
            stream_id, attempt = msgspec.convert(data, tuple[str, int])
        except msgspec.ValidationError as error:
            log.warning("dispatch.job_malformed", job=ctx["job_id"], reason=str(error))
            return
        if self._cancelled:
            raise asyncio.CancelledError
        try:
            begun = self._begun.pop(ctx["job_id"], None) if ctx["job_id"] == f"{stream_id}:{attempt}" else None
            accepted = await (self._taking.accept(stream_id, attempt) if begun is None else begun)
        except (RedisError, OSError, UnavailableError) as error:
            tries = ctx["job_try"]
            failure = {"stream": stream_id, "attempt": attempt, "tries": tries, "error": type(error).__name__}
            if tries >= MOST_TRIES:
                log.warning("dispatch.job_given_up", **failure)
                return
            log.info("dispatch.job_retried", **failure)
            raise Retry(defer=RETRY_S * 2 ** (tries - 1)) from error
        if not accepted:
            log.debug("dispatch.job_refused", stream=stream_id, attempt=attempt)


async def _set_within(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for ``event``, ``timeout_s`` at the longest, and tell whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    return event.is_set()
