"""The book of active streams: what was admitted and never made must not count against its tenant for a day."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared import keys
from shared.admission import Applicant
from shared.events import StartEvent
from shared.offset import new_stream_id
from shared.settings import Settings
from tests.conftest import StartRedis
from tests.core.system import TENANT, System, request, working
from tests.support import eventually


async def test_a_stream_that_was_admitted_and_never_made_gives_its_place_back(
    redis: Redis, redis_url: str, redis_server: StartRedis
) -> None:
    """The Redis of the logs is away, so a start fails after its admission; a worker finds nothing there later."""
    server = redis_server()
    settings = Settings(
        redis_url=redis_url, streams_url=server.url, sim=True, lease_s=0.4, start_grace_s=0.2, worker_drain_s=0.1
    )
    async with Redis.from_url(server.url, socket_timeout=1) as streams:
        system = System(redis, settings, streams)
        server.kill()
        for _ in range(3):
            with pytest.raises((RedisError, OSError)):
                await system.start(tokens=1)
        assert await redis.zcard(keys.tenant_active(TENANT)) == 3
        server.start()
        async with working(settings):
            await eventually(lambda: _empty(redis, keys.tenant_active(TENANT)), 5, "the places are free again")
            await eventually(lambda: _empty(redis, keys.LEASES))
            stream_id = await system.start(tokens=1)
            await system.ended(stream_id)
            await eventually(lambda: _empty(redis, keys.tenant_active(TENANT)))
            assert await redis.exists(keys.APPLICANTS) == 0


async def test_a_repeated_start_is_offered_to_every_worker_again(redis: Redis, redis_url: str) -> None:
    """A relay died after admitting, and the due time is gone with what was not there; the same key brings both back."""
    system = System(redis, Settings(redis_url=redis_url, sim=True))
    stream_id = new_stream_id()
    body_hash = await _hash_of_start(system)
    await system.admission.admit(Applicant(stream_id, TENANT, "once", body_hash, 1_000))
    await system.admission.withdraw(stream_id)
    started = await system.starter.start(TENANT, request(tokens=1), "once")
    assert (started.stream_id, started.attached) == (stream_id, True)
    first = (await system.events(stream_id))[0]
    assert isinstance(first, StartEvent)
    assert first.created_ms == 1_000, "who has read the start event already must find the same one"
    assert await redis.zscore(keys.LEASES, stream_id) is not None


async def _hash_of_start(system: System) -> str:
    """Return the hash under which the request of the tests is remembered."""
    await system.starter.start(TENANT, request(tokens=1), "to see the hash")
    found = await system.admission.admit(Applicant(new_stream_id(), TENANT, "to see the hash", "", 0))
    return found.body_hash


async def _empty(redis: Redis, name: str) -> bool:
    """Tell whether a sorted set has no members."""
    return bool(await redis.zcard(name) == 0)
