"""What Redis forgets or refuses while a worker still knows better: written again, without another provider call."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from shared import keys
from shared.chats import CHAT_ID, Chats
from shared.events import AttemptEvent
from shared.settings import Settings
from tests.conftest import StartRedis
from tests.core.system import TENANT, System, request, working
from tests.support import eventually
from worker.outage import insist


class PartError(Exception):
    """What the body of a test raises, as a failing part of the worker would."""


async def test_an_end_that_redis_has_lost_is_written_again_and_nobody_answers_twice(
    redis: Redis, redis_url: str
) -> None:
    """A crash takes back the last moments, the end and the lease's removal among them; the worker still has both."""
    system = System(redis, Settings(redis_url=redis_url, sim=True, lease_s=0.4, linger_s=30, worker_drain_s=0.1))
    async with working(system.settings) as worker:
        stream_id = await system.start(tokens=20, per_second=40)
        await eventually(lambda: stream_id in worker.supervisor.running)
        names = (keys.record(stream_id), keys.log(stream_id))
        async with redis.pipeline(transaction=True) as pipe:
            for name in names:
                pipe.dump(name)
            dumps = await pipe.execute()
        whole = (await system.ended(stream_id), await system.events(stream_id))
        await eventually(lambda: stream_id in worker.supervisor.lingering)
        for name, dump in zip(names, dumps, strict=True):
            await redis.restore(name, 60_000, dump, replace=True)
        await system.expire_lease(stream_id)
        again = await system.ended(stream_id, 5)
        assert (again, await system.events(stream_id)) == whole
        assert again.attempt == 1
    assert sum(isinstance(event, AttemptEvent) for event in whole[1]) == 1


@pytest.mark.parametrize("ended", [False, True])
async def test_an_idempotency_key_that_redis_has_lost_still_leads_to_its_stream(
    redis_server: StartRedis, *, ended: bool
) -> None:
    """The key was written in the moment before the crash; a repeat waits until the stream's worker has put it back.

    So is the chat that a front end comes back with.
    """
    server = redis_server(appendfsync="no")
    asked = request(tokens=5 if ended else 2000, per_second=100).model_copy(update={"metadata": {CHAT_ID: "c"}})
    settings = Settings(redis_url=server.url, sim=True, lease_s=0.6, linger_s=30, worker_drain_s=0.1)
    async with Redis.from_url(server.url, retry_on_error=[ConnectionError]) as redis, working(settings) as worker:
        system = System(redis, settings)
        await system.starter.start(TENANT, request(tokens=1), "an earlier one")
        kept_bytes = server.written_bytes
        first = await system.starter.start(TENANT, asked, "lost")
        held = worker.supervisor.lingering if ended else worker.supervisor.running
        await eventually(lambda: first.stream_id in held)
        server.lose_after(kept_bytes)
        again = await insist(lambda: system.starter.start(TENANT, asked, "lost"), 5)
        assert (again.stream_id, again.attached) == (first.stream_id, True)
        assert first.stream_id in [found for found, _ in await system.admission.listed(TENANT, 1e15, 0, 10)]
        if not ended:  # a chat has nothing to come back to then
            chats = Chats(redis, settings)
            assert await eventually(lambda: newest(chats)) == first.stream_id


async def newest(chats: Chats) -> str:
    """Return the newest stream of the chat."""
    return (await chats.newest(TENANT, "c")).stream_id


@pytest.mark.parametrize("turns", range(0, 24, 3))
async def test_a_worker_that_loses_a_part_ends_in_the_middle_of_its_writes(
    redis: Redis, redis_url: str, turns: int
) -> None:
    """A cancellation that the Redis client swallows must not leave half a worker running for ever."""
    system = System(redis, Settings(redis_url=redis_url, sim=True))

    async def fail_in_the_middle() -> None:
        async with working(system.settings) as worker:
            stream_id = await system.start(tokens=500, per_second=1000)
            await eventually(lambda: stream_id in worker.supervisor.running)
            for _ in range(turns):
                await asyncio.sleep(0)
            raise PartError

    async with asyncio.timeout(10):
        with pytest.raises(ExceptionGroup):
            await fail_in_the_middle()
