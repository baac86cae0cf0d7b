"""What is found out before anything is started: is the port free, does Redis answer, is the API key right."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
from pydantic import SecretStr

from shared.cluster import Streams
from shared.errors import ConfigurationError
from shared.redis_check import check_redis
from shared.redis_client import queue_redis, streams_redis
from shared.settings import Settings

_API_URL = "https://api.anthropic.com"
_API_VERSION = "2023-06-01"
_API_DEADLINE_S = 5.0
_REFUSED = (401, 403)


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


async def check_api_key(key: SecretStr, base_url: str | None) -> str | None:
    """Ask the Anthropic API for its list of models, which costs nothing; return a warning when it cannot be asked.

    Raises ``ConfigurationError`` only when the API refuses the key: everything else may be over by the time the first
    question is asked, and a worker tries again by itself.
    """
    headers = {"x-api-key": key.get_secret_value(), "anthropic-version": _API_VERSION}
    url = f"{(base_url or _API_URL).rstrip('/')}/v1/models"
    timeout = aiohttp.ClientTimeout(total=_API_DEADLINE_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url, headers=headers, params={"limit": "1"}) as answer,
        ):
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return f"The Anthropic API cannot be reached now ({type(error).__name__}): answers fail until it can"
    if status in _REFUSED:
        message = (
            f"The Anthropic API refused the key in ANTHROPIC_API_KEY (HTTP {status}): "
            "correct it, or unset it to be answered by the local model"
        )
        raise ConfigurationError(message)
    return None
