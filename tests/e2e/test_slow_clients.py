"""Clients that read slowly or not at all: what they cost a relay, what they get, how they end; nobody else notices."""

from __future__ import annotations

import json
import re
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from shared.entry import Entry, encode_blob
from shared.events import DeltaEvent
from shared.offset import EntryId
from shared.settings import Settings
from shared.sse import SseEvent, SseParser
from shared.stream_log import MAX_APPENDS, Append, StreamLog
from tests.conftest import StartService
from tests.relay.log_writer import LogWriter
from tests.support import eventually
from tests.support_services import Service
from tests.support_sse import SseReader

KEY = {"x-api-key": "secret"}
ENV = {"TAILRACE_API_KEYS": '{"acme": "secret"}'}
"""The tenant that ``LogWriter`` writes for."""
CLIENTS = 1000
MOST_BYTES = 64 * 1024 * 1024
SETTINGS = Settings()


class RawClient:
    """A connection that follows a stream and reads only when it is told to."""

    def __init__(self, url: str, stream_id: str) -> None:
        """Connect and ask; the kernel holds as little as it can for a client that does not read."""
        self.received = b""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = url.removeprefix("http://").split(":")
        self._socket.connect((host, int(port)))
        self._socket.setblocking(False)
        lines = (f"GET /v1/streams/{stream_id}/events HTTP/1.1", "Host: relay", "x-api-key: secret")
        self._socket.sendall("\r\n".join((*lines, "Accept: text/event-stream", "", "")).encode())

    def read(self, most_bytes: int = 65536) -> bool:
        """Take what has come, without waiting; tell whether the connection has ended."""
        try:
            more = self._socket.recv(most_bytes)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        self.received += more
        return not more

    def events(self) -> list[SseEvent]:
        """Return the whole events so far, out of the chunks of HTTP."""
        body, chunked = b"", self.received.partition(b"\r\n\r\n")[2]
        while (found := re.match(rb"([0-9a-f]+)\r\n", chunked)) and (size := int(found[1], 16)):
            body += chunked[found.end() : found.end() + size]
            chunked = chunked[found.end() + size + 2 :]
        return [event for event in SseParser().feed(body) if event.data is not None]

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@pytest.fixture
def clients() -> Iterator[list[RawClient]]:
    """Give a list whose clients are closed at the end; allow as many open files as it takes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    opened: list[RawClient] = []
    yield opened
    for client in opened:
        client.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP session with the key."""
    async with aiohttp.ClientSession(headers=KEY) as opened:
        yield opened


async def metric(session: aiohttp.ClientSession, relay: Service, name: str) -> float:
    """Return a metric of the relay, all labels together."""
    async with session.get(f"{relay.url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[ {{]", line))


def memory_bytes(relay: Service, what: str) -> int:
    """Return the resident memory of the relay: now (``VmRSS``), or the most it ever was (``VmHWM``)."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{relay.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


async def begin(redis: Redis) -> LogWriter:
    """Return the writer of a stream that an attempt has claimed."""
    writer = LogWriter(StreamLog(redis, SETTINGS))
    await writer.start()
    await writer.claim()
    return writer


def text(events: list[SseEvent]) -> str:
    """Return the text that events add up to."""
    return "".join(json.loads(event.data or b"").get("text", "") for event in events if event.event == "delta")


def written(writer: LogWriter) -> str:
    """Return the text in the log."""
    events = (event for entry in writer.entries for event in entry.events())
    return "".join(event.text or "" for event in events if isinstance(event, DeltaEvent))


async def all_fell_behind(session: aiohttp.ClientSession, relay: Service) -> bool:
    """Tell whether the clients have filled what is held for them; some do so twice, before the kernel is full too."""
    return await metric(session, relay, "tailrace_slow_client_catch_ups_total") >= CLIENTS


async def watched_by(session: aiohttp.ClientSession, relay: Service, count: int) -> None:
    """Wait until so many connections are open."""

    async def are_open() -> bool:
        return await metric(session, relay, "tailrace_connections_open") == count

    await eventually(are_open, 30)


async def test_a_thousand_stalled_clients_of_one_stream_cost_little_and_disturb_nobody(
    session: aiohttp.ClientSession, relay_process: StartService, redis: Redis, clients: list[RawClient]
) -> None:
    """Under 64 MiB at the worst moment; a reader beside them gets every event live, with no hole and no catch-up."""
    relay = await relay_process(**ENV, TAILRACE_MERGE_ENTRIES="1000").ready()  # every event by itself, also in a burst
    writer = await begin(redis)
    before_bytes = memory_bytes(relay, "VmRSS")
    clients += [RawClient(relay.url, writer.stream_id) for _ in range(CLIENTS)]
    await watched_by(session, relay, CLIENTS)
    async with SseReader(session, f"{relay.url}/v1/streams/{writer.stream_id}/events") as reader:
        await reader.take(2)
        for _ in range(10):  # in bursts, so that much of the stream waits for every client at once
            for number in range(40):
                await writer.append(*(DeltaEvent(0, text=f"{'x' * 100} {number}.{n}") for n in range(8)))
            await reader.take(320)
        await writer.end()
        await reader.rest()
    assert [event.id for event in reader.events] == [offset for offset, _ in writer.told()]

    await eventually(lambda: all_fell_behind(session, relay), 20)
    assert await metric(session, relay, "tailrace_gap_repairs_total") == 0
    assert memory_bytes(relay, "VmHWM") - before_bytes < MOST_BYTES


async def test_a_thousand_stalled_clients_of_as_many_streams_cost_little(
    session: aiohttp.ClientSession, relay_process: StartService, redis: Redis, clients: list[RawClient]
) -> None:
    """Nothing is shared here, and still it is under 64 MiB at the worst moment.

    What is written waits for the relay, which a reader beside them shows: a relay that is itself so far behind that
    Redis cuts it off sends nobody back for being slow (the test after this one).
    """
    relay = await relay_process(**ENV).ready()
    writers = [await begin(redis) for _ in range(CLIENTS)]
    before_bytes = memory_bytes(relay, "VmRSS")
    clients += [RawClient(relay.url, writer.stream_id) for writer in writers]
    await watched_by(session, relay, CLIENTS)
    beside = await begin(redis)
    async with SseReader(session, f"{relay.url}/v1/streams/{beside.stream_id}/events") as reader:
        await reader.take(2)
        for size in [20] * 60 + [4000] * 20:
            await write_to_each(redis, [*writers, beside], size=size, repeats=1)
            await reader.take(1)
    await eventually(lambda: all_fell_behind(session, relay), 20)
    assert memory_bytes(relay, "VmHWM") - before_bytes < MOST_BYTES


async def test_a_thousand_clients_that_stall_while_they_catch_up_cost_little(
    session: aiohttp.ClientSession, relay_process: StartService, redis: Redis, clients: list[RawClient]
) -> None:
    """It is the relay that fell behind; they took all at once before, and are not given more of their logs for that.

    All are let go: where the relay stood still for long, some by the kernel, which counts from before that.
    """
    relay = await relay_process(**ENV, TAILRACE_SEND_TIMEOUT_S="5").ready()
    writers = [await begin(redis) for _ in range(CLIENTS)]
    before_bytes = memory_bytes(relay, "VmRSS")
    clients += [RawClient(relay.url, writer.stream_id) for writer in writers]
    await watched_by(session, relay, CLIENTS)
    await write_to_each(redis, writers, size=20, repeats=60)
    relay.pause()
    await write_to_each(redis, writers, size=4000, repeats=20)
    relay.resume()

    async def all_let_go() -> bool:
        return await metric(session, relay, "tailrace_connections_open") == 0

    await eventually(all_let_go, 40)
    assert memory_bytes(relay, "VmHWM") - before_bytes < MOST_BYTES


async def write_to_each(redis: Redis, writers: list[LogWriter], *, size: int, repeats: int) -> None:
    """Append so many deltas of so many characters to each stream."""
    stream_log = StreamLog(redis, SETTINGS)
    for _ in range(repeats):
        for at in range(0, len(writers), MAX_APPENDS):
            await stream_log.append([next_append(writer, size) for writer in writers[at : at + MAX_APPENDS]])


def next_append(writer: LogWriter, size: int) -> Append:
    """Return the append of one more delta of so many characters."""
    blob = encode_blob([DeltaEvent(0, text="x" * size)], 3)
    entry = Entry(EntryId(writer.attempt, len(writer.entries) + 1), blob)
    writer.entries.append(entry)
    return Append(writer.stream_id, f"t{writer.attempt}", writer.attempt, entry.id, entry.blob)


async def test_a_client_that_fell_behind_catches_up_on_merged_deltas(
    session: aiohttp.ClientSession, relay_process: StartService, redis: Redis, clients: list[RawClient]
) -> None:
    """It stops reading for a while: then it gets all of the text, in far fewer frames, each with a good offset."""
    relay = await relay_process(**ENV).ready()
    writer = await begin(redis)
    client = RawClient(relay.url, writer.stream_id)
    clients.append(client)
    await watched_by(session, relay, 1)
    await write_words(writer, 3000)
    await writer.end()
    await eventually(lambda: client.read() or client.events()[-1:][0].event == "end", 20)
    events = client.events()
    assert text(events) == written(writer)
    offsets = [offset for offset, _ in writer.told()]
    assert [event.id for event in events] == sorted({event.id or "" for event in events} & set(offsets))
    assert len(events) < len(offsets) / 2
    assert await metric(session, relay, "tailrace_slow_client_catch_ups_total") == 1


async def write_words(writer: LogWriter, count: int) -> None:
    """Append so many entries of a word."""
    for _ in range(count):
        await writer.append(DeltaEvent(0, text=" word"))


@pytest.mark.parametrize("reads_bytes", [0, 1], ids=["never reads", "reads a byte now and then"])
async def test_a_client_that_does_not_read_is_let_go_and_can_resume(
    session: aiohttp.ClientSession,
    relay_process: StartService,
    redis: Redis,
    clients: list[RawClient],
    reads_bytes: int,
) -> None:
    """After ``send_timeout_s`` its connection is cut and counted; from the last id it has read the rest is there."""
    relay = await relay_process(**ENV, TAILRACE_SEND_TIMEOUT_S="1").ready()
    writer = await begin(redis)
    client = RawClient(relay.url, writer.stream_id)
    clients.append(client)
    await watched_by(session, relay, 1)
    await writer.write_words([50] * 100)

    async def let_go() -> bool:
        if reads_bytes:
            client.read(reads_bytes)
        return await metric(session, relay, "tailrace_send_timeouts_total") == 1

    await eventually(let_go, 20)
    await watched_by(session, relay, 0)
    await writer.end()
    await eventually(client.read)
    had = client.events()
    assert 0 < len(had) < len(writer.told())
    last = had[-1].id or ""
    async with SseReader(session, f"{relay.url}/v1/streams/{writer.stream_id}/events?offset={last}") as reader:
        await reader.rest()
    assert text(had) + "".join(event.json()["text"] for event in reader.events[:-1]) == written(writer)
