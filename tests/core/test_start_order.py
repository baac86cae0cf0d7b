"""The start order: in one step where both sides are one Redis, in three where they are not, and the same either way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from shared import keys
from shared.errors import ConflictError, LimitError, OverloadedError
from shared.settings import Settings
from tests.conftest import StartRedis
from tests.core.system import TENANT, System, request, working
from tests.support import eventually


@pytest.fixture
def elsewhere_url(redis_server: StartRedis) -> str:
    """Give the URL of a second Redis, for the streams alone."""
    return redis_server().url


@pytest.fixture
async def elsewhere(elsewhere_url: str) -> AsyncIterator[Redis]:
    """Give a client of it."""
    async with Redis.from_url(elsewhere_url) as streams:
        yield streams


async def test_a_start_is_one_round_trip_where_there_is_one_redis(redis: Redis, redis_url: str) -> None:
    """What the worker waits for before it can begin."""
    system = System(redis, Settings(redis_url=redis_url, sim=True))
    await system.start(tokens=1)
    before = await _scripts_run(redis)
    await system.start(tokens=1)
    assert await _scripts_run(redis) == before + 1


async def test_one_step_makes_what_three_steps_make(redis: Redis, redis_url: str, elsewhere: Redis) -> None:
    """The same keys, each with the same expiry, wherever they are; and the same record and log."""
    settings = Settings(redis_url=redis_url, sim=True)
    for system, sides in (
        (System(redis, settings), [redis]),
        (System(redis, settings, elsewhere), [redis, elsewhere]),
    ):
        stream_id = (await system.starter.start(TENANT, request(tokens=1), "a key")).stream_id
        found = {name.replace(stream_id, "ID"): ttl for side in sides for name, ttl in (await _ttls(side)).items()}
        record, (first,) = await system.record(stream_id), await system.events(stream_id)
        told = (record.idempotency, record.body_hash, record.attempt, type(first).__name__)
        if len(sides) == 1:
            one_step, told_in_one_step = found, told
            await redis.flushdb()
    assert {"tr:{ID}:record", "tr:{ID}:log", "arq:job:ID:1", keys.QUEUE, keys.WAKE, keys.LEASES} < one_step.keys()
    assert found == one_step
    assert told == told_in_one_step


async def test_a_refused_start_makes_nothing(redis: Redis, redis_url: str) -> None:
    """No stream, no job and no place in the book; also of a request that repeats a key with another body."""
    system = System(redis, Settings(redis_url=redis_url, sim=True, max_active=2, max_active_per_tenant=1))
    await system.starter.start(TENANT, request(tokens=1), "a key")
    before = await _contents(redis)
    with pytest.raises(LimitError):
        await system.starter.start(TENANT, request(tokens=1), "another")
    with pytest.raises(ConflictError):
        await system.starter.start(TENANT, request(tokens=2), "a key")
    assert await _contents(redis) == before
    await system.starter.start("globex", request(tokens=1), None)
    before = await _contents(redis)
    with pytest.raises(OverloadedError):
        await system.starter.start("initech", request(tokens=1), "another")
    assert await _contents(redis) == before


@pytest.mark.parametrize("key", [None, "a key"])
async def test_a_full_redis_refuses_a_start_before_anything_of_it_is_made(
    redis_server: StartRedis, key: str | None
) -> None:
    """A script that has begun with a deletion would be let go on, however full the server is."""
    server = redis_server()
    async with Redis.from_url(server.url) as redis:
        system = System(redis, Settings(redis_url=server.url, sim=True))
        await system.start(tokens=1)
        before = await _contents(redis)
        await redis.config_set("maxmemory", "1")
        with pytest.raises(OutOfMemoryError):
            await system.starter.start(TENANT, request(tokens=1), key)
        assert await _contents(redis) == before
        await redis.config_set("maxmemory", "0")
        await system.starter.start(TENANT, request(tokens=1), key)


async def test_a_repeated_start_makes_nothing_anew(redis: Redis, redis_url: str) -> None:
    """Many at once with one key are one stream, one job and one wake."""
    system = System(redis, Settings(redis_url=redis_url, sim=True))
    started = await asyncio.gather(*(system.starter.start(TENANT, request(tokens=1), "a key") for _ in range(8)))
    assert len({one.stream_id for one in started}) == 1
    assert sorted(one.attached for one in started) == [False] + [True] * 7
    assert len([name async for name in redis.scan_iter(keys.record("*"))]) == 1
    assert await redis.zcard(keys.QUEUE) == 1
    assert await redis.execute_command("LLEN", keys.WAKE) == 1


@pytest.mark.parametrize("missing", ["the job", "the stream"])
async def test_a_repeated_start_finishes_what_is_missing(redis: Redis, redis_url: str, missing: str) -> None:
    """A job that was lost is queued again, a stream that was lost is made again under its id."""
    system = System(redis, Settings(redis_url=redis_url, sim=True))
    stream_id = (await system.starter.start(TENANT, request(tokens=3), "a key")).stream_id
    await redis.delete(f"arq:job:{stream_id}:1", keys.QUEUE, keys.WAKE)
    if missing == "the stream":
        await redis.delete(keys.record(stream_id), keys.log(stream_id))
    again = await system.starter.start(TENANT, request(tokens=3), "a key")
    assert (again.stream_id, again.attached, again.record.status) == (stream_id, True, "queued")
    async with working(system.settings):
        assert (await system.ended(stream_id)).status == "completed"


async def test_a_start_with_the_streams_elsewhere_is_produced(
    redis: Redis, redis_url: str, elsewhere: Redis, elsewhere_url: str
) -> None:
    """The three steps, as on a cluster: nothing of the stream is on the queue's side."""
    settings = Settings(redis_url=redis_url, streams_url=elsewhere_url, sim=True)
    system = System(redis, settings, elsewhere)
    async with working(settings):
        stream_id = await system.start(tokens=3)
        assert (await system.ended(stream_id)).status == "completed"
    assert await elsewhere.exists(keys.record(stream_id), keys.log(stream_id)) == 2
    assert await redis.exists(keys.record(stream_id), keys.log(stream_id)) == 0


async def test_scripts_that_redis_has_forgotten_are_sent_again(redis: Redis, redis_url: str) -> None:
    """After a restart a start works as before."""
    system = System(redis, Settings(redis_url=redis_url, sim=True))
    await system.start(tokens=1)
    await redis.script_flush()
    stream_id = await system.start(tokens=1)
    assert await eventually(lambda: redis.exists(keys.record(stream_id)), 5, "the stream is made") == 1


async def _scripts_run(redis: Redis) -> int:
    """Return how many scripts Redis has been sent by their hash."""
    return int((await redis.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"])


async def _ttls(redis: Redis) -> dict[str, int]:
    """Return how long each key lives, in whole hours."""
    return {name.decode(): round(await redis.pttl(name) / 3_600_000) async for name in redis.scan_iter()}


async def _contents(redis: Redis) -> dict[bytes, bytes | None]:
    """Return all keys and what they hold, without what a look at a key may renew."""
    return {name: await redis.dump(name) async for name in redis.scan_iter() if name != keys.LEASES.encode()}
