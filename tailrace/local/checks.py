"""What is found out before anything is started: is the port free, does Redis answer."""

from __future__ import annotations

import asyncio
import socket

from shared.cluster import Streams
from shared.errors import ConfigurationError
from shared.redis_check import check_redis
from shared.redis_client import queue_redis, streams_redis
from shared.settings import Settings


def check_port(host: str, port: int) -> None:
    """Raise ``ConfigurationError`` when nothing can listen on ``host`` and ``port``. Port 0 is always free."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # as the relay: connections just closed are no bar
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        reason = error.strerror or str(error)
        message = (
            f"Cannot listen on {host} port {port} ({reason}): "
            "stop what uses the port, or choose another with TAILRACE_PORT (0 takes a free one)"
        )
        raise ConfigurationError(message) from None


def free_port() -> int:
    """Return a port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def check_own_redis(settings: Settings) -> list[str]:
    """Make sure that the Redis of the settings answers; return warnings about how it is configured.

    Raises ``ConfigurationError`` when it does not answer within ``redis_timeout_s``, or refuses the password.
    """
    clients: list[Streams] = [queue_redis(settings)]
    if settings.streams_url is not None:
        clients.append(streams_redis(settings))
    warnings = []
    try:
        for client in clients:
            async with asyncio.timeout(settings.redis_timeout_s):
                warnings.append(await check_redis(client))
    except TimeoutError:
        message = f"Redis did not answer within {settings.redis_timeout_s:g} s at the address in TAILRACE_REDIS_URL"
        raise ConfigurationError(message) from None
    finally:
        for client in clients:
            await client.aclose()
    return [warning for warning in warnings if warning]
