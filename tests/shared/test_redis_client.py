"""Connections to Redis: whatever breaks them is told by errors that those who ride it out catch."""

from __future__ import annotations

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.redis_client import is_one_redis, queue_redis
from shared.settings import Settings
from tests.support import eventually


@pytest.mark.parametrize("scheme", ["redis", "rediss", "unix"])
def test_every_kind_of_address_gets_connections_that_tell_they_are_closed(scheme: str) -> None:
    """TCP, TLS and Unix sockets."""
    pool = queue_redis(Settings(redis_url=f"{scheme}://127.0.0.1/0")).connection_pool
    assert hasattr(pool.connection_class, "send_packed_command")
    assert pool.connection_class.__module__ == "shared.redis_connection"


def test_whether_one_script_may_touch_queue_and_streams_is_told_by_the_settings() -> None:
    """Where they are at one address, and in doubt not."""
    elsewhere = (None, "redis://a/0", "redis://a/1", "redis://b/0", "cluster://a")
    told = [is_one_redis(Settings(redis_url="redis://a/0", streams_url=url)) for url in elsewhere]
    assert told == [True, True, False, False, False]


def test_a_connection_that_uvloop_has_closed_is_a_lost_connection(redis_url: str) -> None:
    """A loop of uvloop answers a write to a closed transport with a RuntimeError, which would end a worker."""

    async def write_to_a_closed_connection() -> None:
        client = queue_redis(Settings(redis_url=redis_url))
        connection = client.connection_pool.make_connection()
        await connection.connect()
        transport = connection._writer.transport
        transport.abort()
        await eventually(lambda: "closed=True" in repr(transport))
        try:
            with pytest.raises(RedisConnectionError):
                await connection.send_command("PING")
        finally:
            await connection.disconnect(nowait=True)
            await client.aclose()

    uvloop.run(write_to_a_closed_connection())
