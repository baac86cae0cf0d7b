"""Sentinel addresses, and connections that find the primary wherever it is: real Sentinels, real failovers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from shared.errors import ConfigurationError
from shared.redis_check import check_redis
from shared.redis_client import queue_redis
from shared.redis_connection import NotPrimaryError
from shared.sentinel import NoPrimaryError, PrimaryTcp, PrimaryTls, sentinel_options
from shared.settings import Settings
from tests.conftest import StartRedis
from tests.support import eventually, free_port
from tests.support_sentinel import NAME, SentinelSet


def settings(url: str, **changes: Any) -> Settings:
    """Return settings for the Redis at ``url``."""
    return Settings(redis_url=url, redis_timeout_s=2, **changes)


@pytest.mark.parametrize(
    ("url", "hosts", "name", "options"),
    [
        ("sentinel://a/n", "a:26379", "n", {}),
        ("sentinel://a:1,b,[::1]:3/n/2", "a:1, b:26379, [::1]:3", "n", {"db": 2}),
        ("sentinel://me:p%40ss@a:1/n", "a:1", "n", {"username": "me", "password": "p@ss"}),
        ("sentinel://:secret@a:1/my%20name?sentinel_password=x", "a:1", "my name", {"password": "secret"}),
    ],
)
def test_an_address_names_the_sentinels_the_primary_and_the_way_in(
    url: str, hosts: str, name: str, options: dict[str, Any]
) -> None:
    """User, password and database are those of Redis; the Sentinels' own are told apart."""
    found = sentinel_options(url, 1.0)
    sentinels = found.pop("sentinels")
    assert found.pop("connection_class") is PrimaryTcp
    assert found == options
    assert (sentinels._names(), sentinels._name) == (hosts, name)


def test_an_encrypted_address_encrypts_both_legs() -> None:
    """``sentinels://`` is to ``sentinel://`` what ``rediss://`` is to ``redis://``."""
    found = sentinel_options("sentinels://a/n?ssl_cert_reqs=none", 1.0)
    assert found["connection_class"] is PrimaryTls
    assert found["sentinels"]._options["ssl"]
    assert found["sentinels"]._options["ssl_cert_reqs"] == "none"


@pytest.mark.parametrize(
    "url", ["sentinel://", "sentinel:///n", "sentinel://a", "sentinel://a/", "sentinel://a:x/n", "sentinel://a,,b/n"]
)
def test_an_address_that_names_too_little_is_refused_in_a_sentence(url: str) -> None:
    """At start, not at the first command."""
    with pytest.raises(ConfigurationError, match="is not a Redis address"):
        queue_redis(settings(url))


async def test_no_sentinel_that_answers_is_told_with_their_addresses_and_without_the_password() -> None:
    """Nobody listens there."""
    port = free_port()
    client = queue_redis(settings(f"sentinel://:hunter2@127.0.0.1:{port}/n"))
    with pytest.raises(ConfigurationError) as caught:
        await check_redis(client)
    assert str(caught.value) == f"Redis cannot be found: no Sentinel answers at 127.0.0.1:{port}"
    await client.aclose()


async def test_an_unknown_primary_is_told_by_name(tmp_path: Path) -> None:
    """A typing mistake in the address is told as one."""
    async with SentinelSet(tmp_path, replicas=0) as servers:
        client = queue_redis(settings(servers.url.replace(NAME, "tailrac")))
        with pytest.raises(ConfigurationError, match="knows no primary called 'tailrac'"):
            await check_redis(client)
        await client.aclose()


async def test_a_sentinel_that_hangs_costs_a_second_and_all_of_them_no_more_than_the_deadline(tmp_path: Path) -> None:
    """SIGSTOP: connections are taken and nothing is said."""
    async with SentinelSet(tmp_path, replicas=0) as servers:
        client = queue_redis(settings(servers.url))
        servers.sentinels[0].pause()
        began_s = time.monotonic()
        await client.set("k", "v", px=1000)
        assert time.monotonic() - began_s < 3
        await client.aclose()
        for sentinel in servers.sentinels[1:]:
            sentinel.pause()
        lost = queue_redis(settings(servers.url))
        with pytest.raises(NoPrimaryError, match="no Sentinel"):
            await lost.set("k", "v", px=1000)
        assert time.monotonic() - began_s < 9
        await lost.aclose()


@pytest.mark.parametrize("how", ["killed", "by hand"])
async def test_commands_and_subscriptions_find_the_new_primary(tmp_path: Path, how: str) -> None:
    """The old one died, or was demoted and lives: whatever was connected to it connects to the new one."""
    async with SentinelSet(tmp_path, password="hunter2") as servers:
        client = queue_redis(settings(servers.url))
        kept = client.connection_pool.make_connection()
        await kept.connect()
        await client.set("k", "old", px=60_000)
        old = await servers.primary()
        assert kept.port == old.port
        if how == "killed":
            old.kill()
        else:
            await servers.fail_over()

        async def written() -> bool:
            try:
                await client.set("k", "new", px=60_000)
                new = await servers.primary()
                async with servers.client(new) as direct:
                    return new is not old and await direct.get("k") == b"new"
            except (RedisError, OSError):
                return False

        await eventually(written, 20, "what is written is at the new primary: a demoted one may take the first writes")
        new = await servers.primary()

        async def moved() -> bool:
            try:
                await kept.send_command("SET", "k", "newer", "PX", "60000")
                return bool(await kept.read_response() == b"OK")
            except (RedisError, OSError):
                return False

        await eventually(moved, 10)
        assert kept.port == new.port
        await kept.disconnect()
        await client.aclose()


async def test_a_connection_to_a_server_that_was_demoted_is_dropped(redis_server: StartRedis) -> None:
    """Also without Sentinel: behind a name that moves, only a new connection can reach the new primary."""
    server = redis_server()
    client = queue_redis(settings(server.url))
    connection = client.connection_pool.make_connection()
    await connection.connect()
    await connection.send_command("REPLICAOF", "127.0.0.1", "1")
    await connection.read_response()
    await connection.send_command("SET", "k", "v", "PX", "60000")
    with pytest.raises(NotPrimaryError):
        await connection.read_response()
    assert not connection.is_connected
    pipe = client.pipeline(transaction=False)
    pipe.set("k", "v", px=1)
    pipe.get("k")
    with pytest.raises(NotPrimaryError):
        await pipe.execute()
    await client.execute_command("REPLICAOF", "NO", "ONE")
    assert await client.set("k", "v", px=60_000)
    await client.aclose()
