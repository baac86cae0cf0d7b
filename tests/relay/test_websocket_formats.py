"""Streams in other dialects on a socket: the same wire events as over SSE, from every place, on credit or not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.dialects.registry import DIALECTS
from tests.relay.api import Api, script
from tests.relay.conftest import MakeApi
from tests.relay.socket_client import SocketClient, connected

ANSWER = {"messages": script(tokens=12, thinking=3, tools=[{"name": "t", "input": {"a": 1}}])}


async def over_sse(api: Api, stream_id: str, name: str) -> list[tuple[str, str, Any]]:
    """Return the offset, name and data of all events of a stream that has ended, as SSE tells them in a dialect."""
    async with api.follow(stream_id, f"?format={name}") as reader:
        events = await reader.rest()
    return [
        (event.id, event.event, json.loads(event.data) if event.data.startswith("{") else event.data)
        for event in events
    ]


def told(client: SocketClient, stream_id: str) -> list[tuple[str, str, Any]]:
    """Return the same of what a socket was told."""
    heard = [one for one in client.heard if one["type"] == "event" and one["stream"] == stream_id]
    return [(one["offset"], one.get("event", "message"), one["data"]) for one in heard]


@pytest.mark.parametrize("name", DIALECTS)
async def test_a_dialect_is_told_as_over_sse_from_every_place(served: Api, name: str) -> None:
    """From the start, from each event, from the end and from now."""
    stream_id = await served.finished(**ANSWER)
    wanted = await over_sse(served, stream_id, name)
    assert wanted
    async with connected(served) as client:
        for at in range(len(wanted) + 1):
            client.heard.clear()
            offset = wanted[at - 1][0] if at else ""
            await client.say("follow", stream=stream_id, format=name, offset=offset)
            assert (await client.until("unsubscribed"))["reason"] == "ended"
            assert told(client, stream_id) == wanted[at:]
        client.heard.clear()
        await client.say("follow", stream=stream_id, format=name, offset="now")
        assert (await client.until("unsubscribed"))["reason"] == "ended"
        assert told(client, stream_id) == []


async def test_a_running_stream_is_told_in_several_dialects_at_a_time(served: Api) -> None:
    """Started on one socket in one dialect, with credit; on another in the native one; both are whole."""
    name = next(iter(DIALECTS))
    request = {"messages": script(tokens=60, per_second=100)}
    async with connected(served) as one, connected(served) as other:
        created = await one.ask("create", request=request, format=name, credit=5)
        stream_id = created["stream"]
        await other.say("follow", stream=stream_id)
        await other.until("unsubscribed")
        while (heard := await one.next())["type"] != "unsubscribed":
            if heard["type"] == "event":
                await one.say("ack", stream=stream_id, offset=heard["offset"])
    assert told(one, stream_id) == await over_sse(served, stream_id, name)
    assert other.events(stream_id)[-1][1] == "end"


async def test_a_format_that_there_is_not_is_refused_before_anything_is_started(served: Api) -> None:
    """By every message that has one, followed or not: no answer is begun whose client was told of a mistake."""
    stream_id = await served.finished(**ANSWER)
    async with connected(served) as client:
        for kind, fields in (
            ("create", {"request": ANSWER}),
            ("create", {"request": ANSWER, "follow": False}),
            ("follow", {"stream": stream_id}),
        ):
            for name in ("openai", "Native", ""):
                refused = await client.ask(kind, format=name, **fields)
                assert (refused["type"], refused["code"]) == ("error", "invalid_request")
                assert "format" in refused["message"]
        # Asked last, and answered after all that was refused: nothing was still to be said of those.
        assert (await client.ask("follow", stream=stream_id, format="native"))["type"] == "following"
        assert {told["type"] for told in client.heard} == {"error", "following"}
    listed = (await served.get("/v1/streams")).json()["streams"]
    assert [one["id"] for one in listed] == [stream_id]


@pytest.mark.parametrize("name", ["native", *DIALECTS])
async def test_a_stream_that_is_gone_is_never_followed(served: Api, name: str) -> None:
    """The first and only word on a deleted stream is the error that answers, in every dialect, from every place."""
    stream_id = await served.finished(**ANSWER)
    last = (await over_sse(served, stream_id, "anthropic"))[-1][0] if name != "native" else ""
    assert (await served.ask("DELETE", f"/v1/streams/{stream_id}")).status == 204
    async with connected(served) as client:
        for offset in {"", last, "now"}:
            gone = await client.ask("follow", stream=stream_id, format=name, offset=offset)
            assert (gone["type"], gone.get("code"), gone["stream"]) == ("error", "gone", stream_id)
            assert (await client.ask("ping"))["type"] == "pong"
    assert {told["type"] for told in client.heard} == {"error", "pong"}


@pytest.mark.parametrize("name", DIALECTS)
async def test_a_dialect_tells_itself_that_its_stream_is_gone(make_api: MakeApi, redis: Any, name: str) -> None:
    """By its own failure, without an offset, beside the socket's error, which says what to do."""
    api = await make_api(quiet_check_s=0.1)
    stream_id = await api.start()
    async with connected(api) as client:
        await client.say("follow", stream=stream_id, format=name)
        await client.until("following")
        for key in await redis.keys(f"*{stream_id}*record"):
            await redis.hset(key, "ended_ms", 1)
        for key in await redis.keys(f"*{stream_id}*log"):
            await redis.delete(key)
        error = await client.until("error")
        assert (error["code"], error["stream"]) == ("gone", stream_id)
        assert (await client.next())["reason"] == "error"
    failure = [one for one in client.heard if one["type"] == "event" and "offset" not in one]
    assert failure
    assert failure[0]["data"]
