"""Our own services as real processes, started and watched by the tests."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.support import Process, clean_environment
from tests.support_redis import RedisProcess, keys_without_expiry


class Service(Process):
    """A relay or a worker: ``python -m relay`` with settings from its environment alone."""

    def __init__(self, module: str, ready_event: str, log: Path, env: Mapping[str, str]) -> None:
        """Take the module to run, the log event that says it is ready, the file for its output, and its settings."""
        super().__init__([sys.executable, "-m", module], log, env=clean_environment(env))
        self._ready_event = ready_event
        self._url = ""

    async def ready(self, deadline_s: float = 20.0) -> Self:
        """Wait until the service says that it is ready, and return itself."""
        fields = await self.event(self._ready_event, deadline_s)
        self._url = str(fields.get("url", ""))
        return self

    @property
    def url(self) -> str:
        """The base URL the service listens on, without a slash at the end; known once it is ready."""
        assert self._url, f"{self.name} is not ready, or said no url"
        return self._url.rstrip("/")


@contextmanager
def lasting_system(folder: Path, **env: str) -> Iterator[Service]:
    """Run a relay and a worker that offer the simulated model, on a Redis of their own, and give the relay.

    For fixtures of a module or of the whole run: starting three programs costs more than a test. To be entered where
    no event loop runs. Raises ``AssertionError`` at the end if a key without expiry was left.
    """
    redis = RedisProcess(folder, lasting=True).start()
    settings = {"TAILRACE_REDIS_URL": redis.url, "TAILRACE_SIM": "true", "TAILRACE_PORT": "0"} | env
    relay = Service("relay", "relay.listening", folder / "relay.log", settings)
    worker = Service("worker", "worker.ready", folder / "worker.log", settings)
    loop = asyncio.new_event_loop()
    try:
        for service in (relay, worker):
            service.lasting = True
            service.start()
        for service in (relay, worker):
            loop.run_until_complete(service.ready(60.0))
        yield relay
        assert keys_without_expiry(redis.url) == []
    finally:
        loop.close()
        for part in (relay, worker, redis):
            part.end()
