"""A supervisor's outside, a dispatcher to feed it, and what to wait for, for the tests of dispatch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from arq.constants import in_progress_key_prefix
from arq.cron import CronJob
from redis.asyncio import Redis

from shared import keys
from shared.jobs import NO_JOB, JobQueue
from shared.offset import new_stream_id
from shared.redis_client import queue_redis
from shared.scripts import Call, run_script
from shared.settings import Settings
from tests.support import eventually
from worker.dispatch import Dispatcher

NEVER_S = 60.0
"""A poll interval that leaves everything to wakes and nudges."""


class Slots:
    """What a supervisor is to dispatch: it takes streams until its slots are used, and remembers all it was asked.

    Those of several workers share ``claimed``, by which a stream goes to the first who asks, as in the log.
    """

    ends_jobs = False
    """Whether an answer ends its job, as where one script does both."""
    redis: Redis
    """Where the queue is, while dispatching."""

    def __init__(self, slots: int = 1000, claimed: set[str] | None = None) -> None:
        """Take how many streams may run at once."""
        self.slots = slots
        self.claimed = claimed
        self.running: set[str] = set()
        self.answering = 0
        self.asked: list[tuple[str, int]] = []
        self.asked_at: dict[str, float] = {}
        self.answer: bool | Exception = True
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def accept(self, stream_id: str, attempt: int, job_end: Call = NO_JOB) -> bool:
        """Wait until ``may_answer``, then answer or raise ``answer``."""
        self.asked_at.setdefault(stream_id, asyncio.get_running_loop().time())
        self.asked.append((stream_id, attempt))
        self.answering += 1
        try:
            await self.may_answer.wait()
            answer = self._answer(stream_id)
            if job_end.keys:
                await run_script(self.redis, *job_end)
            return answer
        finally:
            self.answering -= 1

    def _answer(self, stream_id: str) -> bool:
        """Take the stream, if it is to be had."""
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.claimed is not None:
            if stream_id in self.claimed:
                return False
            self.claimed.add(stream_id)
        if self.answer:
            self.running.add(stream_id)
        return self.answer

    def room(self) -> int:
        """Return the slots nobody uses."""
        return self.slots - len(self.running)


class ClaimingSlots(Slots):
    """The same, which counts a stream that is being asked for, as a supervisor does."""

    def room(self) -> int:
        """Return the slots nobody uses or is about to use."""
        return super().room() - self.answering


@asynccontextmanager
async def dispatching(
    url: str, slots: Slots, poll_s: float = 0.5, cron_jobs: Sequence[CronJob] = (), timeout_s: float = 5.0
) -> AsyncIterator[Dispatcher]:
    """Run a dispatcher with a pool of its own, and stop it in the end."""
    settings = Settings(redis_url=url, poll_s=poll_s, redis_timeout_s=timeout_s)
    redis = slots.redis = queue_redis(settings)
    dispatcher = Dispatcher(redis, settings, slots, cron_jobs)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(dispatcher.run())
            yield dispatcher
            await dispatcher.stop(5.0)
    finally:
        await redis.connection_pool.disconnect()


async def enqueue(queue: JobQueue, count: int) -> list[str]:
    """Enqueue a first attempt of ``count`` new streams and return their ids."""
    stream_ids = [new_stream_id() for _ in range(count)]
    for stream_id in stream_ids:
        assert await queue.enqueue(stream_id, 1)
    return stream_ids


async def idle_in_blmpop(redis: Redis, workers: int = 1) -> None:
    """Wait until ``workers`` connections are blocked waiting for a wake."""

    async def blocked() -> bool:
        return int((await redis.info("clients"))["blocked_clients"]) == workers

    await eventually(blocked)


async def started(slots: Slots, *stream_ids: str) -> None:
    """Wait until the streams run."""
    await eventually(lambda: slots.running >= set(stream_ids), what="the streams run")


async def seen(logged: Sequence[Any], event: str, times: int = 1) -> None:
    """Wait until ``event`` has been logged so many times."""
    await eventually(lambda: sum(line["event"] == event for line in logged) == times, what=event)


async def drained(redis: Redis) -> None:
    """Wait until no job is queued or in progress."""

    async def empty() -> bool:
        return not await redis.zcard(keys.QUEUE) and not await redis.keys(f"{in_progress_key_prefix}*")

    await eventually(empty, what="an empty queue")
