"""A log with an entry that no writer of ours has made: whoever reads it is told, and nobody else notices."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from shared import keys
from tests.relay.api import Api, script
from tests.relay.conftest import StartWorker
from tests.relay.socket_client import connected

SAID = "cannot be read"
JUNK = [
    pytest.param(b"junk", id="no header"),
    pytest.param(b"1 2\nno event", id="no JSON"),
    pytest.param(b"1 2\n{}", id="no event"),
    pytest.param(b"1 2\n[" + b"[" * 5_000, id="nested too deep"),
    pytest.param(b"\xff\n\xff", id="no text"),
    pytest.param(b"", id="nothing"),
]


@pytest.fixture(params=JUNK)
async def unreadable(request: pytest.FixtureRequest, api: Api, redis: Redis) -> str:
    """Give a stream whose log goes on with junk, after an entry of ours."""
    stream_id = await api.start()
    await redis.xadd(keys.log(stream_id), {"d": request.param}, id="1-2")
    return stream_id


@pytest.mark.parametrize("query", ["", "?format=anthropic", "?format=openai-chat", "?format=ai-sdk-v6"])
async def test_a_reader_is_told_and_not_just_cut_off(api: Api, unreadable: str, query: str) -> None:
    """The answer ends in good order, so that no client takes it for a lost connection and comes back for ever."""
    async with api.follow(unreadable, query) as reader:
        await reader.rest()
    assert any(SAID in event.data for event in reader.events)


@pytest.mark.parametrize("path", ["", "/events?mode=poll", "/events?mode=poll&format=anthropic&wait=0"])
async def test_who_asks_for_json_is_told(api: Api, unreadable: str, path: str) -> None:
    """As of a log that has gone: only a new stream helps."""
    answer = await api.get(f"/v1/streams/{unreadable}{path}")
    assert answer.status == 410
    error = answer.json()["error"]
    assert (error["code"], error["retryable"]) == ("gone", False)
    assert SAID in error["message"]


async def test_a_socket_is_told_and_its_other_streams_go_on(api: Api, unreadable: str) -> None:
    """Only the one stream ends."""
    other = await api.start()
    async with connected(api) as client:
        await client.say("follow", stream=other)
        await client.until("event", stream=other)
        await client.say("follow", stream=unreadable)
        assert (await client.until("unsubscribed", stream=unreadable))["reason"] == "error"
        assert (await client.ask("ping"))["type"] == "pong"
        await api.post(f"/v1/streams/{other}/cancel")
        assert (await client.until("unsubscribed", stream=other))["reason"] == "ended"


async def test_it_can_be_ended(api: Api, unreadable: str) -> None:
    """Whatever its log holds, it takes up no place for ever."""
    assert (await api.ask("DELETE", f"/v1/streams/{unreadable}")).status == 204


@pytest.mark.parametrize("junk", JUNK)
async def test_it_can_be_ended_under_a_worker(api: Api, start_worker: StartWorker, redis: Redis, junk: bytes) -> None:
    """Also while an answer is being written."""
    await start_worker()
    stream_id = await api.start(messages=script(tokens=1000, per_second=20))
    async with api.follow(stream_id) as reader:
        await reader.until("delta")
    await redis.xadd(keys.log(stream_id), {"d": junk}, id="1-999999")
    assert (await api.ask("DELETE", f"/v1/streams/{stream_id}")).status == 204
