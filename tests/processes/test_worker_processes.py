"""Tests of a worker of several processes: streams spread over them, one port for probes and scrapes, one end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.conftest import StartService
from tests.processes.family import all_say, metrics, named, processes
from tests.support import eventually, free_port
from tests.support_services import Service
from tests.support_sse import SseReader
from tests.tailrace.local_support import all_gone

COUNT = 2
ENV = {"TAILRACE_SIM": "true", "TAILRACE_WORKER_DRAIN_S": "1", "TAILRACE_WORKER_SLOTS": "4"}


@pytest.fixture
async def relay(relay_process: StartService) -> Service:
    """Give a relay of one process."""
    return await relay_process(**ENV).ready()


@pytest.fixture
async def worker(worker_process: StartService) -> tuple[Service, str]:
    """Give a worker of several processes that all work, and the URL of its probes."""
    port = str(free_port())
    service = worker_process(**ENV, TAILRACE_WORKER_PROCESSES=str(COUNT), TAILRACE_WORKER_METRICS_PORT=port)
    await all_say(service, "process.ready", COUNT)
    return service, f"http://127.0.0.1:{port}"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP session."""
    async with aiohttp.ClientSession() as opened:
        yield opened


async def answer(session: aiohttp.ClientSession, relay: Service, tokens: int, per_second: float) -> str:
    """Have a stream answered and return its text."""
    script = json.dumps({"tokens": tokens, "per_second": per_second})
    body = {"messages": [{"role": "user", "content": script}]}
    async with SseReader(session, f"{relay.url}/v1/streams", method="POST", json=body) as reader:
        events = await reader.until("end", 30)
    return "".join(event.json().get("text", "") for event in events if event.event == "delta")


async def test_the_slots_of_all_processes_are_used_and_their_metrics_summed(
    worker: tuple[Service, str], relay: Service, session: aiohttp.ClientSession
) -> None:
    """Eight streams at once need both of two processes with four slots; any of them tells of all."""
    service, url = worker
    told = await asyncio.gather(*(answer(session, relay, 20, 20) for _ in range(8)))
    assert told == [" ".join(f"w{index}" for index in range(20))] * 8

    async def all_ended() -> bool:
        return (await metrics(url))["tailrace_streams_ended_total completed"] == 8

    await eventually(all_ended)
    for _ in range(6):
        found = await metrics(url)
        assert found["tailrace_streams_ended_total completed"] == 8
        assert found["tailrace_output_tokens_total"] == 8 * 20
        assert found["tailrace_processes"] == COUNT
    assert {fields["process"] for fields in named(service, "worker.ready")} == {1, 2}


async def test_a_killed_process_loses_no_stream_and_no_count(
    worker: tuple[Service, str], relay: Service, session: aiohttp.ClientSession
) -> None:
    """Its streams are taken over, by the other or by the one that replaces it, and no counter falls."""
    service, url = worker
    await answer(session, relay, 3, 100)
    before = await metrics(url)
    running = [asyncio.create_task(answer(session, relay, 60, 20)) for _ in range(3)]

    async def all_running() -> bool:
        return (await metrics(url)).get("tailrace_streams_active running") == 3

    await eventually(all_running)
    os.kill(processes(service)[1], signal.SIGKILL)
    assert await asyncio.gather(*running) == [" ".join(f"w{index}" for index in range(60))] * 3
    await all_say(service, "process.ready", COUNT + 1)
    after = await metrics(url)
    names = [name for name in before if name.split(" ")[0].endswith(("_total", "_bucket", "_count"))]
    assert [name for name in names if after[name] < before[name]] == []
    assert after["tailrace_process_restarts_total"] == 1


async def test_probes_are_answered_behind_the_one_port(
    worker: tuple[Service, str], session: aiohttp.ClientSession
) -> None:
    """Also while one of the processes is being replaced: its share of the probes goes to the other."""
    service, url = worker
    os.kill(processes(service)[2], signal.SIGKILL)
    await service.event("process.ended")
    for path in ("healthz", "readyz", "metrics"):
        async with session.get(f"{url}/{path}", headers={"Connection": "close"}) as probe:
            assert probe.status == 200


async def test_sigterm_ends_all_processes_and_hands_their_streams_over(
    worker: tuple[Service, str], relay: Service, session: aiohttp.ClientSession, worker_process: StartService
) -> None:
    """The reader of a stream on any of them notices nothing."""
    service, _ = worker
    running = [asyncio.create_task(answer(session, relay, 60, 20)) for _ in range(6)]
    await all_say(service, "attempt.started", 6)
    pids = list(processes(service).values())
    await worker_process(**(ENV | {"TAILRACE_WORKER_SLOTS": "8"})).ready()
    service.terminate()
    assert await service.ended() == 0
    await all_gone(pids)
    assert await asyncio.gather(*running) == [" ".join(f"w{index}" for index in range(60))] * 6


async def test_a_worker_needs_no_port(worker_process: StartService) -> None:
    """Without one for probes there is nothing to share, and it works all the same."""
    service = worker_process(**ENV, TAILRACE_WORKER_PROCESSES=str(COUNT))
    await all_say(service, "process.ready", COUNT)
    service.terminate()
    assert await service.ended() == 0


async def test_a_model_that_cannot_be_called_is_said_once(worker_process: StartService) -> None:
    """What only the children find out."""
    models = json.dumps({"m": {"provider": "anthropic", "model": "x"}})
    service = worker_process(TAILRACE_WORKER_PROCESSES=str(COUNT), TAILRACE_MODELS=models)
    assert await service.ended() == 1
    said = [line for line in service.output().splitlines() if not line.startswith("{")]
    assert len(said) == 1
    assert said[0].startswith("tailrace worker: ")
