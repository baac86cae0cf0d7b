"""What is kept of a request beyond its stream's end: it is there from the start, and goes with the log."""

from __future__ import annotations

from redis.asyncio import Redis

from relay.app import Relay
from shared import keys
from shared.settings import Settings
from tests.core.system import TENANT, System, request, working
from tests.support import eventually

BODY = b'{"kept":true}'
ENDED_S = 60
RUNNING_S = 3600
SLACK_MS = 5_000


def settings(redis_url: str) -> Settings:
    """Return settings for the test's Redis, with times to live that can be told apart."""
    return Settings.model_validate(
        {
            "redis_url": redis_url,
            "sim": True,
            "port": 0,
            "worker_drain_s": 0.2,
            "relay_drain_s": 0.2,
            "ttl_s": ENDED_S,
            "running_ttl_s": RUNNING_S,
            "linger_s": 5,
        }
    )


async def started(system: System, key: str | None = None) -> str:
    """Start a stream of which more is kept, and return its id."""
    return (await system.starter.start(TENANT, request(tokens=3), key, BODY)).stream_id


async def test_what_is_kept_lives_as_long_as_the_log(redis: Redis, redis_url: str) -> None:
    """While the stream runs, and after its end, when the worker takes it out of the book."""
    system = System(redis, settings(redis_url))
    stream_id = await started(system)
    assert await system.log.kept.read(stream_id) == BODY
    running_ms = await redis.pttl(keys.kept(stream_id))
    assert ENDED_S * 1000 < running_ms <= RUNNING_S * 1000
    async with working(settings(redis_url)):
        record = await system.ended(stream_id)

        async def settled() -> bool:
            ended_ms = await redis.pttl(keys.kept(stream_id))
            return bool(0 < ended_ms <= await redis.pttl(keys.log(stream_id)) + SLACK_MS)

        await eventually(settled)
    assert record.kept
    assert record.request == b""
    assert await system.log.kept.read(stream_id) == BODY


async def test_a_relay_that_ends_a_stream_settles_what_is_kept(redis: Redis, redis_url: str) -> None:
    """Nobody else would: no worker ever had it."""
    system = System(redis, settings(redis_url))
    stream_id = await started(system)
    relay = Relay(settings(redis_url))
    await relay.start()
    try:
        record = await system.record(stream_id)
        await relay.services.canceller.cancel(stream_id, record)
        assert 0 < await redis.pttl(keys.kept(stream_id)) <= ENDED_S * 1000
        await relay.services.canceller.delete(stream_id, record)
    finally:
        await relay.stop()
    assert await system.log.kept.read(stream_id) is None


async def test_a_repeated_start_keeps_what_the_first_kept(redis: Redis, redis_url: str) -> None:
    """Whoever repeats a start finishes it; what is there already stays."""
    system = System(redis, settings(redis_url))
    stream_id = await started(system, "key-1")
    again = await system.starter.start(TENANT, request(tokens=3), "key-1", b"{}")
    assert again.stream_id == stream_id
    assert await system.log.kept.read(stream_id) == BODY


async def test_nothing_is_kept_of_other_streams(redis: Redis, redis_url: str) -> None:
    """Their request is erased at the end, as ever."""
    system = System(redis, settings(redis_url))
    stream_id = await system.start(tokens=3)
    assert await system.log.kept.read(stream_id) is None
    assert not (await system.record(stream_id)).kept
