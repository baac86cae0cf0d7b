"""A relay far away and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tailrace import Client, Reconnect
from tests.tailrace.far_relay import QUICK, FarRelay


@pytest.fixture
async def relay() -> AsyncIterator[FarRelay]:
    """Give a relay that holds one short answer."""
    async with FarRelay() as far:
        yield far


@pytest.fixture
def notes() -> list[Reconnect]:
    """Give the list of what the client says before it tries again."""
    return []


@pytest.fixture
async def client(relay: FarRelay, notes: list[Reconnect]) -> AsyncIterator[Client]:
    """Give an open client of the relay."""
    async with Client(relay.url, "key-of-mine", timeouts=QUICK, on_reconnect=notes.append) as opened:
        yield opened
