"""Relays that are told to stop, under load: what each kind of request gets, and that no storm of returns follows."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp
import pytest

from shared.backoff import Backoff
from tests.conftest import StartService
from tests.support import eventually, free_port
from tests.support_services import Service
from tests.support_sse import SseEvent, SseReader

ENV = {"TAILRACE_SIM": "true", "TAILRACE_WORKER_SLOTS": "300"}
STREAMS = 250
READERS = 500
DRAIN_S = 4.0
MIDDLE_S = DRAIN_S * 0.9 / 6
"""How long the middle half of a relay's readers takes at least: a third of what it would, were they spread evenly over
nine tenths of the drain budget. A storm has them all at once; a process that stands still for a moment moves few."""


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP session with a connection for every request, as so many clients that share none have."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as opened:
        yield opened


def request(tokens: int, per_second: float) -> dict[str, Any]:
    """Return a request that the simulated model answers with so many numbered words."""
    script = json.dumps({"tokens": tokens, "per_second": per_second})
    return {"model": "sim", "messages": [{"role": "user", "content": script}]}


async def start(session: aiohttp.ClientSession, relay: Service, body: dict[str, Any]) -> str:
    """Start a stream and return its id."""
    async with session.post(f"{relay.url}/v1/streams", json=body) as answer:
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["id"])


@dataclass
class Visitor:
    """A client as ours is: comes back by itself with its offset, after a random part of what ``retry:`` says."""

    session: aiohttp.ClientSession
    urls: list[str]
    """All relays; one that refuses the connection is passed over, as a balancer does."""
    stream_id: str
    events: list[SseEvent] = field(default_factory=list)
    reconnected_s: list[float] = field(default_factory=list)
    sent_away_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Whatever a plain client would have seen go wrong."""

    async def read(self) -> None:
        """Read to the end of the stream."""
        backoff = Backoff(1.0, 10.0)
        while not (self.events and self.events[-1].event == "end"):
            if await self._connection():
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    async def _connection(self) -> bool:
        """Read one connection to its end; tell whether it brought anything."""
        had = len(self.events)
        for url in random.sample(self.urls, len(self.urls)):
            headers = {"Last-Event-ID": self.events[-1].id} if self.events else {}
            reader = SseReader(self.session, f"{url}/v1/streams/{self.stream_id}/events", headers=headers)
            try:
                async with reader:
                    self.reconnected_s += [asyncio.get_running_loop().time()] if had else []
                    if reader.response.status != 200:
                        self.failures.append(f"status {reader.response.status}")
                        return False
                    async for event in reader:
                        self.events.append(event)
                    self.sent_away_s.append(asyncio.get_running_loop().time())
            except aiohttp.ClientConnectorError:
                continue
            except aiohttp.ClientError as error:
                self.failures.append(repr(error))
            return len(self.events) > had
        self.failures.append("no relay could be reached")
        return False


def have_more(visitors: list[Visitor], than: list[int]) -> bool:
    """Tell whether every reader has more events than it had."""
    return all(len(visitor.events) > had for visitor, had in zip(visitors, than, strict=True))


def middle_s(moments: list[list[float]], since_s: float) -> float:
    """Return how long the middle half of all visitors' moments from then on takes."""
    ordered = sorted(moment for one in moments for moment in one if moment >= since_s)
    return ordered[len(ordered) * 3 // 4] - ordered[len(ordered) // 4]


async def test_both_relays_are_restarted_under_500_readers_and_nobody_notices(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService
) -> None:
    """One after the other: no answer fails, no reader sees an error or misses a word, and they come back spread out."""
    ports = [free_port(), free_port()]
    relays = [relay_process(**ENV, TAILRACE_RELAY_DRAIN_S=str(DRAIN_S), TAILRACE_PORT=str(port)) for port in ports]
    worker_process(**ENV)
    for relay in relays:
        await relay.ready()
    urls = [relay.url for relay in relays]
    body = request(10_000, 3)
    stream_ids = await asyncio.gather(*(start(session, relays[n % 2], body) for n in range(STREAMS)))
    visitors = [Visitor(session, urls, stream_ids[n % STREAMS]) for n in range(READERS)]
    async with asyncio.TaskGroup() as group:
        for visitor in visitors:
            group.create_task(visitor.read())
        await eventually(lambda: all(visitor.events for visitor in visitors), 20)
        for relay in relays:
            before = [len(visitor.events) for visitor in visitors]
            told_s = asyncio.get_running_loop().time()
            relay.terminate()
            assert await relay.ended(DRAIN_S + 10) == 0
            assert not [event for event in relay.events() if event["event"] == "relay.cut"]
            await relay.start().ready()
            await eventually(partial(have_more, visitors, before), 20)
            assert middle_s([visitor.sent_away_s for visitor in visitors], told_s) >= MIDDLE_S
            assert middle_s([visitor.reconnected_s for visitor in visitors], told_s) >= MIDDLE_S
        await asyncio.gather(*(cancel(session, relays[0], stream_id) for stream_id in stream_ids))
    assert [visitor.failures for visitor in visitors if visitor.failures] == []
    for visitor in visitors:
        check(visitor)
    goodbyes = sum(len(visitor.sent_away_s) - 1 for visitor in visitors)  # the last is the end
    assert sum(len(visitor.reconnected_s) for visitor in visitors) == goodbyes >= READERS


async def cancel(session: aiohttp.ClientSession, relay: Service, stream_id: str) -> None:
    """End a stream; it must have been running."""
    async with session.post(f"{relay.url}/v1/streams/{stream_id}/cancel") as answer:
        assert (await answer.json())["status"] == "cancelled"


def check(visitor: Visitor) -> None:
    """Fail unless the reader has every event once and in order, of one unbroken attempt."""
    offsets = [event.id for event in visitor.events]
    assert offsets == sorted(set(offsets))
    told = "".join(event.json()["text"] for event in visitor.events if event.event == "delta")
    assert told == " ".join(f"w{number}" for number in range(told.count("w")))
    assert [event.event for event in visitor.events].count("attempt") == 1
    assert visitor.events[-1].json()["status"] == "cancelled"


async def test_a_relay_that_must_stop_answers_what_it_was_asked(
    session: aiohttp.ClientSession, relay_process: StartService
) -> None:
    """Unready at once, accepting while balancers need it; then a wait, a poll and a slow POST end as they should."""
    env = ENV | {"TAILRACE_RELAY_NOTICE_S": "1", "TAILRACE_RELAY_DRAIN_S": "3"}
    relay = await relay_process(**env).ready()
    stream_id = await start(session, relay, request(10, 0))  # no worker runs: nothing comes
    url = f"{relay.url}/v1/streams"
    poll = asyncio.create_task(fetch(session, "GET", f"{url}/{stream_id}/events?mode=poll&wait=60&offset=now"))
    wait = asyncio.create_task(fetch(session, "POST", f"{url}?wait=60", json=request(10, 0)))
    slow = await SlowPost.begin(relay.url, json.dumps(request(10, 0)).encode())
    await eventually(lambda: connections(session, relay, 2))
    relay.terminate()
    await relay.event("relay.draining")
    ready = await fetch(session, "GET", f"{relay.url}/readyz")
    assert (ready.status, ready.body["status"], ready.headers["Connection"]) == (503, "draining", "close")
    late = await fetch(session, "POST", url, json=request(10, 0))
    assert (late.status, late.headers["Connection"]) == (201, "close")
    waited, polled = await wait, await poll
    assert (waited.status, waited.body["status"], waited.headers["Connection"]) == (202, "queued", "close")
    assert "Retry-After" in waited.headers
    assert (polled.status, polled.body["events"], polled.body["done"]) == (200, [], False)
    assert polled.body["offset"].startswith(stream_id[:4])
    with pytest.raises(aiohttp.ClientConnectorError):
        await fetch(session, "GET", f"{relay.url}/readyz")
    head = await slow.finish()
    assert head.startswith("HTTP/1.1 201 ")
    assert "\r\nConnection: close\r\n" in head
    assert await relay.ended() == 0


@dataclass(frozen=True)
class Answer:
    """A JSON answer."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


async def fetch(session: aiohttp.ClientSession, method: str, url: str, **more: Any) -> Answer:
    """Ask on a connection that stays open where the relay lets it."""
    async with session.request(method, url, **more) as answer:
        return Answer(answer.status, dict(answer.headers), await answer.json())


async def connections(session: aiohttp.ClientSession, relay: Service, count: int) -> bool:
    """Tell whether the relay has so many event connections."""
    async with session.get(f"{relay.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.split(" ")[1]) for line in lines if line.startswith("tailrace_connections_open{")) == count


class SlowPost:
    """A start whose body takes its time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes) -> None:
        """Take the connection and what is still to be sent."""
        self._reader = reader
        self._writer = writer
        self._rest = rest

    @classmethod
    async def begin(cls, url: str, body: bytes) -> SlowPost:
        """Send the head and half of the body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        head = f"POST /v1/streams HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        writer.write(head.encode() + b"\r\n\r\n" + body[: len(body) // 2])
        await writer.drain()
        return cls(reader, writer, body[len(body) // 2 :])

    async def finish(self) -> str:
        """Send the rest and return the answer's head."""
        try:
            self._writer.write(self._rest)
            async with asyncio.timeout(5):
                return (await self._reader.readuntil(b"\r\n\r\n")).decode()
        finally:
            self._writer.close()
