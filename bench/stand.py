"""The test stand: every program of a run, each a process of its own, started as in production and ended for certain."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import msgspec

from bench.plan import BenchError
from shared.errors import ConfigurationError
from shared.models import Model
from tailrace.local.environment import foreign_environment, python_module
from tailrace.local.process import Program, Run
from tailrace.local.redis_server import choose_server
from tailrace.local.state import PartLog

_READY_S = 30.0
_KILLED_S = 10.0
_END_SEEN_S = 0.5
"""A connection breaks a moment before the end of its process is seen."""
_LISTENING = b"bench.listening"
_MOST_TOKENS = 32_000
_PORTS = (20_000, 32_000)


class Stand:
    """Starts parts while it is ``running``, and kills them at its end. Parts are known by their names."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self.provider_url = ""
        self.directory = Path()
        self.redis_ports: dict[str, int] = {}
        self.models: dict[str, Model] = {}
        """What is offered beside the provider's model, which is "bench"."""
        self.settings: dict[str, str] = {}
        """What workers and relays started later are told."""
        self._runs: dict[str, Run] = {}
        self._ends: dict[str, asyncio.Task[str]] = {}
        """Each yields how a part has ended."""
        self._logs: list[PartLog] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Give a directory to the parts, and kill them at the end of the block.

        A ``BenchError`` in the block becomes one that names the part that has ended, where one has.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="tailrace-bench-"))
        try:
            yield self
            await self.check()
        except BenchError:
            await self.check()
            raise
        finally:
            await self._end_all()

    def pid(self, name: str) -> int:
        """Return the process id of a part."""
        return self._runs[name].pid

    def pids(self, *names: str) -> dict[str, int]:
        """Return the process ids of parts."""
        return {name: self.pid(name) for name in names}

    async def check(self) -> None:
        """Raise ``BenchError`` when a part has ended: what was measured since then is void."""
        if not self._ends:
            return
        await asyncio.wait(self._ends.values(), timeout=_END_SEEN_S, return_when=asyncio.FIRST_COMPLETED)
        for name, end in self._ends.items():
            if end.done():
                message = f"{name} ended during the run ({end.result()}); its last line: {self._runs[name].last_line()}"
                raise BenchError(message)

    async def provider(self) -> int:
        """Start the far-away LLM, which all that is started later asks; return its port."""
        port = await self.helper("provider", "bench.provider")
        self.provider_url = f"http://127.0.0.1:{port}"
        return port

    async def helper(self, name: str, module: str, *arguments: str) -> int:
        """Start a program of the bench; return its port. Raises ``BenchError``."""
        line = await self._start(name, [*python_module(module), *arguments], _LISTENING)
        return int(json.loads(line)["port"])

    async def redis(self, name: str = "redis", setting: str = "TAILRACE_REDIS_URL") -> None:
        """Start a Redis that all workers and relays started later know by this setting.

        It is durable as in production, with the append-only file synced every second. Raises ``BenchError``.
        """
        port = self.redis_ports[name] = _free_port()
        data = self.directory / name
        data.mkdir()
        options = {"bind": "127.0.0.1", "port": str(port), "dir": str(data), "save": "", "daemonize": "no"}
        options |= {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
        command = [str(redis_server(data)), *(part for key, value in options.items() for part in (f"--{key}", value))]
        await self._start(name, command, b"eady to accept connections")
        self.settings[setting] = f"redis://127.0.0.1:{port}/0"

    async def worker(self, name: str = "worker", slots: int = 0) -> None:
        """Start a worker, with all settings at their defaults but for ``slots`` where it is not 0."""
        own = {"TAILRACE_WORKER_SLOTS": str(slots)} if slots else {}
        await self._start(name, python_module("worker"), b"worker.ready", self._environment() | own)

    async def relay(self, name: str = "relay") -> int:
        """Start a relay with all settings at their defaults; return its port."""
        settings = self._environment() | {"TAILRACE_PORT": "0"}
        line = await self._start(name, python_module("relay"), b"relay.listening", settings)
        return int(msgspec.json.decode(line)["url"].rpartition(":")[2])

    def _environment(self) -> dict[str, str]:
        offered = {"bench": Model(provider="anthropic", base_url=self.provider_url, max_tokens=_MOST_TOKENS)}
        models = {name: model.model_dump(exclude_none=True) for name, model in (offered | self.models).items()}
        return {"ANTHROPIC_API_KEY": "bench", "TAILRACE_MODELS": json.dumps(models)} | self.settings

    async def _start(
        self, name: str, command: list[str], ready_mark: bytes, settings: Mapping[str, str] | None = None
    ) -> bytes:
        """Start one program and return the line that says it is ready. Raises ``BenchError``."""
        log = PartLog(self.directory / f"{name}.log")
        self._logs.append(log)
        environment = foreign_environment() | dict(settings or {})
        run = self._runs[name] = await Run.start(Program(name, command, environment, ready_mark), log)
        self._ends[name] = asyncio.create_task(run.ended(), name=f"end of {name}")
        try:
            async with asyncio.timeout(_READY_S):
                await run.settled.wait()
        except TimeoutError:
            message = f"{name} was not ready within {_READY_S:g} s; its last line: {run.last_line()}"
            raise BenchError(message) from None
        if run.ready_line is None:
            message = f"{name} could not be started; its last line: {run.last_line()}"
            raise BenchError(message)
        return run.ready_line

    async def end(self, name: str) -> None:
        """Kill one part, which is then no longer missed."""
        self._runs[name].kill()
        await asyncio.wait([self._ends.pop(name)], timeout=_KILLED_S)

    async def _end_all(self) -> None:
        """Kill what runs and wait for its end. Nothing needs a goodbye, since all data is thrown away."""
        for run in self._runs.values():
            run.kill()
        if self._ends:
            await asyncio.wait(self._ends.values(), timeout=_KILLED_S)
        for log in self._logs:
            log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def redis_server(directory: Path) -> Path:
    """Return the Redis server to measure with. Raises ``BenchError`` where there is none."""
    try:
        return choose_server(directory)
    except ConfigurationError as error:
        raise BenchError(str(error)) from None


def _free_port() -> int:
    """Return a port that was free a moment ago, of those that the system gives to nobody by itself."""
    while True:
        port = random.randint(*_PORTS)  # noqa: S311
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
