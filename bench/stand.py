"""The test stand: every program of a run, each a process of its own, started as in production and ended for certain."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import msgspec

from bench.plan import BenchError, Plan
from bench.target import DIRECT, PROXY, TAILRACE, TUTORIAL, Target
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
_SPARE_SLOTS = 16


class Stand:
    """Provider, baselines, and Tailrace with its Redis, while ``running``; ``targets`` is what can be asked."""

    def __init__(self, plan: Plan) -> None:
        """Prepare for a plan; nothing is started yet."""
        self.targets: dict[str, Target] = {}
        self.redis_name = ""
        self._plan = plan
        self._directory = Path()
        self._runs: dict[str, Run] = {}
        self._ends: dict[str, asyncio.Task[str]] = {}
        """Each yields how a part has ended."""
        self._logs: list[PartLog] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Start everything, and kill it at the end of the block. Raises ``BenchError`` naming what does not serve."""
        self._directory = Path(tempfile.mkdtemp(prefix="tailrace-bench-"))
        try:
            await self._start_all()
            yield self
        finally:
            await self._end_all()

    def pid(self, name: str) -> int:
        """Return the process id of a part."""
        return self._runs[name].pid

    async def check(self) -> None:
        """Raise ``BenchError`` when a part has ended: what was measured since then is void."""
        await asyncio.wait(self._ends.values(), timeout=_END_SEEN_S, return_when=asyncio.FIRST_COMPLETED)
        for name, end in self._ends.items():
            if end.done():
                message = f"{name} ended during the run ({end.result()}); its last line: {self._runs[name].last_line()}"
                raise BenchError(message)

    async def _start_all(self) -> None:
        provider_port = await self._start_helper("provider", "bench.provider")
        provider_url = f"http://127.0.0.1:{provider_port}"
        try:
            async with asyncio.TaskGroup() as group:
                proxy = group.create_task(self._start_helper("proxy", "bench.proxy", provider_url))
                tutorial = group.create_task(self._start_helper("tutorial", "bench.tutorial", provider_url))
                relay = group.create_task(self._start_tailrace(provider_url))
        except* BenchError as errors:
            raise BenchError(str(errors.exceptions[0])) from None
        self.targets = {
            DIRECT.name: DIRECT.at(provider_port, {}),
            PROXY.name: PROXY.at(proxy.result(), self._pids("proxy")),
            TUTORIAL.name: TUTORIAL.at(tutorial.result(), self._pids("tutorial")),
            TAILRACE.name: TAILRACE.at(relay.result(), self._pids("redis", "relay", "worker")),
        }

    def _pids(self, *names: str) -> dict[str, int]:
        return {name: self.pid(name) for name in names}

    async def _start_helper(self, name: str, module: str, *arguments: str) -> int:
        """Start a program of the bench; return its port."""
        line = await self._start(name, [*python_module(module), *arguments], _LISTENING)
        return int(json.loads(line)["port"])

    async def _start_tailrace(self, provider_url: str) -> int:
        """Start Redis, a worker and a relay with their default settings; return the relay's port."""
        port = _free_port()
        await self._start("redis", self._redis_command(port), b"eady to accept connections")
        model = Model(provider="anthropic", base_url=provider_url, max_tokens=32_000)
        settings = {
            "ANTHROPIC_API_KEY": "bench",
            "TAILRACE_REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "TAILRACE_MODELS": json.dumps({"bench": model.model_dump(exclude_none=True)}),
            "TAILRACE_PORT": "0",
        }
        if self._plan.streams > 256 - _SPARE_SLOTS:
            settings["TAILRACE_WORKER_SLOTS"] = str(self._plan.streams + _SPARE_SLOTS)
        await self._start("worker", python_module("worker"), b"worker.ready", settings)
        line = await self._start("relay", python_module("relay"), b"relay.listening", settings)
        return int(msgspec.json.decode(line)["url"].rpartition(":")[2])

    def _redis_command(self, port: int) -> list[str]:
        """Return the server's command: durable as in production, with the append-only file synced every second."""
        data = self._directory / "redis"
        data.mkdir()
        try:
            server = choose_server(data)
        except ConfigurationError as error:
            raise BenchError(str(error)) from None
        self.redis_name = server.name
        options = {"bind": "127.0.0.1", "port": str(port), "dir": str(data), "save": "", "daemonize": "no"}
        options |= {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
        return [str(server), *(part for name, value in options.items() for part in (f"--{name}", value))]

    async def _start(
        self, name: str, command: list[str], ready_mark: bytes, settings: Mapping[str, str] | None = None
    ) -> bytes:
        """Start one program and return the line that says it is ready. Raises ``BenchError``."""
        log = PartLog(self._directory / f"{name}.log")
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

    async def _end_all(self) -> None:
        """Kill what runs and wait for its end. Nothing needs a goodbye, since all data is thrown away."""
        for run in self._runs.values():
            run.kill()
        if self._ends:
            await asyncio.wait(self._ends.values(), timeout=_KILLED_S)
        for log in self._logs:
            log.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def _free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
