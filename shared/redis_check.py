"""Whether what the addresses in the settings name can be used: asked once, when a relay or worker starts."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from shared.cluster import Cluster, NoClusterError, Streams
from shared.errors import ConfigurationError
from shared.sentinel import NoPrimaryError

_OLDEST_OF_CLUSTER = 7
"""The first version that has sharded pub/sub."""


async def check_redis(streams: Streams) -> str | None:
    """Make sure that Redis answers; return a warning when it may evict what must not be lost.

    Raises ``ConfigurationError`` with one sentence, without the password, when it cannot be used.
    """
    if isinstance(streams, Cluster):
        return await _check_cluster(streams)
    warning = await _check_server(streams, "TAILRACE_REDIS_URL")
    if (await _info(streams, "cluster")).get("cluster_enabled"):
        message = (
            "Redis is one server of a cluster: give a cluster as cluster://host:port,host:port in "
            "TAILRACE_STREAMS_URL, and the queue another Redis in TAILRACE_REDIS_URL"
        )
        raise ConfigurationError(message)
    return warning


async def _check_cluster(cluster: Cluster) -> str | None:
    """Check every server of a cluster that answers; one may be away."""
    try:
        await cluster.refresh()
    except NoClusterError as error:
        message = f"TAILRACE_STREAMS_URL cannot be used: {error}"
        raise ConfigurationError(message) from None
    warning = None
    for address in (*cluster.map.primaries, *cluster.map.replicas):
        server = cluster.node(address).client
        version = str((await _info(server, "server")).get("redis_version", ""))
        if version and int(version.partition(".")[0]) < _OLDEST_OF_CLUSTER:
            message = f"the server at {address} is Redis {version}; a cluster needs Redis 7 or later, or Valkey"
            raise ConfigurationError(message)
        try:
            warning = await _check_server(server, "TAILRACE_STREAMS_URL") or warning
        except _AwayError:
            warning = warning or f"the server at {address}, which is of the cluster, does not answer"
    return warning


class _AwayError(ConfigurationError):
    """The server cannot be reached at all."""


async def _check_server(client: Redis, name: str) -> str | None:
    """Return a warning if the server may evict keys. Raises ``ConfigurationError`` about the setting ``name``."""
    try:
        policy = await client.config_get("maxmemory-policy")
    except NoPrimaryError as error:
        message = f"Redis cannot be found: {error}"
        raise ConfigurationError(message) from None
    except AuthenticationError:
        message = f"Redis refused the user or password in {name}"
        raise ConfigurationError(message) from None
    except ResponseError as error:
        if "NOAUTH" in str(error) or "WRONGPASS" in str(error):
            message = f"Redis asks for a password: put it into {name}"
            raise ConfigurationError(message) from None
        return None
    except (RedisError, OSError) as error:
        message = f"Redis cannot be reached at the address in {name} ({type(error).__name__})"
        raise _AwayError(message) from None
    value = policy.get("maxmemory-policy")
    if value not in ("noeviction", None):
        return f"Redis runs with maxmemory-policy {value}; only noeviction keeps streams safe"
    return None


async def _info(client: Redis, section: str) -> dict[str, object]:
    """Return what the server says of itself, nothing if it does not."""
    try:
        return dict(await client.info(section))
    except (RedisError, OSError):
        return {}
