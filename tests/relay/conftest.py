"""Relays and workers in the test's own process and loop: the real runner, real sockets, the real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from relay.app import Relay
from shared.settings import Settings
from tests.relay.api import Api
from worker.app import WorkerService

StartRelay = Callable[..., Awaitable[Relay]]
StartWorker = Callable[..., Awaitable[WorkerService]]
MakeApi = Callable[..., Awaitable[Api]]

_END_S = 10.0


@pytest.fixture
def make_settings(redis_url: str) -> Callable[..., Settings]:
    """Make settings for the test's Redis and the simulated model, which keyword arguments may change."""

    def make(**changes: Any) -> Settings:
        usual: dict[str, Any] = {
            "redis_url": redis_url,
            "sim": True,
            "port": 0,
            "relay_drain_s": 0.2,
            "worker_drain_s": 0.2,
        }
        return Settings(**(usual | changes))

    return make


@pytest.fixture
async def start_relay(make_settings: Callable[..., Settings]) -> AsyncIterator[StartRelay]:
    """Start relays by the settings that differ; each has its ``url``."""
    relays: list[Relay] = []

    async def start(**changes: Any) -> Relay:
        relay = Relay(make_settings(**changes))
        await relay.start()
        relays.append(relay)
        return relay

    yield start
    for relay in relays:
        await relay.stop()


@pytest.fixture
async def start_worker(make_settings: Callable[..., Settings]) -> AsyncIterator[StartWorker]:
    """Start workers by the settings that differ."""
    stopped = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def work(service: WorkerService, ready: asyncio.Event) -> None:
        async with service.running():
            ready.set()
            await stopped.wait()

    async def start(**changes: Any) -> WorkerService:
        service, ready = WorkerService(make_settings(**changes)), asyncio.Event()
        tasks.append(asyncio.create_task(work(service, ready), name="test.worker"))
        waiting = asyncio.create_task(ready.wait(), name="test.worker_ready")
        await asyncio.wait([waiting, tasks[-1]], return_when=asyncio.FIRST_COMPLETED)
        if tasks[-1].done():
            waiting.cancel()
            tasks.pop().result()
        return service

    yield start
    stopped.set()
    async with asyncio.timeout(_END_S):
        await asyncio.gather(*tasks)


@pytest.fixture
async def session(start_relay: StartRelay) -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP client whose connections are closed before the relays stop."""
    _ = start_relay
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def make_api(start_relay: StartRelay, session: aiohttp.ClientSession) -> MakeApi:
    """Start relays by the settings that differ, and give a client of each."""

    async def make(**changes: Any) -> Api:
        return Api(session, (await start_relay(**changes)).url)

    return make


@pytest.fixture
async def api(make_api: MakeApi) -> Api:
    """Give a client of a relay with the usual settings; no worker runs."""
    return await make_api()


@pytest.fixture
async def served(make_api: MakeApi, start_worker: StartWorker) -> Api:
    """Give a client of a relay with the usual settings; a worker answers."""
    await start_worker()
    return await make_api()
