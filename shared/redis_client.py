"""Connections to Redis: one pool per process and server, with a deadline on every wait."""

from __future__ import annotations

from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.connection import parse_url
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from shared.errors import ConfigurationError
from shared.redis_connection import OURS
from shared.sentinel import SCHEMES, NoPrimaryError, sentinel_options
from shared.settings import Settings


def queue_redis(settings: Settings) -> Redis:
    """Return a client of the queue Redis. Opens no connection yet."""
    return _client(settings.redis_url.get_secret_value(), settings)


def streams_redis(settings: Settings) -> Redis:
    """Return a client of the Redis that holds the streams, which may be the queue's."""
    return _client((settings.streams_url or settings.redis_url).get_secret_value(), settings)


def _client(url: str, settings: Settings) -> Redis:
    """Return a client whose callers wait for a free connection, and for each answer, up to ``redis_timeout_s``."""
    try:
        found = sentinel_options(url, settings.redis_timeout_s) if url.startswith(SCHEMES) else parse_url(url)
        kind = found.pop("connection_class", Connection)
        limits: dict[str, Any] = {
            "max_connections": settings.redis_connections,
            "timeout": settings.redis_timeout_s,
            "socket_timeout": settings.redis_timeout_s,
            "socket_connect_timeout": settings.redis_timeout_s,
            "connection_class": OURS.get(kind, kind),
        }
        pool = BlockingConnectionPool(**(limits | found))
        pool.make_connection()  # opens nothing, and refuses options that no connection has
    except (ValueError, TypeError, RedisError):
        schemes = "redis://, rediss://, unix://, sentinel:// or sentinels://"
        message = f"TAILRACE_REDIS_URL or TAILRACE_STREAMS_URL is not a Redis address: it begins with {schemes}"
        raise ConfigurationError(message) from None
    return Redis.from_pool(pool)


async def check_redis(client: Redis) -> str | None:
    """Make sure that Redis answers; return a warning when it may evict what must not be lost.

    Raises ``ConfigurationError`` with one sentence, without the password, when it cannot be used.
    """
    try:
        policy = await client.config_get("maxmemory-policy")
    except NoPrimaryError as error:
        message = f"Redis cannot be found: {error}"
        raise ConfigurationError(message) from None
    except AuthenticationError:
        message = "Redis refused the user or password in TAILRACE_REDIS_URL"
        raise ConfigurationError(message) from None
    except ResponseError as error:
        if "NOAUTH" in str(error) or "WRONGPASS" in str(error):
            message = "Redis asks for a password: put it into TAILRACE_REDIS_URL"
            raise ConfigurationError(message) from None
        return None
    except (RedisError, OSError) as error:
        message = f"Redis cannot be reached at the address in TAILRACE_REDIS_URL ({type(error).__name__})"
        raise ConfigurationError(message) from None
    value = policy.get("maxmemory-policy")
    if value not in ("noeviction", None):
        return f"Redis runs with maxmemory-policy {value}; only noeviction keeps streams safe"
    return None
