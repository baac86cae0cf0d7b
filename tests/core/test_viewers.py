"""Viewer leases: who counts as watching a stream, and for how long."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from relay.viewers import Viewers
from shared import keys
from shared.offset import new_stream_id
from shared.record import Record
from shared.settings import Settings
from shared.stream_log import StreamLog
from shared.tasks import end_tasks
from tests.support import eventually

SETTINGS = Settings(viewer_lease_s=0.6, heartbeat_s=0.1)
RECORD = Record("acme", "sim", "sim", 1, 100, {}, b"", when_abandoned_s=1.0)


async def test_a_viewer_that_leaves_does_not_end_the_lease_of_a_poller(redis: Redis) -> None:
    """Both watch through one relay; when the one with the open connection goes, the other still counts."""
    stream_log = StreamLog(redis, SETTINGS)
    viewers, stream_id = Viewers("relay-1", stream_log, Settings()), new_stream_id()
    async with viewers.watching(stream_id, RECORD, lasting=False):
        async with viewers.watching(stream_id, RECORD):
            pass
        assert await stream_log.unviewed_ms([stream_id]) == [0]
    assert await stream_log.unviewed_ms([stream_id]) == [0]  # between two polls
    async with viewers.watching(other := new_stream_id(), RECORD):
        assert await stream_log.unviewed_ms([other]) == [0]
    assert (await stream_log.unviewed_ms([other]))[0] >= 0
    assert await redis.zcount(keys.viewers(other), "-inf", "+inf") == 1


async def test_leases_are_renewed_while_somebody_watches_or_polls(redis: Redis) -> None:
    """A poll, and a connection, that last longer than the lease keep it."""
    stream_log = StreamLog(redis, SETTINGS)
    viewers = Viewers("relay-1", stream_log, SETTINGS)
    renewing = asyncio.create_task(viewers.run())
    for lasting in (True, False):
        stream_id = new_stream_id()

        async def deadline_ms(stream_id: str = stream_id) -> float:
            found = await redis.zrange(keys.viewers(stream_id), -1, -1, withscores=True)
            return float(found[0][1])

        async with viewers.watching(stream_id, RECORD, lasting=lasting):
            first_ms = await deadline_ms()

            async def renewed(first_ms: float = first_ms, of: str = stream_id) -> bool:
                return await deadline_ms(of) > first_ms

            await eventually(renewed)
    await end_tasks([renewing])


async def test_streams_that_do_not_care_cost_nothing(redis: Redis) -> None:
    """Without a policy for abandonment no lease is written."""
    viewers, stream_id = Viewers("relay-1", StreamLog(redis, SETTINGS), SETTINGS), new_stream_id()
    async with viewers.watching(stream_id, Record("acme", "sim", "sim", 1, 100, {}, b"")):
        assert await redis.exists(keys.viewers(stream_id)) == 0
