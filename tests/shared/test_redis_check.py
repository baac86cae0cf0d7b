"""What is wrong with a Redis that is configured is said in one sentence when a program starts; see also Sentinel."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.cluster import Cluster
from shared.errors import ConfigurationError
from shared.redis_check import check_redis
from shared.redis_client import queue_redis, streams_redis
from shared.settings import Settings
from tests.support import free_port
from tests.support_cluster import ClusterSet

SECRET = "hunter2-very-secret"


async def checked(url: str) -> str | None:
    """Return the warning about the streams at ``url``. Raises ``ConfigurationError``."""
    client = streams_redis(Settings(streams_url=url, redis_timeout_s=2))
    try:
        return await check_redis(client)
    finally:
        await client.aclose()


async def test_a_cluster_that_can_be_used_is_silently_accepted(cluster: ClusterSet) -> None:
    """Asked by either scheme."""
    assert await checked(cluster.url) is None
    assert await checked(cluster.url.replace("cluster:", "redis+cluster:")) is None


async def test_a_single_server_that_may_evict_is_warned_of(cluster: ClusterSet) -> None:
    """Whichever of them it is."""
    await cluster.ask(cluster.primaries[2], "CONFIG SET", "maxmemory-policy", "allkeys-lru")
    try:
        warning = await checked(cluster.url)
    finally:
        await cluster.ask(cluster.primaries[2], "CONFIG SET", "maxmemory-policy", "noeviction")
    assert warning == "Redis runs with maxmemory-policy allkeys-lru; only noeviction keeps streams safe"


@pytest.fixture
async def user(cluster: ClusterSet) -> AsyncIterator[str]:
    """Give the name of a user that every server knows."""
    for server in cluster.servers:
        await cluster.ask(server, "ACL SETUSER", "tailrace", "on", f">{SECRET}", "~*", "&*", "+@all")
    yield "tailrace"
    for server in cluster.servers:
        await cluster.ask(server, "ACL DELUSER", "tailrace")


async def test_user_and_password_are_those_of_every_server(cluster: ClusterSet, user: str) -> None:
    """Right ones let in everywhere; wrong ones are told without the address."""
    assert await checked(cluster.url.replace("//", f"//{user}:{SECRET}@")) is None
    with pytest.raises(ConfigurationError, match="refuses the user or password") as caught:
        await checked(cluster.url.replace("//", f"//{user}:wrong-{SECRET}@"))
    assert SECRET not in str(caught.value)


async def test_a_single_redis_is_no_cluster(redis_url: str) -> None:
    """The scheme says what was expected."""
    with pytest.raises(ConfigurationError, match=r"TAILRACE_STREAMS_URL cannot be used.*not one of a Redis Cluster"):
        await checked(redis_url.removesuffix("/0").replace("redis:", "cluster:"))


async def test_one_server_of_a_cluster_is_no_single_redis(cluster: ClusterSet) -> None:
    """It would refuse most keys at the first request."""
    client = queue_redis(Settings(redis_url=cluster.primaries[0].url, redis_timeout_s=2))
    with pytest.raises(ConfigurationError, match=r"one server of a cluster.*TAILRACE_STREAMS_URL"):
        await check_redis(client)
    await client.aclose()


async def test_a_cluster_that_is_not_there_is_named() -> None:
    """By the addresses that were given."""
    port = free_port()
    with pytest.raises(ConfigurationError, match=f"no server of the cluster answers at 127.0.0.1:{port}"):
        await checked(f"cluster://127.0.0.1:{port}")


@pytest.mark.parametrize("scheme", ["cluster", "redis+cluster", "rediss+cluster"])
def test_the_queue_cannot_live_on_a_cluster(scheme: str) -> None:
    """Its keys are many, and one script touches several."""
    with pytest.raises(ConfigurationError, match=r"cannot hold the queue.*TAILRACE_STREAMS_URL"):
        queue_redis(Settings(redis_url=f"{scheme}://127.0.0.1"))


@pytest.mark.parametrize("rest", ["", "//", "//a,,b", "//a:x", "//a/1", "//a?db=1", "//a?no_such_option=1"])
def test_a_cluster_address_that_cannot_be_one_is_refused_in_a_sentence(rest: str) -> None:
    """At start, not at the first command."""
    with pytest.raises(ConfigurationError, match="TAILRACE_STREAMS_URL is not a Redis address"):
        streams_redis(Settings(streams_url=f"cluster:{rest}" if rest else "cluster"))


async def test_a_cluster_address_says_how_to_connect_to_every_server() -> None:
    """Plain or encrypted, as whom, and with which options."""
    url = "rediss+cluster://me:p%40ss@a,[::1]:7001?ssl_cert_reqs=none"
    client = streams_redis(Settings(streams_url=url, redis_timeout_s=3))
    assert isinstance(client, Cluster)
    assert [str(seed) for seed in client._seeds] == ["a:6379", "[::1]:7001"]
    pool = client.node(client._seeds[1]).client.connection_pool
    assert pool.connection_class.__name__ == "Tls"
    expected = {"host": "::1", "port": 7001, "username": "me", "password": "p@ss", "ssl_cert_reqs": "none"}
    assert expected.items() <= pool.connection_kwargs.items()
    assert pool.connection_kwargs["socket_timeout"] == 3
    await client.aclose()
