"""Connections to Redis: one pool per process and server, with a deadline on every wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.cluster import ClusterParser
from redis.asyncio.connection import parse_url
from redis.exceptions import RedisError

from shared.address import Address, parse_address
from shared.cluster import Cluster, Streams
from shared.errors import ConfigurationError
from shared.redis_connection import OURS
from shared.sentinel import SCHEMES as SENTINEL_SCHEMES
from shared.sentinel import sentinel_options
from shared.settings import Settings

T = TypeVar("T")
CLUSTER_SCHEMES: Mapping[str, str] = {"cluster": "redis", "redis+cluster": "redis", "rediss+cluster": "rediss"}
"""Schemes of a cluster's address, and those of its servers."""
_PORT = 6379


def queue_redis(settings: Settings) -> Redis:
    """Return a client of the queue Redis. Opens no connection yet. Raises ``ConfigurationError``."""
    url = settings.redis_url.get_secret_value()
    if _is_cluster(url):
        message = (
            "TAILRACE_REDIS_URL is a Redis Cluster, which cannot hold the queue: put that address into "
            "TAILRACE_STREAMS_URL, and a single or Sentinel Redis into TAILRACE_REDIS_URL"
        )
        raise ConfigurationError(message)
    return _checked(_single, "TAILRACE_REDIS_URL", url, settings)


def streams_redis(settings: Settings) -> Streams:
    """Return a client of what holds the streams: the queue's Redis, another one, or a cluster."""
    if settings.streams_url is None:
        return queue_redis(settings)
    url = settings.streams_url.get_secret_value()
    if _is_cluster(url):
        return _checked(_cluster, "TAILRACE_STREAMS_URL", url, settings)
    return _checked(_single, "TAILRACE_STREAMS_URL", url, settings)


def is_one_redis(settings: Settings) -> bool:
    """Tell whether queue and streams are on one server, so that one script may touch both."""
    return settings.streams_url in (None, settings.redis_url)


def _is_cluster(url: str) -> bool:
    return url.partition("://")[0] in CLUSTER_SCHEMES


def _checked(make: Callable[[str, Settings], T], name: str, url: str, settings: Settings) -> T:
    """Return what ``make`` makes of the address in the setting. Raises ``ConfigurationError`` without the address."""
    try:
        return make(url, settings)
    except (ValueError, TypeError, RedisError):
        schemes = "redis://, rediss://, unix://, sentinel:// or sentinels://"
        more = ", cluster:// or rediss+cluster://" if name == "TAILRACE_STREAMS_URL" else ""
        message = f"{name} is not a Redis address: it begins with {schemes}{more}"
        raise ConfigurationError(message) from None


def _single(url: str, settings: Settings) -> Redis:
    """Return a client of one server, which Sentinels may find. Raises ``ValueError`` and the like."""
    sentinel = url.startswith(SENTINEL_SCHEMES)
    return _client(sentinel_options(url, settings.redis_timeout_s) if sentinel else dict(parse_url(url)), settings)


def _cluster(url: str, settings: Settings) -> Cluster:
    """Return a client of ``cluster://[user:password@]host[:6379],host,...[?options]``. Raises ``ValueError``."""
    scheme, _, rest = url.partition("://")
    place, mark, query = rest.partition("?")
    authority, _, database = place.partition("/")
    login, at, hosts = authority.rpartition("@")
    seeds = [parse_address(host, _PORT) for host in hosts.split(",")]
    options: dict[str, Any] = dict(parse_url(f"{CLUSTER_SCHEMES[scheme]}://{login}{at}cluster/{database}{mark}{query}"))
    if options.pop("db", 0):
        message = "a cluster has no databases but 0"
        raise ValueError(message)
    options |= {"parser_class": ClusterParser}

    def connect(address: Address) -> Redis:
        return _client(options | address._asdict(), settings)

    connect(seeds[0])
    return Cluster(seeds, connect, settings.redis_timeout_s)


def _client(options: dict[str, Any], settings: Settings) -> Redis:
    """Return a client whose callers wait for a free connection, and for each answer, up to ``redis_timeout_s``."""
    kind = options.pop("connection_class", Connection)
    limits: dict[str, Any] = {
        "max_connections": settings.redis_connections,
        "timeout": settings.redis_timeout_s,
        "socket_timeout": settings.redis_timeout_s,
        "socket_connect_timeout": settings.redis_timeout_s,
        "connection_class": OURS.get(kind, kind),
    }
    pool = BlockingConnectionPool(**(limits | options))
    pool.make_connection()  # opens nothing, and refuses options that no connection has
    return Redis.from_pool(pool)
