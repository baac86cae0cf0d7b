"""Connections to Redis: whatever breaks them is told by errors that those who ride it out catch."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.redis_client import is_one_redis, queue_redis
from shared.redis_connection import Tcp
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


ARGUMENTS = st.one_of(st.text(), st.binary(), st.binary(min_size=7000, max_size=9000), st.integers(), st.floats())


@given(st.sampled_from(["GET", "CONFIG GET", b"XRANGE", b"CLIENT NO-EVICT"]), st.lists(ARGUMENTS, max_size=20))
def test_commands_are_packed_as_redis_py_packs_them(name: str | bytes, arguments: list[str | bytes | float]) -> None:
    """Byte for byte, whatever the arguments, and of any size."""
    assert b"".join(Tcp().pack_command(name, *arguments)) == b"".join(Connection().pack_command(name, *arguments))


def test_what_no_command_can_hold_is_refused_as_by_redis_py() -> None:
    """And a view of memory, which hiredis does not know, is sent."""
    assert b"".join(Tcp().pack_command("SET", "a", memoryview(b"x"))).endswith(b"\r\nx\r\n")
    odd: object
    for odd in (None, True, [], {}):
        with pytest.raises(DataError):
            Tcp().pack_command("SET", "a", odd)


async def test_a_server_that_takes_no_command_is_left_after_the_deadline() -> None:
    """One that has stopped reading: the write ends with an error, and the connection with it."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        connection = Tcp(port=deaf.getsockname()[1], socket_timeout=0.2, lib_name=None, lib_version=None)
        with pytest.raises(RedisTimeoutError, match="did not take a command in time"):
            await asyncio.wait_for(connection.send_command("SET", "a", b"x" * 50_000_000), 10)
        assert not connection.is_connected
        assert connection.socket_timeout == 0.2
