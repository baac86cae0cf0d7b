"""A relay's edges: a drain is no abandonment, a silent Redis no wall, a stalled client no leak, a silence no gap."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import aiohttp
from redis.asyncio import Redis

from relay.app import Relay
from relay.live.hub import Hub
from shared import keys
from shared.events import BlockStartEvent, DeltaEvent
from shared.metrics import STREAMS_ENDED
from shared.settings import Settings
from shared.stream_log import StreamLog
from tests.core.system import System
from tests.relay.log_writer import LogWriter
from tests.support import eventually


@asynccontextmanager
async def relaying(settings: Settings) -> AsyncIterator[Relay]:
    """Run a relay around a block."""
    relay = Relay(settings)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


async def test_a_viewer_that_a_drain_sends_away_has_not_left(redis: Redis, redis_url: str) -> None:
    """Its lease lasts until it expires, so that a stream that ends when abandoned outlives a deploy."""
    settings = Settings(redis_url=redis_url, sim=True, port=0, relay_drain_s=0.1)
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "when_abandoned": {"cancel_after_s": 0}}
    log = StreamLog(redis, settings)
    headers = {"Accept": "text/event-stream"}
    async with aiohttp.ClientSession() as session, relaying(settings) as relay:
        async with session.post(f"{relay.url}/v1/streams", json=body, headers=headers) as answer:
            left = answer.headers["X-Stream-Id"]
            await answer.content.readuntil(b"event: start")

        async def away() -> bool:
            return (await log.unviewed_ms([left]))[0] > 0

        await eventually(away)
        async with session.post(f"{relay.url}/v1/streams", json=body, headers=headers) as answer:
            sent_away = answer.headers["X-Stream-Id"]
            await answer.content.readuntil(b"event: start")
            await relay.stop()
    assert await log.unviewed_ms([sent_away]) == [0]


async def test_a_redis_that_accepts_and_never_answers_does_not_deafen_a_relay(redis: Redis, redis_url: str) -> None:
    """A half-open connection is given up after ``redis_timeout_s``; on the next one live delivery works."""
    settings = Settings(redis_timeout_s=0.5)
    host, _, port = redis_url.removeprefix("redis://").partition("/")[0].partition(":")
    opened: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        if len(opened) == 1:
            return  # and never a word
        there, back = await asyncio.open_connection(host, int(port))
        opened.append(back)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    log = StreamLog(redis, settings)
    stream = LogWriter(log)
    await stream.start()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    async with server, Redis.from_url(f"redis://127.0.0.1:{address[1]}/0") as far:
        hub = Hub(far, log, settings)
        running = asyncio.create_task(hub.run())
        await eventually(lambda: hub.live.connected, 5, "another connection is made")
        hub.leave(await hub.join(stream.stream_id))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for writer in opened:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until they end."""
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_signs_of_life_come_as_often_as_promised(redis: Redis, redis_url: str) -> None:
    """Whenever a stream falls silent, the first comment comes after ``heartbeat_s``, not after twice that."""
    settings = Settings(redis_url=redis_url, sim=True, port=0, relay_drain_s=0.1, heartbeat_s=0.4)
    stream = LogWriter(StreamLog(redis, settings))
    await stream.start()
    await stream.claim()
    await redis.execute_command("HSET", keys.record(stream.stream_id), "tenant", "local")
    silences_s = []
    async with (
        aiohttp.ClientSession() as session,
        relaying(settings) as relay,
        session.get(f"{relay.url}/v1/streams/{stream.stream_id}/events") as answer,
    ):
        await answer.content.readuntil(b"event: attempt")
        for _ in range(8):
            await stream.write_words([1])
            await answer.content.readuntil(b"event: delta")
            since_s = time.monotonic()
            await answer.content.readuntil(b": ka\n\n")
            silences_s.append(time.monotonic() - since_s)
    assert sorted(silences_s)[-3] < 0.6, silences_s  # a few late turns of a busy machine are no defect


async def test_a_stream_that_the_relay_ends_is_counted_as_ended(redis: Redis, redis_url: str) -> None:
    """No worker has it, so the cancel ends it here, and the completions by status must not miss it."""
    settings = Settings(redis_url=redis_url, sim=True, port=0, relay_drain_s=0.1)
    stream_id = await System(redis, settings).start(tokens=1, tenant="local")
    async with aiohttp.ClientSession() as session, relaying(settings) as relay:
        before = STREAMS_ENDED.labels("cancelled")._value.get()
        async with session.post(f"{relay.url}/v1/streams/{stream_id}/cancel") as answer:
            assert (await answer.json())["status"] == "cancelled"
        assert STREAMS_ENDED.labels("cancelled")._value.get() == before + 1


async def test_a_client_that_never_reads_its_answer_is_let_go(redis: Redis, redis_url: str) -> None:
    """An answer in one piece has no heartbeats that would notice: the send timeout holds for it all the same."""
    settings = Settings(redis_url=redis_url, sim=True, port=0, relay_drain_s=0.1, send_timeout_s=1)
    stream = LogWriter(StreamLog(redis, settings))
    await stream.start()
    await stream.claim()
    await stream.append(BlockStartEvent(0, "text"))
    for _ in range(16):
        await stream.append(DeltaEvent(0, text="x" * 1_000_000))
    await redis.execute_command("HSET", keys.record(stream.stream_id), "tenant", "local")
    async with relaying(settings) as relay:
        with closing(socket.socket()) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", int(relay.url.rpartition(":")[2])))
            client.sendall(f"GET /v1/streams/{stream.stream_id} HTTP/1.1\r\nHost: relay\r\n\r\n".encode())
            server = relay._runner.server
            assert server is not None
            await eventually(lambda: server.requests_count == 1)
            await eventually(lambda: not server.connections, 10, "the relay has let go of the client")
