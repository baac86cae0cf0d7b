"""What becomes of a job: done, refused, tried again, given up, thrown away, cut, or run by cron. On a real Redis."""

from __future__ import annotations

import asyncio
import logging
import pickle
from typing import Any

import pytest
from arq.constants import health_check_key_suffix, in_progress_key_prefix, job_key_prefix, retry_key_prefix
from arq.cron import CronJob, cron
from arq.utils import timestamp_ms
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from shared import keys
from shared.jobs import JobQueue
from shared.offset import new_stream_id
from shared.settings import Settings
from tests.conftest import StartRedis
from tests.support import eventually
from tests.worker.support_dispatch import Slots, dispatching, drained, enqueue, seen, started
from worker.short_jobs import MOST_TRIES

NO_KEY_WITHOUT_EXPIRY = """
local lasting = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TTL', key) == -1 then lasting[#lasting + 1] = key end
end
return lasting
"""


@pytest.fixture
def queue(redis: Redis) -> JobQueue:
    """Give the relay's side of the queue."""
    return JobQueue(redis, Settings())


async def test_jobs_cost_no_info_line_each(
    redis_url: str, redis: Redis, queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """The supervisor logs a stream's life; arq's two lines per job and ours stay out of it."""
    caplog.set_level(logging.INFO)
    slots = Slots()
    with capture_logs() as ours:
        async with dispatching(redis_url, slots):
            await enqueue(queue, 3)
            await eventually(lambda: len(slots.running) == 3)
            await drained(redis)
    assert [record for record in caplog.records if record.name.startswith("arq")] == []
    assert ours == []


async def test_a_job_enqueued_twice_is_asked_for_once(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """While it is queued or being started the repeat is refused; later it is asked for again, and accept decides."""
    slots, stream_id = Slots(), new_stream_id()
    slots.may_answer.clear()
    assert await queue.enqueue(stream_id, 1)
    assert not await queue.enqueue(stream_id, 1)
    async with dispatching(redis_url, slots):
        await eventually(lambda: bool(slots.asked))
        assert not await queue.enqueue(stream_id, 1)
        slots.may_answer.set()
        await drained(redis)
        assert slots.asked == [(stream_id, 1)]
        slots.answer = False
        assert await queue.enqueue(stream_id, 1)
        await eventually(lambda: slots.asked == [(stream_id, 1)] * 2)
        await drained(redis)


async def test_a_refused_job_is_done(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """A stream that is unknown, closed or taken is not asked for again, and nothing of its job stays in Redis."""
    slots = Slots()
    slots.answer = False
    async with dispatching(redis_url, slots, poll_s=0.05):
        (stream_id,) = await enqueue(queue, 1)
        await eventually(lambda: slots.asked == [(stream_id, 1)])
        await drained(redis)
        assert await redis.keys("arq:*") == []


async def test_an_accept_that_redis_failed_is_tried_again(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """The streams' Redis may be away while the queue's is not; the job waits in the queue, with an expiry."""
    slots = Slots()
    slots.answer = RedisConnectionError("the streams are away")
    async with dispatching(redis_url, slots, poll_s=0.05):
        with capture_logs() as logged:
            (stream_id,) = await enqueue(queue, 1)
            await eventually(lambda: bool(logged))
        assert [line["event"] for line in logged] == ["dispatch.job_retried"]
        assert await redis.ttl(keys.QUEUE) > 0
        slots.answer = True
        await eventually(lambda: slots.running == {stream_id})
        assert slots.asked == [(stream_id, 1)] * 2
        await drained(redis)


async def test_tries_are_bounded(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """After the last try the job is given up in one line: the stream's lease brings it back."""
    slots = Slots()
    slots.answer = RedisConnectionError("the streams are away")
    stream_id = new_stream_id()
    await redis.set(f"{retry_key_prefix}{stream_id}:1", MOST_TRIES - 1, ex=60)
    with capture_logs() as logged:
        async with dispatching(redis_url, slots):
            await queue.enqueue(stream_id, 1)
            await eventually(lambda: bool(slots.asked))
            await drained(redis)
    assert [line["event"] for line in logged] == ["dispatch.job_given_up"]
    assert slots.asked == [(stream_id, 1)]


async def test_a_defect_in_accept_ends_its_job_alone(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """It is logged, its job is not repeated, and the next job runs."""
    slots = Slots()
    slots.answer = RuntimeError("a defect")
    async with dispatching(redis_url, slots):
        await enqueue(queue, 1)
        await eventually(lambda: bool(slots.asked))
        await drained(redis)
        slots.answer = True
        (stream_id,) = await enqueue(queue, 1)
        await eventually(lambda: slots.running == {stream_id})


GARBAGE: dict[str, bytes | None] = {
    "pickle": pickle.dumps({"t": None, "f": "produce", "a": ("x", 1), "k": {}, "et": 1}),
    "no json": b"\x00\xff",
    "wrong types": b'{"t":null,"f":"produce","a":"x","k":{},"et":1}',
    "impossible time": b'{"t":null,"f":"produce","a":["x",1],"k":{},"et":9e18}',
    "unknown function": b'{"t":null,"f":"os.system","a":["true"],"k":{},"et":1}',
    "too few arguments": b'{"t":null,"f":"produce","a":[],"k":{},"et":1}',
    "wrong arguments": b'{"t":null,"f":"produce","a":[1,"x"],"k":{},"et":1}',
    "keywords": b'{"t":null,"f":"produce","a":["x",1],"k":{"y":1},"et":1}',
    "expired": None,
}


async def test_garbage_in_the_queue_is_thrown_away(
    redis_url: str, redis: Redis, queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever lies in the queue fails by itself, in words, and the job behind it runs."""
    for job_id, data in GARBAGE.items():
        if data is not None:
            await redis.set(job_key_prefix + job_id, data, ex=60)
        await redis.zadd(keys.QUEUE, {job_id: timestamp_ms() - 1000})
    await redis.zadd(keys.QUEUE, {b"\xff\xfe": timestamp_ms() - 1000})
    await redis.expire(keys.QUEUE, 60)
    slots = Slots()
    async with dispatching(redis_url, slots):
        (stream_id,) = await enqueue(queue, 1)
        await eventually(lambda: slots.running == {stream_id})

        async def cleared() -> bool:
            return await redis.zrange(keys.QUEUE, 0, -1) in ([], [b"\xff\xfe"]) and not await redis.keys("arq:job:*")

        await eventually(cleared)
    assert slots.asked == [(stream_id, 1)]
    refused = [record for record in caplog.records if record.message.startswith("deserializing job")]
    assert len(refused) == 4
    assert not any(record.exc_info for record in refused)


async def test_a_job_cut_by_the_death_of_redis_ends_no_worker(redis_server: StartRedis) -> None:
    """The job cannot be finished: its mark is left to expire, and the worker goes on."""
    server = redis_server(appendfsync="always")
    slots = Slots()
    slots.may_answer.clear()
    with capture_logs() as logged:
        async with Redis.from_url(server.url) as redis, dispatching(server.url, slots, poll_s=0.1):
            queue = JobQueue(redis, Settings())
            (cut,) = await enqueue(queue, 1)
            await eventually(lambda: redis.exists(f"{retry_key_prefix}{cut}:1"), what="arq has begun with the job")
            server.kill()
            slots.may_answer.set()
            await seen(logged, "dispatch.job_unfinished")
            server.start()
            await seen(logged, "dispatch.redis_back")
            assert 0 < await redis.ttl(f"{in_progress_key_prefix}{cut}:1") <= 40
            (stream_id,) = await enqueue(queue, 1)
            await eventually(lambda: slots.running == {cut, stream_id})


async def test_every_key_has_an_expiry_at_every_moment(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """Looked at without pause while jobs are accepted, refused, retried, thrown away and run by cron."""
    slots, lasting, looks = Slots(), set[bytes](), 0
    done = asyncio.Event()

    async def look() -> None:
        nonlocal looks
        async with Redis.from_url(redis_url) as watcher:
            while not done.is_set():
                lasting.update(await watcher.execute_command("EVAL", NO_KEY_WITHOUT_EXPIRY, 0))
                looks += 1

    async with asyncio.TaskGroup() as tasks, dispatching(redis_url, slots, 0.05, (_each_second([]),)):
        tasks.create_task(look())
        slots.answer = RedisConnectionError("the streams are away")
        await enqueue(queue, 20)
        await eventually(lambda: len(slots.asked) >= 20)
        slots.answer = False
        await enqueue(queue, 20)
        await eventually(lambda: len(slots.asked) >= 40)
        slots.answer = True
        await started(slots, *await enqueue(queue, 50))
        assert await redis.ttl(keys.QUEUE + health_check_key_suffix) > 0
        await eventually(lambda: looks > 100)
        done.set()
    assert lasting == set()


async def test_cron_jobs_run_once_however_many_workers_there_are(redis_url: str) -> None:
    """Every worker plans the same run under the same id; one runs it."""
    runs: list[str] = []
    slots = Slots()
    jobs = (_each_second(runs),)
    async with dispatching(redis_url, slots, 0.1, jobs), dispatching(redis_url, slots, 0.1, jobs):
        await eventually(lambda: len(runs) >= 2)
    assert len(set(runs)) == len(runs)


def _each_second(runs: list[str]) -> CronJob:
    async def run(ctx: dict[Any, Any]) -> None:
        runs.append(ctx["job_id"])

    return cron(run, second=set(range(60)))
