"""What a socket does not put up with, and what it does: junk, floods, dead peers, clients that do not read."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

import aiohttp
import pytest

from relay.app import Relay
from tests.conftest import StartRedis
from tests.faults.links import Fate, Link
from tests.relay.api import Api, script
from tests.relay.conftest import MakeApi, StartRelay, StartWorker
from tests.relay.socket_client import SocketClient, connected, events_of
from tests.support import eventually

SLOW = {"messages": script(tokens=2000, per_second=50)}
SHORT = {"messages": script(tokens=2)}


def port_of(relay: Relay | Api) -> int:
    """Return the port of a relay."""
    return int(relay.url.rpartition(":")[2])


def transport_of(client: SocketClient) -> asyncio.Transport:
    """Return what a client's socket is read from."""
    connection = client.socket._response.connection
    assert connection is not None
    assert isinstance(connection.transport, asyncio.Transport)
    return connection.transport


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "type: a message is a JSON object whose type is one of create, follow, cancel, unsubscribe, ack, ping"),
        ("1", "type: "),
        ("null", "type: "),
        ('"ping"', "type: "),
        ("{}", "type: "),
        ('{"type": "more"}', "type: "),
        ('{"type": ["ping"]}', "type: "),
        ('{"type": "ping", "id": ""}', "id: "),
        ('{"type": "ping", "id": 1}', "id: "),
        (json.dumps({"type": "ping", "id": "x" * 65}), "id: "),
        ('{"type": "ping", "more": 1}', "unknown field 'more'"),
        ('{"type": "follow"}', "stream: "),
        ('{"type": "follow", "stream": 1}', "stream: "),
        ('{"type": "follow", "stream": "x", "credit": 0}', "credit: "),
        ('{"type": "follow", "stream": "x", "credit": 257}', "credit: "),
        ('{"type": "follow", "stream": "x", "offset": null}', "offset: "),
        ('{"type": "create"}', "request: "),
        ('{"type": "create", "request": {"messages": []}}', "request.messages: "),
        ('{"type": "create", "request": {"messages": [{"role": "x", "content": "x"}]}}', "request.messages.0.role: "),
        (json.dumps({"type": "create", "request": SHORT | {"more": 1}}), "unknown field 'request.more'"),
        (json.dumps({"type": "create", "request": SHORT, "key": ""}), "Idempotency-Key"),
        (json.dumps({"type": "create", "request": SHORT | {"model": "none"}}), "there is no model 'none'"),
        ('{"type": "unsubscribe", "stream": "x"}', "stream: this socket does not follow it"),
        ('{"type": "cancel", "stream": "x"}', "there is no such stream"),
    ],
)
async def test_a_wrong_message_is_told_what_is_wrong(api: Api, text: str, words: str) -> None:
    """By an error that names the field and, where it can be read, the request; the socket stays."""
    asked = json.loads(text).get("id") if text.startswith("{") else None
    wanted = asked if isinstance(asked, str) and 0 < len(asked) <= 64 else None
    async with connected(api) as client:
        await client.socket.send_str(text)
        error = await client.next()
        assert (error["type"], error["retryable"], error.get("id")) == ("error", False, wanted)
        assert words in error["message"]
        assert (await client.ask("ping"))["type"] == "pong"


async def test_a_stream_is_followed_once_and_its_offsets_are_looked_at(served: Api) -> None:
    """A second following, an offset of another stream, an unknown format, an acknowledgement of nonsense."""
    stream_id, other = await served.start(**SLOW), await served.start(**SLOW)
    async with connected(served) as client:
        await client.say("follow", stream=stream_id)
        await client.until("event")
        again = await client.ask("follow", stream=stream_id)
        assert (again["type"], again["code"]) == ("error", "invalid_request")
        for fields in ({"offset": "x"}, {"offset": f"{stream_id[:4]}-00000000-00000001-000"}):
            wrong = await client.ask("follow", stream=other, **fields)
            assert (wrong["type"], wrong["code"], wrong["stream"]) == ("error", "invalid_offset", other)
        wrong = await client.ask("follow", stream=other, format="none")
        assert (wrong["type"], wrong["code"]) == ("error", "invalid_request")
        wrong = await client.ask("ack", stream=stream_id, offset="nonsense")
        assert (wrong["type"], wrong["code"]) == ("error", "invalid_offset")
        await client.say("ack", stream=other, offset="nonsense")  # crossed its last word, for all the relay knows
        assert (await client.ask("follow", stream=other))["type"] == "following"
        for one in (stream_id, other):
            await client.ask("cancel", stream=one)


@pytest.mark.parametrize("data", ["", "{", "hello", "[1,]", '{"type": "ping"} {}', "\ud800", b"{}", b""], ids=repr)
async def test_what_is_no_json_text_closes_the_socket(api: Api, data: str | bytes) -> None:
    """With a code that says not to come back like this, after an error that says why."""
    async with connected(api) as client:
        if isinstance(data, bytes):
            await client.socket.send_bytes(data)
        elif data == "\ud800":
            await client.socket.send_str('{"type": "ping", "id": "\\ud800"}')
        else:
            await client.socket.send_str(data)
        assert await client.closed() == 4400
    assert [told["type"] for told in client.heard] == ["error"]


async def test_a_message_over_the_limit_closes_the_socket(make_api: MakeApi) -> None:
    """By its size as it is, and unpacked: a small one may unfold without end."""
    api = await make_api(max_body_bytes=10_000)
    for compress, size in ((0, 10_001), (15, 10_000_000)):
        async with connected(api, compress=compress) as client:
            await client.say("ping", id="x")
            await client.until("pong")
            await client.socket.send_str("x" * size)
            assert await client.closed() == 1009


async def test_frames_that_break_the_protocol_close_the_socket(api: Api) -> None:
    """No UTF-8, and no mask: the codes of the standard."""
    for frame, code in (
        (b"\x81\x82\x00\x00\x00\x00\xff\xff", 1007),
        (b"\x83\x80\x00\x00\x00\x00", 1002),
        (b"\x09\x80\x00\x00\x00\x00", 1002),
    ):
        async with connected(api) as client:
            transport_of(client).write(frame)
            assert await client.closed() == code
    async with connected(api) as client:
        transport_of(client).write(b"\x81\x04ping")
        assert await client.closed() in (1002, 4400)


async def test_a_socket_follows_so_many_streams_and_no_more(make_api: MakeApi, start_worker: StartWorker) -> None:
    """Beyond that an error; a start that would be followed does not happen; one that has ended makes room."""
    await start_worker()
    api = await make_api(socket_streams=2)
    async with connected(api) as client:
        streams = [(await client.ask("create", request=SLOW))["stream"] for _ in range(2)]
        third = await api.start(**SLOW)
        full = await client.ask("follow", stream=third)
        assert (full["type"], full["code"], full["retryable"]) == ("error", "rate_limited", True)
        full = await client.ask("create", request=SLOW)
        assert (full["type"], full["code"]) == ("error", "rate_limited")
        assert len((await api.get("/v1/streams")).json()["streams"]) == 3
        assert (await client.ask("create", request=SHORT, follow=False))["type"] == "created"
        await client.ask("cancel", stream=streams[0])
        await client.seen("unsubscribed", stream=streams[0])
        assert (await client.ask("follow", stream=third))["type"] == "following"
        for one in (streams[1], third):
            await client.ask("cancel", stream=one)


async def test_streams_and_sockets_count_as_connections(make_api: MakeApi) -> None:
    """The tenant's limit holds over both; the error names the stream, which may have been started."""
    api = await make_api(max_connections_per_tenant=3)
    async with connected(api) as client:
        for _ in range(2):
            await client.ask("create", request=SLOW)
            await client.until("following")
        created = await client.ask("create", request=SLOW)
        error = await client.until("error")
        assert (error["code"], error["stream"]) == ("rate_limited", created["stream"])
        assert (await api.poll(created["stream"])).status == 429
        await client.ask("unsubscribe", stream=client.heard[0]["stream"])
        assert (await client.ask("follow", stream=created["stream"]))["type"] == "following"
    await eventually(lambda: polls(api, created["stream"]))


async def polls(api: Api, stream_id: str) -> bool:
    """Tell whether the stream can be polled."""
    return (await api.poll(stream_id)).status == 200


async def test_requests_that_wait_are_bounded_and_redis_may_be_away(
    make_api: MakeApi, redis_server: StartRedis
) -> None:
    """The 33rd is refused at once; the others are told that Redis does not answer; when it does, all works again."""
    redis = redis_server()
    api = await make_api(redis_url=redis.url, redis_timeout_s=1.0)
    async with connected(api) as client:
        redis.pause()
        for number in range(33):
            await client.say("create", id=str(number), request=SHORT)
        first = await client.next()
        assert (first["id"], first["code"]) == ("32", "rate_limited")
        assert (await client.ask("ping"))["type"] == "pong"
        for _ in range(32):
            error = await client.until("error")
            assert (error["code"], error["retryable"]) == ("unavailable", True)
        redis.resume()

        async def answered() -> bool:
            return bool((await client.ask("create", request=SHORT, follow=False))["type"] == "created")

        await eventually(answered)


async def test_a_dead_peer_is_cut_off(start_relay: StartRelay, session: aiohttp.ClientSession) -> None:
    """One whose network swallows all without a word: nothing comes back within the time of a ping."""
    relay = await start_relay(socket_ping_s=0.3)
    async with (
        Link(lambda: [port_of(relay)]) as wire,
        connected(Api(session, f"http://127.0.0.1:{wire.port}")) as client,
    ):
        await client.ask("create", request=SLOW)
        assert len(relay.services.connections) == 1
        wire.freeze()
        await eventually(lambda: len(relay.services.connections) == 0)
        wire.thaw()
        assert await client.closed() == 1006
    assert relay.services.hub.viewed() == set()


async def test_a_quiet_peer_that_lives_stays(make_api: MakeApi) -> None:
    """Through many pings, which its library answers while it only listens."""
    api = await make_api(socket_ping_s=0.1)
    async with connected(api) as client:
        with pytest.raises(AssertionError, match="nothing was told"):
            await client.next(deadline_s=1.0)
        assert (await client.ask("ping"))["type"] == "pong"


async def test_a_client_that_takes_nothing_is_let_go(
    start_relay: StartRelay, start_worker: StartWorker, served: Api
) -> None:
    """After the send timeout, and counted; its place is free, and its offset good elsewhere."""
    await start_worker()
    before = await let_go(served)
    relay = await start_relay(send_timeout_s=0.5)
    stream_id = await served.finished(messages=script(tokens=4000))
    async with Link(lambda: [port_of(relay)]) as wire:
        wire.draw = lambda: Fate("slow", 30_000, bytes_per_s=1.0, lasts_s=1e9)
        async with connected(Api(served.session, f"http://127.0.0.1:{wire.port}")) as client:
            await client.say("follow", stream=stream_id)
            await client.until("event")
            await eventually(lambda: len(relay.services.connections) == 0, deadline_s=10)
            wire.cut_all()
    assert await let_go(served) == before + 1
    events = client.events(stream_id)
    async with connected(served) as again:
        await again.say("follow", stream=stream_id, offset=events[-1][0])
        await again.until("unsubscribed", deadline_s=20)
    assert events + again.events(stream_id) == await events_of(served, stream_id)


async def let_go(api: Api) -> float:
    """Return how many clients the relays of this process have let go for taking nothing."""
    lines = (await api.get("/metrics")).body.decode().splitlines()
    return float(next(line for line in lines if line.startswith("tailrace_send_timeouts_total ")).split()[1])


async def test_a_client_that_is_only_slow_is_not(
    start_relay: StartRelay, start_worker: StartWorker, served: Api
) -> None:
    """One that takes a little now and then is told all, however long it takes beyond the send timeout."""
    await start_worker()
    before = await let_go(served)
    relay = await start_relay(send_timeout_s=1.0)
    stream_id = await served.finished(messages=script(tokens=1000))
    async with Link(lambda: [port_of(relay)]) as wire:
        wire.draw = lambda: Fate("slow", 0, bytes_per_s=40_000, lasts_s=1e9)
        async with connected(Api(served.session, f"http://127.0.0.1:{wire.port}")) as client:
            await client.say("follow", stream=stream_id)
            assert (await client.until("unsubscribed", deadline_s=30))["reason"] == "ended"
    assert await let_go(served) == before
    assert client.events(stream_id) == await events_of(served, stream_id)


async def test_a_client_that_asks_and_does_not_listen_is_cut_off(start_relay: StartRelay) -> None:
    """Its answers are not kept without end: long before it is let go for taking nothing."""
    relay = await start_relay()
    connector = aiohttp.TCPConnector(socket_factory=small_socket)
    async with aiohttp.ClientSession(connector=connector) as session, connected(Api(session, relay.url)) as client:
        direct = transport_of(client)
        direct.pause_reading()
        frame = b"\x81" + struct.pack("!B", 0x80 | 15) + bytes(4) + b'{"type":"ping"}'
        while len(relay.services.connections):
            direct.write(frame * 100)
            await asyncio.sleep(0)


def small_socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket that takes little before it is read."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return made


async def test_goodbyes_are_spread(start_relay: StartRelay, session: aiohttp.ClientSession) -> None:
    """So that the clients of a relay do not come to the others all at once; each is closed by the same code."""
    relay = await start_relay(relay_drain_s=2.0)
    api, loop = Api(session, relay.url), asyncio.get_running_loop()

    async def left(gate: asyncio.Barrier) -> float:
        async with connected(api) as client:
            await gate.wait()
            assert await client.closed() == 4000
            return loop.time()

    gate = asyncio.Barrier(13)
    leaving = [asyncio.create_task(left(gate), name="test.left") for _ in range(12)]
    await gate.wait()
    begun_s = loop.time()
    await relay.stop()
    at_s = sorted([await one - begun_s for one in leaving])
    assert at_s[-1] - at_s[0] > 0.3
    assert at_s[-1] < 5


async def test_compression_is_agreed_on_within_its_limit(make_api: MakeApi, start_worker: StartWorker) -> None:
    """For who offers it, with a window of our own, so many at a time; what is told is the same."""
    await start_worker()
    api = await make_api(socket_deflate=1)
    stream_id = await api.finished(messages=script(tokens=200))
    wanted = await events_of(api, stream_id)

    async def follow(compress: int) -> str:
        async with connected(api, compress=compress) as client:
            await client.say("follow", stream=stream_id)
            await client.until("unsubscribed")
            assert client.events(stream_id) == wanted
            return client.socket._response.headers.get("Sec-WebSocket-Extensions", "")

    agreed = "permessage-deflate; server_max_window_bits=13"
    assert await follow(0) == ""
    assert await follow(15) == agreed
    async with connected(api, compress=15):
        assert await follow(15) == ""

    async def again() -> bool:
        return await follow(15) == agreed

    await eventually(again)
    assert (await make_api(socket_deflate=0)).url
    for offer, answer in (
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits", "; server_no_context_takeover"),
        ("x-other, permessage-deflate; server_max_window_bits=10", "server_max_window_bits=10"),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", "server_max_window_bits=13"),
        ("permessage-deflatex; server_max_window_bits=" + "9" * 5000, ""),
    ):
        assert answer in await extension(api, offer)


async def extension(api: Api, offer: str) -> str:
    """Return the extension agreed on for an offer; once the socket before is no longer counted."""

    async def agreed() -> aiohttp.ClientWebSocketResponse:
        headers = {"Sec-WebSocket-Extensions": offer}
        return await api.session.ws_connect(f"{api.url}/v1/ws", protocols=["tailrace.v1"], headers=headers)

    async with await agreed() as opened:
        return opened._response.headers.get("Sec-WebSocket-Extensions", "")
