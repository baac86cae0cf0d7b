"""A real Chromium for tests, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright

_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a headless Chromium around a block. Skips the test where there is none to run."""
    executable = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip("no Chromium on PATH; on Debian: apt-get install chromium")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=executable, args=_FLAGS.split())
        yield running
        await running.close()
