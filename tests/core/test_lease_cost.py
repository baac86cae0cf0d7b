"""What leases cost: one write per worker and tick, however many streams it holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from shared import keys
from shared.offset import is_stream_id
from shared.settings import Settings
from tests.core.system import System, working
from tests.support import eventually

LEASE_S = 1.0
TICKS = 4


@pytest.mark.parametrize("streams", [1, 150])
async def test_one_write_a_tick_renews_all_streams_of_a_worker(redis: Redis, redis_url: str, streams: int) -> None:
    """Seen by Redis itself: in the time of four ticks there are about four writes to the leases, each for all."""
    settings = Settings(redis_url=redis_url, sim=True, lease_s=LEASE_S, worker_drain_s=0.1)
    system = System(redis, settings)
    async with working(settings) as worker:
        ids = {await system.start(tokens=1, first_token_ms=60_000) for _ in range(streams)}
        await eventually(lambda: len(worker.supervisor.running) == streams, 20)
        await eventually(lambda: all(one._working for one in worker.supervisor.running.values()), 20)
        writes = [command for command in await _seen(redis, LEASE_S) if _renews(command)]
        assert TICKS - 2 <= len(writes) <= TICKS + 1
        assert all(stream_id in command for command in writes for stream_id in ids)


def _renews(command: str) -> bool:
    """Tell whether a client has sent a script call on the leases that names streams."""
    return command.startswith("EVALSHA ") and f" 1 {keys.LEASES} " in command and is_stream_id(command[-26:])


async def _seen(redis: Redis, for_s: float) -> list[str]:
    """Return the commands that clients send in so much time; what scripts do inside is not among them."""
    found: list[dict[str, Any]] = []
    async with redis.monitor() as monitor:
        try:
            async with asyncio.timeout(for_s):
                while True:
                    found.append(await monitor.next_command())
        except TimeoutError:
            pass
    return [one["command"] for one in found if one["client_type"] != "lua"]
