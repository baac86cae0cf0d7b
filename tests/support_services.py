"""Our own services as real processes, started and watched by the tests."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support import Process, clean_environment


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
