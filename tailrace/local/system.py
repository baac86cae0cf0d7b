"""The parts together: what is needed, in which order it starts, and in which order it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from shared.models import Model, default_models
from shared.settings import Settings
from tailrace.local import model
from tailrace.local.api_keys import check_api_key, keys_to_check
from tailrace.local.checks import check_own_redis, check_port, free_port
from tailrace.local.environment import drain_budgets, foreign_environment, python_module, service_environment
from tailrace.local.part import Part
from tailrace.local.process import Program
from tailrace.local.progress import Progress
from tailrace.local.redis_server import redis_program
from tailrace.local.state import PartLog, State

_STOP_MARGIN_S = 10.0
"""What a service may take beyond its drain budget, handing over and closing, before it is killed."""


class System:
    """Redis, the local model, a worker and a relay, as far as the settings ask for them."""

    def __init__(self, settings: Settings, state: State, scratch: Path, progress: Progress) -> None:
        """Plan to run in ``state``, with sockets and temporary files in ``scratch``, a short path."""
        self._settings = settings
        self._state = state
        self._scratch = scratch
        self._progress = progress
        self._parts: list[Part] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def serve(self) -> None:
        """Start everything, print the URL, and keep it running: returns only by an error or by cancellation.

        Raises ``ConfigurationError`` or ``PartError``. The parts run on until ``end``, also after an error.
        """
        check_port(self._settings.host, self._settings.port)
        own_redis = "redis_url" in self._settings.model_fields_set
        if own_redis:
            await self._check_own_redis()
        await self._check_keys()
        await self._install_model()
        async with self._progress.step("Starting"):
            redis_url, models = await self._start_backends(own_redis=own_redis)
            url = await self._start_services(service_environment(self._settings, redis_url, models))
        self._announce(url)
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in self._tasks:
            if task.done():
                task.result()

    async def end(self, hurry: asyncio.Event) -> None:
        """End the parts, last started first, each within its own deadline; at once when ``hurry`` is set."""
        for part in reversed(self._parts):
            await part.end(hurry)

    async def _check_own_redis(self) -> None:
        async with self._progress.step("Asking your Redis"):
            for warning in await check_own_redis(self._settings):
                self._progress.say(f"Warning: {warning}.")

    async def _check_keys(self) -> None:
        for key in keys_to_check(self._settings):
            async with self._progress.step(f"Checking the {key.api} API key"):
                warning = await check_api_key(key)
                if warning:
                    self._progress.say(f"Warning: {warning}.")

    async def _install_model(self) -> None:
        if not model.is_wanted(self._settings) or model.is_installed():
            return
        log_file = self._state.logs / "install.log"
        with closing(PartLog(log_file)) as log:
            async with self._progress.step("Installing the local model, only this once"):
                await model.install(model.LOCK_FILE, self._scratch, log, self._progress)

    async def _start_backends(self, *, own_redis: bool) -> tuple[str, dict[str, Model]]:
        """Start what the services need; return Redis's URL and the models, none where the built-in ones are right."""
        models: dict[str, Model] = {}
        redis_url = self._settings.redis_url.get_secret_value()
        waiting = []
        if not own_redis:
            socket = self._scratch / "redis.sock"
            redis_url = f"unix://{socket}"
            waiting.append(self._start(redis_program(self._state.redis, socket, foreign_environment())))
        if model.is_wanted(self._settings):
            port = free_port()
            models = {model.ALIAS: model.local_model(port)}
            models |= default_models((), sim=self._settings.sim)
            # Loading it takes longest and needs nobody: the services start meanwhile.
            self._start(model.model_program(port))
        await self._until_ready(waiting)
        return redis_url, models

    async def _start_services(self, environment: dict[str, str]) -> str:
        """Start a worker and a relay; return the relay's URL once every part is ready."""
        relay_drain_s, worker_drain_s = drain_budgets(self._settings)
        self._start(_service("worker", environment, b'"worker.ready"', worker_drain_s))
        program = _service("relay", environment, b'"relay.listening"', relay_drain_s)
        relay = self._start(program)
        await self._until_ready(self._parts)
        url = msgspec.json.decode(relay.ready_line, type=dict[str, object])["url"]
        assert isinstance(url, str)
        # A relay that was given any free port must come back on the same one.
        port = str(urlsplit(url).port or self._settings.port)
        relay.use(dataclasses.replace(program, environment=environment | {"TAILRACE_PORT": port}))
        return url

    def _start(self, program: Program) -> Part:
        log = PartLog(self._state.logs / f"{program.name.replace(' ', '-').lower()}.log")
        part = Part(program, log, self._progress.say)
        self._parts.append(part)
        self._tasks.append(part.start())
        return part

    async def _until_ready(self, parts: list[Part]) -> None:
        """Wait for all of ``parts``; the first that fails ends the wait."""
        await asyncio.gather(*(self._one_ready(part) for part in parts))

    async def _one_ready(self, part: Part) -> None:
        await part.wait_ready()
        missing = [other.name for other in self._parts if not other.is_ready]
        self._progress.note(f"waiting for {', '.join(missing)}" if missing else "")

    def _announce(self, url: str) -> None:
        if model.is_wanted(self._settings):
            self._progress.say(
                "A small model on this machine answers (SmolLM2-135M); with ANTHROPIC_API_KEY set, Claude does "
                "(OPENAI_API_KEY and GEMINI_API_KEY likewise)."
            )
        self._progress.say(f"Logs: {self._state.logs}. Ctrl-C stops everything.")
        sys.stdout.write(f"Tailrace is running: {url}\n")
        sys.stdout.flush()


def _service(name: str, environment: dict[str, str], ready_mark: bytes, drain_s: float) -> Program:
    return Program(name, python_module(name), environment, ready_mark, stop_s=drain_s + _STOP_MARGIN_S)
