"""Fixtures for the page: one headless Chromium, and tabs with the page from a real relay.

Chromium, the relay and the worker are started once for all tests of the page: a start costs more than a test. The
tests that kill services start their own. Everything runs on the session's loop, because the browser lives on it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext

from tests.page.chat_page import ChatPage
from tests.support_browser import chromium
from tests.support_services import Service, lasting_system


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Run a headless Chromium. Skips the test where there is none to run."""
    async with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a relay and a worker that offer the simulated model, on a Redis of their own."""
    with lasting_system(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """Give a browser profile without history: tabs opened in it share their storage."""
    profile = await browser.new_context(viewport={"width": 1000, "height": 800})
    yield profile
    await profile.close()


@pytest_asyncio.fixture(loop_scope="session")
async def chat(context: BrowserContext, relay: Service) -> AsyncIterator[ChatPage]:
    """Give a tab with the page open. Fails the test if a script in it has thrown."""
    page = ChatPage(await context.new_page(), relay.url)
    await page.open()
    yield page
    assert page.errors == []
