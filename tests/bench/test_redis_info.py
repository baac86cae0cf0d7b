"""bench/redis_info.py: what a Redis says about itself."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from bench.plan import BenchError
from bench.redis_info import info


async def test_numbers_are_read_and_the_question_costs_one_command(redis: Redis, redis_url: str) -> None:
    """So that what the bench itself asks can be taken off."""
    port = urlsplit(redis_url).port
    assert port is not None
    await redis.ping()
    first, second = await info(port), await info(port)
    assert first["used_memory"] > 100_000
    assert second["total_commands_processed"] - first["total_commands_processed"] == 1


async def test_a_redis_that_is_not_there_is_told_in_a_sentence() -> None:
    """Not by a traceback."""
    with pytest.raises(BenchError, match="Redis did not answer INFO"):
        await info(1)
