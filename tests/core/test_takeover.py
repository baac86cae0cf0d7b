"""Taking streams over: what one stream has wrong with it, or two who reach for one, must cost no worker and no call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis

from shared import keys
from shared.events import AttemptEvent, ErrorEvent, StartEvent
from shared.leases import Leases
from shared.offset import new_stream_id
from shared.settings import Settings
from tests.conftest import StartRedis
from tests.core.system import System, working
from tests.support import eventually, free_port
from worker.app import WorkerService
from worker.keeper import Keeper


def settings(redis_url: str, **changes: Any) -> Settings:
    """Return settings with short leases for the simulated model."""
    usual: dict[str, Any] = {
        "redis_url": redis_url,
        "sim": True,
        "lease_s": 0.4,
        "worker_drain_s": 0.1,
        "retry_delay_s": 0.05,
    }
    return Settings(**(usual | changes))


async def test_a_stream_of_a_model_nobody_offers_ends_and_takes_no_worker_with_it(redis: Redis, redis_url: str) -> None:
    """After a change of the models each attempt fails; the stream fails in the end, and others are still produced."""
    system = System(redis, settings(redis_url))
    orphan = await system.lose_job(model="retired")
    async with working(system.settings):
        assert (await system.ended(orphan)).status == "failed"
        other = await system.lose_job(tokens=3)
        assert (await system.ended(other)).status == "completed"
    assert [event.code for event in await system.events(orphan) if isinstance(event, ErrorEvent)] == ["interrupted"]


async def test_a_stream_whose_request_this_version_cannot_read_ends_and_takes_no_worker_with_it(
    redis: Redis, redis_url: str
) -> None:
    """A newer relay's request has fields that an older worker refuses: that costs attempts, never the worker."""
    system = System(redis, settings(redis_url))
    newer = await system.lose_job()
    await redis.execute_command("HSET", keys.record(newer), "request", b'{"messages":[],"from_the_future":1}')
    async with working(system.settings):
        assert (await system.ended(newer)).status == "failed"


async def test_a_claim_that_redis_refuses_ends_no_worker(
    redis: Redis, redis_url: str, redis_server: StartRedis
) -> None:
    """A full Redis lets the record be read and refuses the claim, for longer than a lease; then there is room again."""
    server = redis_server()
    async with Redis.from_url(server.url) as streams:
        system = System(redis, settings(redis_url, streams_url=server.url), streams)
        stream_id = await system.lose_job(tokens=3)
        await streams.config_set("maxmemory", "1")
        async with working(system.settings):
            taken: set[float] = set()

            async def taken_again() -> bool:
                taken.add(await redis.zscore(keys.LEASES, stream_id))
                return len(taken) > 2

            await eventually(taken_again, 10, "the lease is taken, the claim given up, and the lease taken again")
            await streams.config_set("maxmemory", "0")
            assert (await system.ended(stream_id)).status == "completed"


async def test_a_claim_as_young_as_a_lease_is_not_replaced(redis: Redis, redis_url: str) -> None:
    """A worker that took the expired lease of a queued stream, just when another started its job, leaves it alone."""
    system = System(redis, settings(redis_url, lease_s=1.0))
    stream_id = await system.start(tokens=60, per_second=50)
    async with working(system.settings) as one, working(system.settings) as other:
        await eventually(lambda: stream_id in one.supervisor.running or stream_id in other.supervisor.running)
        late = other if stream_id in one.supervisor.running else one
        assert not await late.supervisor.take(stream_id, "lease_expired")
        await system.ended(stream_id)
    assert [event.attempt for event in await system.events(stream_id) if isinstance(event, AttemptEvent)] == [1]


async def test_a_job_and_an_expired_lease_that_meet_in_one_worker_make_one_attempt(
    redis: Redis, redis_url: str
) -> None:
    """Whichever way the two claims interleave, the worker lives and its provider is called once."""
    system = System(redis, settings(redis_url, lease_s=2.0))
    async with working(system.settings) as worker:

        async def late(stream_id: str, turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await worker.supervisor.take(stream_id, "lease_expired")

        for turns in range(24):
            stream_id = await system.lose_job(tokens=2)
            await system.leases.renew([stream_id])
            await asyncio.gather(worker.supervisor.accept(stream_id, 1), late(stream_id, turns))
            await system.ended(stream_id)
            attempts = [event for event in await system.events(stream_id) if isinstance(event, AttemptEvent)]
            assert len(attempts) == 1, f"after {turns} turns"


async def test_a_look_at_the_attempt_before_does_not_end_the_one_that_follows(redis: Redis, redis_url: str) -> None:
    """The keeper's answer about attempt 1 comes when attempt 2 has been granted to the same worker: nothing is lost."""
    system = System(redis, settings(redis_url, lease_s=1.0))
    stream_id = await system.start(tokens=40, per_second=40, fail_at=3, fault="overloaded", attempts=[1])
    async with working(system.settings) as worker:
        await eventually(lambda: stream_id in worker.supervisor.running)
        production = worker.supervisor.running[stream_id]
        before = production.writer
        keeper = Keeper(worker.parts, worker.supervisor, redis)
        await eventually(lambda: production.writer is not before and len(production.writer.entries) > 0)
        await keeper.look_after([before])
        assert (await system.ended(stream_id)).status == "completed"
    attempts = [event for event in await system.events(stream_id) if isinstance(event, AttemptEvent)]
    assert [event.attempt for event in attempts] == [1, 2]


async def test_a_stream_granted_to_a_worker_that_is_told_to_stop_goes_on_at_once_elsewhere(
    redis: Redis, redis_url: str
) -> None:
    """The claim was under way when the drain began: no provider is called here, and nobody waits for a lease."""
    system = System(redis, settings(redis_url, lease_s=5.0))
    stream_id = await system.lose_job(tokens=2)
    async with working(system.settings) as leaving:
        await asyncio.gather(leaving.supervisor.take(stream_id, "lease_expired"), leaving.supervisor.drain(0.1))
        assert await redis.zscore(keys.LEASES, stream_id) == 0
    assert [type(event) for event in await system.events(stream_id)] == [StartEvent, AttemptEvent]


async def test_a_look_for_expired_leases_that_redis_answers_late_takes_none(redis_server: StartRedis) -> None:
    """It was sent just before Redis stood still, and is the first thing Redis does afterwards: before any renewal."""
    server = redis_server()
    async with Redis.from_url(server.url) as client:
        leases = Leases(client, settings(server.url, lease_s=0.4))
        stream_id = new_stream_id()
        await leases.renew([stream_id])
        assert await leases.take_expired(10) == [], "the first look only learns what time it is there"
        server.pause()
        looking = asyncio.create_task(leases.take_expired(10))
        await eventually(_passed(0.6))
        server.resume()
        assert await looking == []
        assert await leases.take_expired(10) == [(stream_id, "lease_expired")]


async def test_a_look_for_expired_leases_in_a_run_of_redis_that_is_not_known_takes_none(redis: Redis) -> None:
    """It comes right after a restart, by which Redis may have lost what was renewed in its last second."""
    leases = Leases(redis, settings("redis://unused", lease_s=0.1))
    await leases.take_expired(10)
    await leases.offer([stream_id := new_stream_id()])
    leases.known_run = "0" * 40
    assert await leases.take_expired(10) == []
    leases.known_run = (await redis.info("server"))["run_id"]
    assert await leases.take_expired(10) == [(stream_id, "lease_expired")]


async def test_nobody_is_taken_over_right_after_redis_has_stalled(redis_server: StartRedis) -> None:
    """Redis stands still for longer than a lease and loses no connection: all get a full lease to show they live."""
    server = redis_server()
    async with Redis.from_url(server.url) as client:
        system = System(client, settings(server.url, lease_s=1.0))
        async with working(system.settings) as worker:
            stream_id = await system.lose_job(tokens=2)
            await system.leases.renew([stream_id])
            server.pause()
            await eventually(_passed(1.5))
            server.resume()
            resumed_s = asyncio.get_running_loop().time()
            await eventually(lambda: worker.supervisor.running or worker.supervisor.lingering)
            assert asyncio.get_running_loop().time() - resumed_s > 0.9
            await system.ended(stream_id)


@pytest.mark.parametrize("how", ["full", "read-only"])
async def test_nobody_is_taken_over_right_after_redis_has_refused_writes(redis_server: StartRedis, how: str) -> None:
    """Whoever is alive could not renew its leases meanwhile, and gets a full lease to do so, whenever that ends."""
    server = redis_server()
    async with Redis.from_url(server.url) as client:
        system = System(client, settings(server.url, lease_s=0.8, redis_timeout_s=1.0))
        async with working(system.settings) as worker:
            for refused_s in (1.9, 2.2, 2.5):
                stream_id = await system.lose_job(tokens=2)
                await system.leases.renew([stream_id])
                await _refuse_writes(client, how)
                await eventually(_passed(refused_s))
                await _take_writes(client, how)
                taken_s = asyncio.get_running_loop().time()
                await eventually(partial(_has, worker, stream_id))
                assert asyncio.get_running_loop().time() - taken_s > 0.7
                await system.ended(stream_id)


def _has(worker: WorkerService, stream_id: str) -> bool:
    """Tell whether the worker runs the stream, or has just ended it."""
    return stream_id in worker.supervisor.running or stream_id in worker.supervisor.lingering


async def _refuse_writes(redis: Redis, how: str) -> None:
    """Have Redis refuse every write: it has no memory left, or is a replica for the time being."""
    if how == "full":
        await redis.config_set("maxmemory", "1")
    else:
        await redis.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))


async def _take_writes(redis: Redis, how: str) -> None:
    if how == "full":
        await redis.config_set("maxmemory", "0")
    else:
        await redis.execute_command("REPLICAOF", "NO", "ONE")


def _passed(seconds: float) -> Callable[[], bool]:
    """Return a condition that is true once so many seconds have passed."""
    until_s = asyncio.get_running_loop().time() + seconds
    return lambda: asyncio.get_running_loop().time() >= until_s
