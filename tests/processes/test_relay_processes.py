"""Tests of a relay of several processes: killed, drained and scraped as one, behind one port."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import pytest

from shared.errors import ConfigurationError
from shared.processes.port import HeldPort
from tests.conftest import StartService
from tests.processes.family import all_say, metrics, named, processes
from tests.support import eventually, free_port
from tests.support_services import Service
from tests.support_sse import SseEvent, SseReader
from tests.tailrace.local_support import all_gone, children

COUNT = 3
ENV = {
    "TAILRACE_SIM": "true",
    "TAILRACE_RETRY_MS": "100",
    "TAILRACE_RELAY_DRAIN_S": "1",
    "TAILRACE_WORKER_DRAIN_S": "1",
    "TAILRACE_RELAY_PROCESSES": str(COUNT),
}
READERS = 24
"""So many that, spread at random, each process has one: all but once in 5,000 runs, where the test still holds."""


@pytest.fixture
async def relay(relay_process: StartService) -> Service:
    """Give a relay all of whose processes serve."""
    return await several(relay_process, **ENV)


async def several(relay_process: StartService, **env: str) -> Service:
    """Start a relay and wait until all of its processes serve."""
    service = await relay_process(**env).ready()
    await all_say(service, "process.ready", COUNT)
    return service


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP session whose every request comes by a connection of its own."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0)) as opened:
        yield opened


def request(tokens: int, per_second: float) -> dict[str, Any]:
    """Return a request that the simulated model answers with so many numbered words."""
    return {"messages": [{"role": "user", "content": json.dumps({"tokens": tokens, "per_second": per_second})}]}


async def start(session: aiohttp.ClientSession, relay: Service, tokens: int = 3, per_second: float = 100) -> str:
    """Start a stream and return its id."""
    async with session.post(f"{relay.url}/v1/streams", json=request(tokens, per_second)) as answer:
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["id"])


async def follow(session: aiohttp.ClientSession, url: str) -> tuple[list[SseEvent], int]:
    """Read a stream to its end, as often as it takes; return its events and how often the connection broke."""
    events: list[SseEvent] = []
    breaks = 0
    while not events or events[-1].event != "end":
        headers = {"Last-Event-ID": events[-1].id} if events else {}
        try:
            async with SseReader(session, url, headers=headers) as reader:
                async for event in reader:
                    events.append(event)  # noqa: PERF401 - what was read before a break counts
        except aiohttp.ClientError:
            breaks += 1
        assert breaks < 20
    return events, breaks


async def test_connections_are_spread_over_the_processes(relay: Service, session: aiohttp.ClientSession) -> None:
    """By the kernel; and every line of the log says which process it is of."""
    stream_id = await start(session, relay)
    await asyncio.gather(*(start(session, relay) for _ in range(READERS)))
    readers = [SseReader(session, f"{relay.url}/v1/streams/{stream_id}/events") for _ in range(READERS)]
    for reader in readers:
        async with reader:
            await reader.take(1)
    served = {fields["process"] for fields in named(relay, "connection.opened")}
    assert len(served) >= 2
    assert served <= {1, 2, 3}
    listening = named(relay, "relay.listening")
    assert {fields["process"] for fields in listening} == {1, 2, 3}
    assert {fields["url"] for fields in listening} == {relay.url}


async def test_a_killed_process_is_started_again_while_the_others_keep_serving(
    relay: Service, worker_process: StartService, session: aiohttp.ClientSession
) -> None:
    """Its readers resume; those of the others notice nothing; everybody has every event once."""
    await worker_process(**ENV).ready()
    stream_id = await start(session, relay, tokens=80, per_second=40)
    url = f"{relay.url}/v1/streams/{stream_id}/events"
    reading = [asyncio.create_task(follow(session, url)) for _ in range(READERS)]
    await all_say(relay, "connection.opened", READERS)
    opened = named(relay, "connection.opened")
    victim = opened[0]["process"]
    os.kill(processes(relay)[victim], signal.SIGKILL)
    told = await asyncio.gather(*reading)
    cut = sum(fields["process"] == victim for fields in opened)
    assert sum(breaks for _, breaks in told) >= cut
    assert sum(breaks == 0 for _, breaks in told) == READERS - cut
    whole = [event.id for event in told[0][0]]
    assert all([event.id for event in events] == whole for events, _ in told)
    assert len(set(whole)) == len(whole)
    ended = await relay.event("process.ended")
    assert (ended["process"], ended["how"]) == (victim, "signal SIGKILL")
    await all_say(relay, "process.ready", COUNT + 1)
    assert len(processes(relay)) == COUNT


async def test_metrics_are_summed_and_never_fall(relay: Service, session: aiohttp.ClientSession) -> None:
    """Whichever process is asked, and also when one that has counted is killed and started again."""
    started = 12
    for _ in range(started):
        await start(session, relay)
    before = await metrics(relay.url)
    assert before["tailrace_streams_started_total"] == started
    assert before["tailrace_processes"] == COUNT
    assert before["tailrace_queue_depth"] == started  # each process finds the same queue
    assert before["process_resident_memory_bytes"] > COUNT * 20e6
    for number, pid in list(processes(relay).items()):
        os.kill(pid, signal.SIGKILL)
        await all_say(relay, "process.ended", number)
        after = await metrics(relay.url)
        assert after["tailrace_streams_started_total"] == started
        await all_say(relay, "process.ready", COUNT + number)
    await start(session, relay)
    after = await metrics(relay.url)
    assert after["tailrace_streams_started_total"] == started + 1
    assert after["tailrace_process_restarts_total"] == COUNT
    assert {name for name, value in before.items() if is_counter(name) and after[name] < value} == set()


def is_counter(name: str) -> bool:
    """Return whether a sample of this name may never fall."""
    return name.split(" ", maxsplit=1)[0].endswith(("_total", "_bucket", "_sum", "_count"))


async def test_sigterm_drains_every_process(
    relay: Service, worker_process: StartService, session: aiohttp.ClientSession
) -> None:
    """Readers get a goodbye and a clean end from each, and the whole ends with 0."""
    await worker_process(**ENV).ready()
    stream_id = await start(session, relay, tokens=2000, per_second=20)
    readers = [SseReader(session, f"{relay.url}/v1/streams/{stream_id}/events") for _ in range(READERS)]
    for reader in readers:
        await reader.__aenter__()
        await reader.take(1)
    pids = list(processes(relay).values())
    relay.terminate()
    for reader in readers:
        await reader.rest()  # raises if the connection is cut
        assert reader.retry_ms is not None
        await reader.__aexit__()
    assert await relay.ended() == 0
    await all_gone(pids)
    assert {fields["process"] for fields in named(relay, "relay.stopped")} == {1, 2, 3}
    assert {fields["how"] for fields in named(relay, "process.ended")} == {"exit code 0"}
    assert "Traceback" not in relay.output()


@pytest.mark.parametrize("ask", [Service.terminate, Service.interrupt], ids=["sigterm", "ctrl-c"])
@pytest.mark.parametrize("after", ["process.started", "process.ready"])
async def test_a_signal_at_any_time_ends_all_of_them(
    after: str, ask: Callable[[Service], None], relay_process: StartService
) -> None:
    """Without a word too many: a terminal sends Ctrl-C to a whole group, and only the parent is in it."""
    relay = relay_process(**ENV)
    await all_say(relay, after, COUNT)
    pids = [int(fields["pid"]) for fields in named(relay, "process.started")]
    ask(relay)
    assert await relay.ended() == 0
    await all_gone(pids)
    assert all(line.startswith("{") for line in relay.output().splitlines())


async def test_no_process_outlives_a_killed_parent(relay: Service) -> None:
    """However the parent ends: its port must be free for the next one."""
    pids = list(processes(relay).values())
    relay.kill()
    await all_gone(pids)
    await eventually(lambda: can_be_held(int(relay.url.rpartition(":")[2])))


def can_be_held(port: int) -> bool:
    """Return whether nobody has the port any more."""
    try:
        HeldPort("127.0.0.1", port).close()
    except ConfigurationError:
        return False
    return True


async def test_one_process_that_is_told_to_end_is_replaced(relay: Service) -> None:
    """It drains, and what it has counted stays in the sum."""
    os.kill(processes(relay)[1], signal.SIGTERM)
    ended = await relay.event("process.ended")
    assert (ended["process"], ended["how"]) == (1, "exit code 0")
    await all_say(relay, "process.ready", COUNT + 1)


async def test_a_wrong_configuration_is_said_once_and_ends_the_whole(relay_process: StartService) -> None:
    """By none of the children, which all find it; and none is started again."""
    relay = relay_process(**ENV, TAILRACE_REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    assert await relay.ended() == 1
    said = [line for line in relay.output().splitlines() if not line.startswith("{")]
    assert len(said) == 1
    assert said[0].startswith("tailrace relay: Redis cannot be reached at the address in TAILRACE_REDIS_URL")
    assert len(named(relay, "process.started")) == COUNT


@pytest.fixture(params=["alone", "sharing"])
def foreign_port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Give a port on which another program of this user listens, who would share it or not."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if request.param == "sharing":
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        yield other.getsockname()[1]


async def test_a_port_that_is_taken_is_refused_in_one_sentence(foreign_port: int, relay_process: StartService) -> None:
    """Before any process is started."""
    relay = relay_process(**ENV, TAILRACE_PORT=str(foreign_port))
    assert await relay.ended() == 1
    problem = f"port {foreign_port} on 127.0.0.1 cannot be listened on: Address already in use"
    assert relay.output() == f"tailrace relay: {problem}\n"


async def test_a_second_relay_does_not_join_the_port_of_the_first(relay: Service, relay_process: StartService) -> None:
    """Neither one of several processes nor one of one."""
    port = relay.url.rpartition(":")[2]
    for count in ("2", "1"):
        other = relay_process(**(ENV | {"TAILRACE_RELAY_PROCESSES": count}), TAILRACE_PORT=port)
        assert await other.ended() == 1
        assert "address already in use" in other.output().lower()
    assert len(processes(relay)) == COUNT


async def test_one_process_is_the_relay_itself(relay_process: StartService) -> None:
    """The default: no parent, no child, no process number, and a scrape of its own."""
    relay = await relay_process(**(ENV | {"TAILRACE_RELAY_PROCESSES": ""})).ready()
    assert children(relay.pid) == {}
    assert not re.search(r'"process', relay.output())
    assert (await metrics(relay.url))["tailrace_processes"] == 1
