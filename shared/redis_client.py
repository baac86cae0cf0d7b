"""Connections to Redis: one pool per process and server, with a deadline on every wait."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from shared.errors import ConfigurationError
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
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=settings.redis_connections,
            timeout=settings.redis_timeout_s,
            socket_timeout=settings.redis_timeout_s,
            socket_connect_timeout=settings.redis_timeout_s,
            health_check_interval=0,
        )
    except ValueError:
        message = "TAILRACE_REDIS_URL is not a Redis address: it must begin with redis://, rediss:// or unix://"
        raise ConfigurationError(message) from None
    return Redis.from_pool(pool)


async def check_redis(client: Redis) -> str | None:
    """Make sure that Redis answers; return a warning when it may evict what must not be lost.

    Raises ``ConfigurationError`` with one sentence, without the password, when it cannot be used.
    """
    try:
        policy = await client.config_get("maxmemory-policy")
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
