"""Retention: a log outlives its answer for a while, a tombstone outlives the log, and no log grows without bound."""

from __future__ import annotations

import aiohttp
import pytest
from redis.asyncio import Redis

from relay.app import Relay
from shared import keys
from shared.events import DeltaEvent, EndEvent
from shared.settings import Settings
from tests.core.system import System, working
from tests.support_sse import SseReader


def settings(redis_url: str, **changes: object) -> Settings:
    """Return settings for the test's Redis, with changes."""
    usual: dict[str, object] = {"redis_url": redis_url, "sim": True, "port": 0, "worker_drain_s": 0.2}
    return Settings.model_validate(usual | {"relay_drain_s": 0.2} | changes)


@pytest.mark.parametrize("cap", [{"max_stream_entries": 10}, {"max_stream_bytes": 1500}])
async def test_an_answer_that_outgrows_its_log_ends_as_incomplete(
    redis: Redis, redis_url: str, cap: dict[str, int]
) -> None:
    """At the cap in entries or in bytes the provider is stopped, the reason is told, and what was said stays."""
    system = System(redis, settings(redis_url))
    async with working(settings(redis_url, **cap)):
        stream_id = await system.start(tokens=5000, per_second=500)
        record = await system.ended(stream_id)
    events = await system.events(stream_id)
    assert record.status == "incomplete"
    assert isinstance(events[-1], EndEvent)
    assert events[-1].stop_reason == "stream_too_long"
    assert any(isinstance(event, DeltaEvent) for event in events)
    assert len(events) < 100


async def test_after_its_time_a_stream_is_gone_and_is_not_started_again(redis: Redis, redis_url: str) -> None:
    """When the log has expired every route answers 410; the tombstone keeps the id from being anything else."""
    system = System(redis, settings(redis_url))
    relay = Relay(settings(redis_url))
    await relay.start()
    try:
        async with working(settings(redis_url)), aiohttp.ClientSession() as session:
            stream_id = await system.start(tokens=3)
            await system.ended(stream_id)
            await redis.delete(keys.log(stream_id))  # what its expiry does
            await redis.execute_command("HSET", keys.record(stream_id), "tenant", "local")
            for path in ("", "/events", "/events?mode=poll&wait=1"):
                async with session.get(f"{relay.url}/v1/streams/{stream_id}{path}") as answer:
                    assert answer.status == 410
            assert (await system.record(stream_id)).attempt == 1
    finally:
        await relay.stop()


async def test_a_live_reader_of_an_expiring_stream_is_told(redis: Redis, redis_url: str) -> None:
    """A reader of a queued stream whose log expires under it gets an error that says so, and the answer ends."""
    system = System(redis, settings(redis_url))
    relay = Relay(settings(redis_url, quiet_check_s=0.1))
    await relay.start()
    try:
        async with aiohttp.ClientSession() as session:
            stream_id = await system.start(tokens=3)
            await redis.execute_command("HSET", keys.record(stream_id), "tenant", "local")
            async with SseReader(session, f"{relay.url}/v1/streams/{stream_id}/events") as reader:
                await reader.until("start")
                await redis.execute_command("HSET", keys.record(stream_id), "ended_ms", 5)
                await redis.pexpire(keys.log(stream_id), 1)
                events = await reader.rest()
    finally:
        await relay.stop()
    assert [event.json()["code"] for event in events] == ["gone"]
