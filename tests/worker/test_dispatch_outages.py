"""Dispatch while Redis dies, hangs, is late or comes back: it goes on, and says so once."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from arq.constants import retry_key_prefix
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisLost
from structlog.testing import capture_logs

from shared.jobs import JobQueue
from shared.offset import new_stream_id
from shared.settings import Settings
from tests.conftest import StartRedis
from tests.support import eventually
from tests.worker.support_dispatch import Slots, dispatching, drained, enqueue, idle_in_blmpop, seen, started


async def test_dispatch_goes_on_after_redis_was_killed_and_started_again(redis_server: StartRedis) -> None:
    """Waiting for a wake: one line when Redis is lost, one when it is back, and jobs run as before."""
    server = redis_server(appendfsync="always")
    slots = Slots()
    with capture_logs() as logged:
        async with Redis.from_url(server.url) as redis, dispatching(server.url, slots):
            queue = JobQueue(redis, Settings())
            for outage in range(1, 4):
                await idle_in_blmpop(redis)
                server.kill()
                await seen(logged, "dispatch.redis_lost", outage)
                server.start()
                await seen(logged, "dispatch.redis_back", outage)
                await started(slots, *await enqueue(queue, 1))
                await drained(redis)
    assert len(logged) == 6


async def test_a_full_worker_does_not_notice_that_redis_was_away(redis_server: StartRedis) -> None:
    """It needs nothing then; when a slot is free again it works on, over a new connection."""
    server = redis_server(appendfsync="always")
    slots = Slots(1)
    with capture_logs() as logged:
        async with dispatching(server.url, slots, poll_s=0.05) as dispatcher:
            for outages in range(3):
                async with Redis.from_url(server.url) as redis:
                    await started(slots, *await enqueue(JobQueue(redis, Settings()), 1))
                    await drained(redis)
                    assert sum(line["event"] == "dispatch.redis_lost" for line in logged) <= outages
                server.restart()
                slots.running.clear()
                dispatcher.nudge()
    assert {line["event"] for line in logged} <= {"dispatch.redis_lost", "dispatch.redis_back"}


async def test_a_redis_that_hangs_is_noticed(redis_server: StartRedis) -> None:
    """A connection that stays open and says nothing holds the wait for a wake no longer than the Redis timeout."""
    server = redis_server()
    slots = Slots()
    with capture_logs() as logged:
        async with Redis.from_url(server.url) as redis, dispatching(server.url, slots, poll_s=0.1, timeout_s=0.3):
            await idle_in_blmpop(redis)
            server.pause()
            await seen(logged, "dispatch.redis_lost")
            server.resume()
            await seen(logged, "dispatch.redis_back")
            (stream_id,) = await enqueue(JobQueue(redis, Settings()), 1)
            await eventually(lambda: slots.running == {stream_id})


async def test_a_dispatcher_may_start_before_redis(redis_server: StartRedis) -> None:
    """It says once that Redis is not there, and works when it is."""
    server = redis_server()
    server.kill()
    slots = Slots()
    with capture_logs() as logged:
        async with dispatching(server.url, slots):
            await seen(logged, "dispatch.redis_lost")
            server.start()
            async with Redis.from_url(server.url) as redis:
                (stream_id,) = await enqueue(JobQueue(redis, Settings()), 1)
                await eventually(lambda: slots.running == {stream_id})


async def test_what_was_begun_runs_though_its_job_could_not_be_read(redis_url: str, redis: Redis) -> None:
    """The claim may be in the log already, and is not to cost an attempt and a lease; a repeat of the job finds it."""
    slots = Slots()
    slots.may_answer.clear()
    with capture_logs() as logged:
        async with dispatching(redis_url, slots):
            stream_id = await _enqueue_unreadable(redis)
            await seen(logged, "dispatch.job_unfinished")
            await eventually(lambda: slots.asked == [(stream_id, 1)])
            slots.may_answer.set()
            await started(slots, stream_id)


async def test_a_job_that_could_neither_be_read_nor_begun_is_told_once(redis_url: str, redis: Redis) -> None:
    """Redis has gone, for both alike; nothing is left to be complained of as never looked at."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    slots = Slots()
    slots.answer = RedisLost("gone")
    with capture_logs() as logged:
        async with dispatching(redis_url, slots):
            await _enqueue_unreadable(redis)
            await seen(logged, "dispatch.job_unfinished")
            await eventually(lambda: len(slots.asked) == 1)
    gc.collect()
    assert complaints == []
    assert [line["event"] for line in logged] == ["dispatch.job_unfinished"]


async def _enqueue_unreadable(redis: Redis) -> str:
    """Enqueue a job whose reading Redis refuses to arq; return its stream."""
    stream_id = new_stream_id()
    tries = f"{retry_key_prefix}{stream_id}:1"
    await redis.execute_command("RPUSH", tries, "no number")
    await redis.expire(tries, 60)
    assert await JobQueue(redis, Settings()).enqueue(stream_id, 1)
    return stream_id
