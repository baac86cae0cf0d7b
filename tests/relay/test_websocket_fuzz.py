"""Whatever a client says, the relay answers: messages put together at random, right, nearly right, and junk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.websocket.messages import NotJsonError, id_in, parse
from shared.errors import InvalidRequestError
from tests.relay.api import Api, script
from tests.relay.conftest import MakeApi, StartWorker
from tests.relay.socket_client import SocketClient, connected

_TYPES = ("create", "follow", "cancel", "unsubscribe", "ack", "ping")
_ANSWERS = {"created", "following", "event", "unsubscribed", "cancelled", "error", "pong"}
_STREAM = "STREAM"
"""Stands for a stream that exists."""

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([_STREAM, _STREAM, "x", "", "a" * 26, "\x00", "é😀", "now"])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "id": st.text(max_size=70),
    "stream": NAMES,
    "offset": st.sampled_from(["", "now", "rubbish", "-1", f"{_STREAM}-00000000-00000001-000", "9" * 40]),
    "credit": st.integers(-1, 300),
    "format": st.sampled_from(["native", "anthropic", "openai", "x", ""]),
    "token": st.sampled_from(["", "x", "1.x", f"{10**14}.{'A' * 43}"]),
    "key": st.sampled_from(["", "k", "\n", "k" * 300]),
    "follow": st.booleans(),
    "request": st.just({"messages": script(tokens=2)}),
}


def message(draw: st.DrawFn) -> dict[str, Any]:
    """Return a message with some of the fields there are, a few of them wrong."""
    fields = {name: draw(values) for name, values in FIELDS.items() if draw(st.integers(0, 2)) == 0}
    fields |= {"type": draw(st.sampled_from(_TYPES)), "stream": draw(NAMES)}
    if draw(st.integers(0, 3)) == 0:
        fields[draw(st.sampled_from([*fields, "more"]))] = draw(JUNK)
    if fields["type"] in ("ping", "create"):
        del fields["stream"]
    wanted = {
        "create": {"id", "type", "request", "key", "follow", "credit", "format"},
        "follow": {"id", "type", "stream", "offset", "credit", "format", "token"},
        "ack": {"id", "type", "stream", "offset"},
    }.get(str(fields["type"]), {"id", "type", "stream"})
    exact = draw(st.booleans())
    return {name: value for name, value in fields.items() if name in wanted or not exact}


MESSAGES = st.lists(st.composite(message)(), min_size=1, max_size=12)


async def bombard(client: SocketClient, stream_id: str, messages: list[dict[str, Any]]) -> None:
    """Send all and read up to the answer of a last ping, or to a close by a code that the protocol has."""
    for one in messages:
        text = json.dumps(one).replace(_STREAM, stream_id)
        await client.socket.send_str(text)
    await client.say("ping", id="the last")
    async with asyncio.timeout(10):
        while True:
            told = await client.socket.receive()
            if told.type is not aiohttp.WSMsgType.TEXT:
                assert client.socket.close_code == 4400, (client.socket.close_code, messages)
                return
            said = json.loads(told.data)
            assert said["type"] in _ANSWERS, said
            assert said.get("code") != "internal", (said, messages)
            if said["type"] == "pong" and said.get("id") == "the last":
                return


async def test_no_message_breaks_a_socket_or_a_relay(make_api: MakeApi, start_worker: StartWorker) -> None:
    """Each is acted upon or told what is wrong with it; the relay is none the worse, and nothing is left of them."""
    await start_worker()
    api = await make_api()
    stream_id = await api.finished()
    loop = asyncio.get_running_loop()

    async def attempt(messages: list[dict[str, Any]]) -> None:
        async with connected(api) as client:
            await bombard(client, stream_id, messages)

    await asyncio.to_thread(_try_all, loop, attempt)
    assert (await api.state(stream_id))["status"] == "completed"


def _try_all(loop: asyncio.AbstractEventLoop, attempt: Callable[[list[dict[str, Any]]], Awaitable[None]]) -> None:
    """Have Hypothesis, which knows nothing of loops, try messages on the loop from a thread of its own."""

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(MESSAGES)
    def tried(messages: list[dict[str, Any]]) -> None:
        asyncio.run_coroutine_threadsafe(_done(attempt, messages), loop).result(30)

    tried()


async def _done(attempt: Callable[[list[dict[str, Any]]], Awaitable[None]], messages: list[dict[str, Any]]) -> None:
    await attempt(messages)


@given(st.text() | JUNK.map(json.dumps) | st.composite(message)().map(json.dumps))
def test_any_text_is_a_message_or_is_told_why_not(text: str) -> None:
    """Parsing raises what it says and nothing else, and an id is found in what was refused or it is not."""
    refused: list[InvalidRequestError] = []
    try:
        parse(text)
    except InvalidRequestError as error:
        refused.append(error)
    except NotJsonError:
        with pytest.raises((ValueError, RecursionError)):
            msgspec.json.decode(text)
    assert all(error.message and error.field for error in refused)
    asked = id_in(text)
    assert asked is None or 0 < len(asked) <= 64


async def test_random_bytes_do_not_break_a_relay(api: Api) -> None:
    """Frames of no protocol at all: the socket is closed, the next one works."""
    for seed in range(20):
        async with connected(api) as client:
            connection = client.socket._response.connection
            assert connection is not None
            assert isinstance(connection.transport, asyncio.Transport)
            connection.transport.write(bytes((seed * 37 + at * 101) % 256 for at in range(300)))
            assert await client.closed() is not None
    async with connected(api) as client:
        assert (await client.ask("ping"))["type"] == "pong"
