"""The reaper: no stream is left for ever without anybody who will end it."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from shared import keys
from shared.events import EndEvent
from shared.offset import new_stream_id
from shared.settings import Settings
from tests.conftest import StartRedis
from tests.core.system import System, working


def settings(redis_url: str, start_grace_s: float = 5.0) -> Settings:
    """Return settings in which a stream is overdue after ``start_grace_s``."""
    return Settings(redis_url=redis_url, sim=True, worker_drain_s=0.2, start_grace_s=start_grace_s)


async def test_a_stream_whose_job_and_lease_were_lost_is_found_and_produced(redis: Redis, redis_url: str) -> None:
    """The queue Redis forgets all about a queued stream; one pass of the reaper brings it to a worker."""
    system = System(redis, settings(redis_url))
    lost = await system.start(tokens=3)
    await redis.delete(keys.LEASES, keys.QUEUE, keys.WAKE, f"arq:job:{lost}:1")
    async with working(settings(redis_url, start_grace_s=0.001)) as worker:
        assert await worker.reaper.reap() == 1
        assert (await system.ended(lost)).status == "completed"
        assert await worker.reaper.reap() == 0


async def test_a_redis_that_is_away_costs_a_pass_and_is_told_in_a_line(redis_server: StartRedis) -> None:
    """Not in a traceback, which arq would make of whatever ends a cron job."""
    server = redis_server()
    async with working(settings(server.url)) as worker:
        server.kill()
        with capture_logs() as logged:
            await worker.reaper.cron_job().coroutine({})
        assert [line["event"] for line in logged if line["event"].startswith("reaper")] == ["reaper.redis_lost"]
        server.restart()


async def test_a_pass_that_the_queue_ends_goes_on_where_it_was(
    redis: Redis, redis_url: str, redis_server: StartRedis
) -> None:
    """The streams' Redis answers, the queue's does not: what was scanned and not offered is scanned once more."""
    server = redis_server()
    apart = settings(server.url).model_copy(update={"streams_url": SecretStr(redis_url)})
    async with Redis.from_url(server.url) as queue, working(apart) as worker:
        system = System(queue, apart, redis)
        await system.start(tokens=1, first_token_ms=60_000)
        async with redis.pipeline(transaction=False) as pipe:
            for number in range(3000):
                pipe.set(f"other:{number}", b"", ex=60)
            await pipe.execute()
        server.kill()
        with pytest.raises(RedisError):
            await worker.reaper.reap()
        at = worker.reaper._place
        with pytest.raises(RedisError):
            await worker.reaper.reap()
        assert worker.reaper._place == at
        server.restart()


async def test_a_record_of_no_writer_of_ours_does_not_hold_the_reaper_up(redis: Redis, redis_url: str) -> None:
    """It costs those that are scanned with it a pass, and nobody after them."""
    foreign = keys.record(new_stream_id())
    await redis.execute_command("HSET", foreign, "tenant", "somebody")
    await redis.pexpire(foreign, 60_000)
    async with working(settings(redis_url)) as worker:
        with capture_logs() as logged:
            assert await worker.reaper.reap() == 0
    assert "reaper.unreadable" in [line["event"] for line in logged]


async def test_streams_that_need_nobody_are_left_alone(redis: Redis, redis_url: str) -> None:
    """Nothing is offered twice, nothing after its end, and nothing that is only just being started."""
    system = System(redis, settings(redis_url))
    async with working(settings(redis_url)) as worker:
        ended = await system.start(tokens=1)
        await system.ended(ended)
        await system.start(tokens=1, first_token_ms=60_000)
        young = await system.start(tokens=1, first_token_ms=60_000)
        await redis.zrem(keys.LEASES, young)
        assert await worker.reaper.reap() == 0
        assert isinstance((await system.events(ended))[-1], EndEvent)


async def test_a_reaped_stream_whose_attempts_are_used_up_is_ended(redis: Redis, redis_url: str) -> None:
    """A stream that died in its last attempt, and that every lease has forgotten, ends as failed."""
    system = System(redis, settings(redis_url))
    lost = await system.start(tokens=3)
    await redis.delete(keys.LEASES, keys.QUEUE, keys.WAKE, f"arq:job:{lost}:1")
    await redis.execute_command("HSET", keys.record(lost), "attempts", 3)
    async with working(settings(redis_url, start_grace_s=0.001)) as worker:
        await worker.reaper.reap()
        assert (await system.ended(lost)).status == "failed"
