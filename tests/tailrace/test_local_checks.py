"""Tests of what is found out before anything starts, against real sockets, a real Redis and a local API."""

from __future__ import annotations

import socket
import time

import pytest
from pydantic import SecretStr

from shared.errors import ConfigurationError
from shared.settings import Settings
from tailrace.local.checks import check_own_redis, check_port, free_port
from tests.conftest import StartRedis


def _settings(url: str, timeout_s: float = 5.0) -> Settings:
    return Settings(redis_url=SecretStr(url), redis_timeout_s=timeout_s)


def test_a_taken_port_is_a_sentence_with_the_port_and_the_setting() -> None:
    """Whoever reads it knows what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} \(Address already in use\).*TAILRACE_PORT"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


def test_an_address_of_another_machine_is_a_sentence() -> None:
    """The host may be wrong as well as the port."""
    with pytest.raises(ConfigurationError, match=r"Cannot listen on 192\.0\.2\.1 port 8080"):
        check_port("192.0.2.1", 8080)


def test_any_port_is_free() -> None:
    """Port 0 asks the system for one."""
    check_port("127.0.0.1", 0)


async def test_a_redis_that_answers_is_accepted(redis_url: str) -> None:
    """The tests' own Redis runs noeviction: nothing to warn of."""
    assert await check_own_redis(_settings(redis_url)) == []


async def test_a_redis_that_may_evict_is_accepted_with_a_warning(redis_server: StartRedis) -> None:
    """It works, until it is full: the person must know."""
    server = redis_server(maxmemory_policy="allkeys-lru")
    warnings = await check_own_redis(_settings(server.url))
    assert len(warnings) == 1
    assert "allkeys-lru" in warnings[0]


async def test_a_wrong_password_is_a_sentence_without_the_password(redis_server: StartRedis) -> None:
    """The password is a secret also when it is wrong."""
    server = redis_server()
    url = server.url.replace("redis://", "redis://nobody:geheim@")
    with pytest.raises(ConfigurationError, match="password in TAILRACE_REDIS_URL") as raised:
        await check_own_redis(_settings(url))
    assert "geheim" not in str(raised.value)


async def test_an_unreachable_redis_is_a_sentence() -> None:
    """Nothing listens there."""
    with pytest.raises(ConfigurationError, match="Redis cannot be reached"):
        await check_own_redis(_settings(f"redis://127.0.0.1:{free_port()}/0"))


async def test_a_redis_that_hangs_is_given_up_at_the_deadline(redis_server: StartRedis) -> None:
    """It takes the connection and says nothing, as a stopped machine behind a balancer does."""
    server = redis_server()
    server.pause()
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match="Redis"):
        await check_own_redis(_settings(server.url, timeout_s=0.3))
    assert time.monotonic() - began < 2
    server.resume()
