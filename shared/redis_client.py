"""Connections to Redis: one pool per process and server, with a deadline on every wait."""

from __future__ import annotations

from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, ConnectionError, RedisError, ResponseError  # noqa: A004 - redis-py's

from shared.errors import ConfigurationError
from shared.settings import Settings


class _TellsItIsClosed(AbstractConnection):
    """A connection that uvloop has found closed says so by Redis's own error.

    uvloop refuses to write to a transport that is closed with a ``RuntimeError``, where asyncio's own loop waits for
    the next read to fail. Whoever rides out an absence of Redis catches ``RedisError`` and ``OSError``, rightly.
    """

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's
        """Send. Raises ``RedisError`` or ``OSError``, and nothing else, when that does not work."""
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            message = "the connection was closed before the command was sent"
            raise ConnectionError(message) from error


class _Tcp(_TellsItIsClosed, Connection):
    pass


class _Tls(_TellsItIsClosed, SSLConnection):
    pass


class _Unix(_TellsItIsClosed, UnixDomainSocketConnection):
    pass


_TELLING: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _Tcp,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Unix,
}


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
    pool.connection_class = _TELLING[pool.connection_class]
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
