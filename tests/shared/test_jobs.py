"""The queue of jobs, from the side that asks, on a real Redis."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.jobs import DeserializationError, Job, JobStatus, deserialize_job_raw
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from shared import keys
from shared.jobs import ANY_JOB, MOST_WAKES, PRODUCE, JobQueue, JobRedis, decode_job, encode_job, wake_workers
from shared.offset import new_stream_id
from shared.redis_client import queue_redis
from shared.settings import Settings
from tests.conftest import StartRedis
from tests.support import eventually

SETTINGS = Settings(running_ttl_s=5000)


async def _wakes(redis: Redis) -> int:
    return int(await redis.execute_command("LLEN", keys.WAKE))


async def test_a_job_is_what_arq_itself_would_read(redis: Redis) -> None:
    """A stock arq client with our deserializer finds the job, its function, its arguments and its status."""
    stream_id = new_stream_id()
    assert await JobQueue(redis, SETTINGS).enqueue(stream_id, 2)

    stock = ArqRedis(redis.connection_pool, job_deserializer=decode_job, default_queue_name=keys.QUEUE)
    (found,) = await stock.queued_jobs()
    assert (found.job_id, found.function, list(found.args), found.kwargs) == (
        f"{stream_id}:2",
        PRODUCE,
        [stream_id, 2],
        {},
    )
    assert abs((datetime.now(UTC) - found.enqueue_time).total_seconds()) < 60
    assert await Job(f"{stream_id}:2", redis, keys.QUEUE).status() == JobStatus.queued


async def test_the_data_of_a_job_is_json(redis: Redis) -> None:
    """What lies in Redis can be read without running any of it."""
    stream_id = new_stream_id()
    await JobQueue(redis, SETTINGS).enqueue(stream_id, 1)
    data = json.loads(await redis.get(f"{job_key_prefix}{stream_id}:1"))
    assert (data["f"], data["a"], data["k"]) == (PRODUCE, [stream_id, 1], {})


async def test_enqueueing_twice_is_one_job_and_one_wake(redis: Redis) -> None:
    """A relay that repeats a call of unknown outcome adds nothing; another attempt is another job."""
    queue, stream_id = JobQueue(redis, SETTINGS), new_stream_id()
    assert [await queue.enqueue(stream_id, 1) for _ in range(3)] == [True, False, False]
    assert (await redis.zcard(keys.QUEUE), await _wakes(redis)) == (1, 1)
    assert await queue.enqueue(stream_id, 2)
    assert (await redis.zcard(keys.QUEUE), await _wakes(redis)) == (2, 2)


async def test_a_job_in_progress_is_not_queued_again(redis: Redis) -> None:
    """The in-progress mark counts even when the data is gone, as it does for a cron job that has just run."""
    stream_id = new_stream_id()
    await redis.set(f"{in_progress_key_prefix}{stream_id}:1", b"1", px=60_000)
    assert not await JobQueue(redis, SETTINGS).enqueue(stream_id, 1)
    assert not await redis.exists(keys.QUEUE)


async def test_every_key_expires_and_none_sooner_than_the_jobs_it_serves(redis: Redis) -> None:
    """The queue, the wake list and the data expire; a job due later keeps its place when a sooner one is added."""
    await JobQueue(redis, SETTINGS).enqueue(new_stream_id(), 1)
    for key in await redis.keys():
        assert 4990 < await redis.ttl(key) <= 5000, key

    pool = JobRedis(redis.connection_pool, expires_extra_ms=5_000_000)
    due = datetime.now(UTC) + timedelta(seconds=10_000)
    assert await pool.enqueue_job("later", _job_id="later", _defer_until=due)
    await JobQueue(redis, SETTINGS).enqueue(new_stream_id(), 1)
    assert 14_900 < await redis.ttl(keys.QUEUE) <= 15_000
    assert 14_900 < await redis.ttl(f"{job_key_prefix}later") <= 15_000


async def test_a_deferred_job_wakes_nobody(redis: Redis) -> None:
    """A worker woken before a job is due would look for nothing."""
    pool = JobRedis(redis.connection_pool, expires_extra_ms=60_000)
    await pool.enqueue_job("later", _defer_until=datetime.now(UTC) + timedelta(seconds=100))
    assert (await redis.zcard(keys.QUEUE), await redis.exists(keys.WAKE)) == (1, 0)


async def test_wakes_are_bounded(redis: Redis) -> None:
    """While all workers are full the wake list stops growing; the queue itself keeps every job."""
    await wake_workers(redis, [ANY_JOB] * (MOST_WAKES + 500), 60_000)
    assert await _wakes(redis) == MOST_WAKES
    queue = JobQueue(redis, SETTINGS)
    for _ in range(3):
        await queue.enqueue(new_stream_id(), 1)
    assert (await _wakes(redis), await redis.zcard(keys.QUEUE)) == (MOST_WAKES, 3)


async def test_a_retry_does_not_bring_back_a_queue_that_redis_has_lost(redis: Redis) -> None:
    """Arq defers by ZINCRBY, which would make a new queue without an expiry out of a job that is gone."""
    pool = JobRedis(redis.connection_pool, expires_extra_ms=60_000)
    await pool.enqueue_job("there", _job_id="there")
    before = await redis.zscore(keys.QUEUE, "there")
    async with pool.pipeline(transaction=True) as pipe:
        pipe.zincrby(keys.QUEUE, 1000, "there")
        pipe.zincrby(keys.QUEUE, 1000, "gone")
        pipe.zincrby("tr:lost", 1000, "gone")
        await pipe.execute()
    assert await redis.zscore(keys.QUEUE, "there") == before + 1000
    assert await redis.zscore(keys.QUEUE, "gone") is None
    assert not await redis.exists("tr:lost")


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"t": None, "f": PRODUCE, "a": ("x", 1), "k": {}, "et": 1}),
        b"",
        b"[]",
        b"\xff\xfe",
        b'{"t":null,"f":"produce","a":5,"k":{},"et":1}',
        b'{"t":null,"f":"produce","a":[],"k":{},"et":1e30}',
        b'{"t":null,"f":"produce","a":[],"et":1}',
    ],
)
def test_data_that_is_no_job_is_refused_whole(data: bytes) -> None:
    """Pickle and JSON of another shape end in arq's own error, before anything of it is used."""
    with pytest.raises(DeserializationError):
        deserialize_job_raw(data, deserializer=decode_job)


def test_an_exception_leaves_only_its_name_in_a_result() -> None:
    """The text of an exception may hold a secret, and an object would need pickle."""
    assert json.loads(encode_job({"r": ValueError("sk-ant-secret")})) == {"r": "ValueError"}
    with pytest.raises(NotImplementedError):
        encode_job({"r": object()})


async def test_depth_counts_jobs_and_tells_how_long_the_first_has_waited(redis: Redis) -> None:
    """An empty queue is 0 and 0; the oldest wait grows, and a job due later has not waited."""
    queue = JobQueue(redis, SETTINGS)
    assert await queue.depth() == (0, 0.0)
    pool = JobRedis(redis.connection_pool, expires_extra_ms=60_000)
    await pool.enqueue_job("later", _defer_until=datetime.now(UTC) + timedelta(seconds=100))
    assert await queue.depth() == (1, 0.0)
    await queue.enqueue(new_stream_id(), 1)

    async def waited() -> bool:
        depth = await queue.depth()
        assert depth.jobs == 2
        return 0.05 < depth.oldest_s < 5

    await eventually(waited)


async def test_the_queue_is_reached_by_unix_socket_with_user_and_password(
    redis_server: StartRedis, tmp_path: Path
) -> None:
    """Whatever the URL says reaches arq's client, because it shares the pool."""
    socket = tmp_path / "redis.sock"
    server = redis_server(unixsocket=str(socket))
    async with Redis.from_url(server.url) as admin:
        await admin.acl_setuser("relay", enabled=True, passwords=["+p@ss word"], keys=["*"], commands=["+@all"])
    redis = queue_redis(Settings(redis_url=f"unix://relay:p%40ss%20word@{socket}?db=3"))
    async with redis:
        queue = JobQueue(redis, SETTINGS)
        assert await queue.enqueue(new_stream_id(), 1)
        assert (await queue.depth()).jobs == 1
        assert "p@ss" not in repr(queue._redis)
    await redis.connection_pool.disconnect()


async def test_enqueueing_without_redis_is_an_error_the_caller_can_name(redis_server: StartRedis) -> None:
    """The relay answers 503 for it, and the lease set makes good what was half done."""
    server = redis_server()
    async with Redis.from_url(server.url) as redis:
        queue = JobQueue(redis, SETTINGS)
        await queue.enqueue(new_stream_id(), 1)
        server.kill()
        with pytest.raises(RedisConnectionError):
            await queue.enqueue(new_stream_id(), 1)
