"""A worker that loses Redis, or its time, while it lives: it stops paying, and its streams go on elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.conftest import StartRedis, StartService
from tests.e2e.crowd import Crowd, environment, request, said, watched_worker
from tests.e2e.wire import Wire
from tests.messages_script import Script
from tests.messages_server import MessagesServer
from tests.support import eventually
from tests.support_services import Service

DETACHED_S = 4.0


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP session."""
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def provider() -> AsyncIterator[MessagesServer]:
    """Give a provider that counts calls."""
    async with MessagesServer() as server:
        yield server


async def false_takeovers(session: aiohttp.ClientSession, port: int) -> dict[str, float]:
    """Return the counts of a worker's metric, by owner."""
    async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    found = [line for line in lines if line.startswith("tailrace_false_takeovers_total{")]
    return {line.split('owner="')[1].split('"')[0]: float(line.split()[-1]) for line in found}


async def test_a_worker_that_is_cut_off_stops_its_provider_calls_after_detached_s(
    session: aiohttp.ClientSession,
    redis_server: StartRedis,
    relay_process: StartService,
    worker_process: StartService,
    provider: MessagesServer,
) -> None:
    """Both directions stall and no connection breaks: others take over after a lease, and the first call is ended."""
    server = redis_server()
    async with Wire(server.port) as one, Wire(server.port) as other:
        env = environment(server.url, provider.base_url, TAILRACE_DETACHED_S=str(DETACHED_S))
        env |= {"TAILRACE_REDIS_TIMEOUT_S": "0.5"}
        relay = relay_process(**env)
        wires = [one, other]
        workers = [worker_process(**env | {"TAILRACE_REDIS_URL": wire.url}) for wire in wires]
        for part in (relay, *workers):
            await part.ready(30)
        async with Crowd(session, [relay]) as crowd:
            await crowd.start(1, request(tokens=160, per_second=20))
            await eventually(lambda: crowd.have(5), 20)
            wires[_owner(workers)].freeze()
            frozen_s = time.monotonic()
            await eventually(lambda: len(provider.calls) == 2, 10)
            assert time.monotonic() - frozen_s < DETACHED_S, "others wait for the lease, not for the call to stop"
            await asyncio.wait_for(provider.calls[0].disconnected.wait(), DETACHED_S + 3)
            assert time.monotonic() - frozen_s > DETACHED_S * 0.8
            await crowd.ended(30)
            crowd.check_whole(said(160), attempts=2)
    assert [call.disconnected.is_set() for call in provider.calls] == [True, False]


async def test_a_worker_that_is_cut_off_reads_no_further_than_its_buffer(
    session: aiohttp.ClientSession,
    redis_server: StartRedis,
    relay_process: StartService,
    worker_process: StartService,
    provider: MessagesServer,
) -> None:
    """The provider is held back once the buffer and the sockets are full; when Redis is back, all of it is written."""
    server = redis_server()
    pieces, size = 1200, 16_384
    delta = {"index": 9, "delta": {"type": "text_delta", "text": "x" * size}}
    block = ("content_block_start", {"index": 9, "content_block": {"type": "text", "text": ""}})
    stop = ("content_block_stop", {"index": 9})
    provider.say(Script(tokens=1, frames=[block, *[("content_block_delta", delta)] * pieces, stop]))
    async with Wire(server.port) as wire:
        env = environment(server.url, provider.base_url, TAILRACE_DETACHED_S="60", TAILRACE_BUFFER_BYTES="100000")
        relay = await relay_process(**env).ready()
        await worker_process(**env | {"TAILRACE_REDIS_URL": wire.url}).ready()
        async with Crowd(session, [relay]) as crowd:
            await crowd.start(1, request(tokens=1, per_second=0))
            await eventually(lambda: bool(provider.calls), 20)
            wire.freeze()
            call, held = provider.calls[0], _Still(0.5)
            await eventually(lambda: held.at(call.sent_frames), 20)
            assert call.sent_frames < pieces
            assert not call.disconnected.is_set()
            wire.thaw()
            await crowd.ended(60)
            crowd.check_whole("x" * size * pieces + "w0")
    assert len(provider.calls) == 1


async def test_a_worker_that_was_paused_stops_its_provider_call_as_soon_as_it_runs_again(
    session: aiohttp.ClientSession,
    redis_server: StartRedis,
    relay_process: StartService,
    worker_process: StartService,
    provider: MessagesServer,
) -> None:
    """While both workers reach Redis, no two of them run one stream's call for longer than a lease; it is counted."""
    env = environment(redis_server().url, provider.base_url)
    relay = await relay_process(**env).ready()
    watched = [await watched_worker(worker_process, env) for _ in range(2)]
    workers, ports = [worker for worker, _port in watched], [port for _worker, port in watched]
    async with Crowd(session, [relay]) as crowd:
        await crowd.start(1, request(tokens=120, per_second=20))
        await eventually(lambda: crowd.have(5), 20)
        owner = _owner(workers)
        workers[owner].pause()
        await eventually(lambda: len(provider.calls) == 2, 10)
        assert not provider.calls[0].disconnected.is_set(), "it is still open, though nobody reads it"
        workers[owner].resume()
        await asyncio.wait_for(provider.calls[0].disconnected.wait(), 5)  # its next append or renewal tells it
        await crowd.ended(30)
        crowd.check_whole(said(120), attempts=2)
    assert [one["reason"] for one in crowd.followers[0].kinds("attempt")] == ["first", "lease_expired"]
    assert (await workers[owner].event("attempt.lost"))["why"] == "fenced"
    told = await eventually(lambda: false_takeovers(session, ports[owner]), 5, "the old owner counts it")
    assert told == {"silent": 1.0}
    assert await false_takeovers(session, ports[1 - owner]) == {}


def _owner(workers: list[Service]) -> int:
    """Return which of the workers has begun the only attempt."""
    started = [any(event["event"] == "attempt.started" for event in worker.events()) for worker in workers]
    return started.index(True)


class _Still:
    """Tells when a number has not changed for a while."""

    def __init__(self, for_s: float) -> None:
        self._for_s = for_s
        self._seen = (-1, time.monotonic())

    def at(self, number: int) -> bool:
        """Note the number; tell whether it has been the same for long enough."""
        if number != self._seen[0]:
            self._seen = (number, time.monotonic())
        return time.monotonic() - self._seen[1] >= self._for_s
