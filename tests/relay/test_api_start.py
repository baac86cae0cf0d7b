"""Starting a stream: how the answer comes, what the start event tells, and what is kept of the request."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from shared import keys
from tests.relay.api import Answer, Api, script
from tests.relay.conftest import MakeApi
from tests.support import eventually
from tests.support_sse import SseReader


def names_its_stream(answer: Answer) -> bool:
    """Tell whether the headers name the stream in the body."""
    stream_id = answer.json()["id"]
    return answer.headers["X-Stream-Id"] == stream_id and answer.headers["Location"] == f"/v1/streams/{stream_id}"


async def test_a_start_is_answered_with_the_state_and_where_to_go_on(api: Api) -> None:
    """201, the state of a queued stream, its address in the headers; nobody may cache it."""
    answer = await api.post(json={"messages": script(tokens=5), "metadata": {"chat": "é 😀"}})
    state = answer.json()
    assert answer.status == 201
    assert names_its_stream(answer)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert state["status"] == "queued"
    assert state["events_url"] == f"/v1/streams/{state['id']}/events"
    assert state["metadata"] == {"chat": "é 😀"}
    assert (state["blocks"], state["text"], state["attempts"], state["error"]) == ([], "", 0, None)
    assert set(state["timings"].values()) == {None}


@pytest.mark.parametrize("accept", ["text/event-stream", "Text/Event-Stream, */*;q=0.1"])
async def test_who_accepts_events_gets_them_at_once(served: Api, accept: str) -> None:
    """200 and the whole answer as events, with the stream named in the headers."""
    reader = SseReader(
        served.session,
        f"{served.url}/v1/streams",
        method="POST",
        json={"messages": script(tokens=5)},
        headers={"Accept": accept},
    )
    async with reader:
        assert reader.response.status == 200
        assert reader.response.content_type == "text/event-stream"
        events = await reader.rest()
    assert (events[0].event, events[-1].event) == ("start", "end")
    assert reader.response.headers["X-Stream-Id"] == events[0].json()["stream_id"]
    assert "".join(event.json().get("text", "") for event in events) == "w0 w1 w2 w3 w4"


@pytest.mark.parametrize("format_", ["native", "anthropic"])
async def test_the_time_to_the_first_token_is_noted_once_for_who_starts_a_stream(served: Api, format_: str) -> None:
    """With all of its parts, whoever has written it to the socket."""
    parts = ("queue", "provider", "relay", "total")
    before = [_first_tokens(part) for part in parts]
    path = "/v1/streams" if format_ == "native" else "/v1/messages"
    body = {"messages": script(tokens=5, per_second=200), "model": "sim", "max_tokens": 9}
    body |= {} if format_ == "native" else {"stream": True}
    async with SseReader(served.session, f"{served.url}{path}", method="POST", json=body) as reader:
        await reader.rest()
    assert [_first_tokens(part) for part in parts] == [count + 1 for count in before]


def _first_tokens(part: str) -> float:
    """Return how many first tokens this process has noted with that part of their time."""
    return REGISTRY.get_sample_value("tailrace_first_token_seconds_count", {"part": part}) or 0.0


async def test_who_waits_gets_the_finished_answer(served: Api) -> None:
    """``?wait=``: 200 with the end of it, as one JSON."""
    answer = await served.post("/v1/streams?wait=10", json={"messages": script(tokens=5, per_second=100)})
    assert answer.status == 200
    assert names_its_stream(answer)
    assert (answer.json()["status"], answer.json()["text"]) == ("completed", "w0 w1 w2 w3 w4")


async def test_who_waited_in_vain_gets_the_state_so_far(api: Api) -> None:
    """202 and when to come back, also without any patience."""
    for wait_s in ("0.1", "0"):
        begun_s = time.monotonic()
        answer = await api.post(f"/v1/streams?wait={wait_s}", json={"messages": script()})
        assert answer.status == 202
        assert names_its_stream(answer)
        assert answer.json()["status"] == "queued"
        assert int(answer.headers["Retry-After"]) >= 1
        assert time.monotonic() - begun_s < 3


async def test_more_tokens_than_the_cap_are_clamped_and_said(make_api: MakeApi) -> None:
    """The start event names both numbers, however large the wish; within the cap there is nothing to say."""
    api = await make_api(max_tokens_cap=100)
    for asked in (101, 2**64, 10**300):
        first = (await api.poll(await api.start(max_tokens=asked))).json()["events"][0]["data"]
        assert (first["max_tokens"], first["max_tokens_asked"]) == (100, asked)
    first = (await api.poll(await api.start(max_tokens=100))).json()["events"][0]["data"]
    assert first["max_tokens"] == 100
    assert "max_tokens_asked" not in first


async def test_what_is_clamped_is_what_the_model_gets(served: Api, make_api: MakeApi) -> None:
    """An answer longer than the cap ends at it, and says that it is not whole."""
    capped = await make_api(max_tokens_cap=3)
    state = await served.state(await capped.finished(max_tokens=1000))
    assert (state["status"], state["text"], state["stop_reason"]) == ("incomplete", "w0 w1 w2", "max_tokens")


async def test_the_messages_are_erased_once_the_stream_has_ended(served: Api, redis: Redis) -> None:
    """No key in Redis holds what was said to the model longer than the model needs it."""
    secret = "the launch code is 4711"
    messages = [{"role": "user", "content": secret}, *script(tokens=40, per_second=40)]
    stream_id = await served.start(messages=messages)
    held = await redis.execute_command("HGET", keys.record(stream_id), "request")
    assert secret.encode() in held
    await eventually(lambda: has_ended(served, stream_id))
    assert await redis.execute_command("HGET", keys.record(stream_id), "request") is None
    everything = [await redis.dump(key) for key in await redis.keys("*")]
    assert not any(secret.encode() in dumped for dumped in everything)


async def has_ended(api: Api, stream_id: str) -> bool:
    """Tell whether the stream has ended."""
    return (await api.state(stream_id))["status"] not in ("queued", "running")


async def test_everything_that_text_can_be_comes_through(served: Api) -> None:
    """Characters outside the basic plane, control characters and NUL, in contents and in metadata."""
    odd = '\x00\x01\x7f\u2028\u2029\ufeff\uffff é 😀 \U0010ffff \\ " \r\n \t'
    stream_id = await served.finished(messages=[{"role": "user", "content": odd}], metadata={odd: odd})
    assert (await served.state(stream_id))["metadata"] == {odd: odd}
    async with served.follow(stream_id) as reader:
        assert (await reader.rest())[0].json()["metadata"] == {odd: odd}


async def test_a_request_just_within_the_limit_is_taken(served: Api) -> None:
    """A megabyte of conversation is no mistake."""
    answer = await served.post(json={"messages": [{"role": "user", "content": "x" * 1_048_000}, *script(tokens=1)]})
    assert answer.status == 201


async def test_of_a_key_told_twice_the_last_counts(api: Api) -> None:
    """As in every JSON reader that clients are likely to test with."""
    body = b'{"messages":[],"messages":[{"role":"user","content":"x"}],"max_tokens":0,"max_tokens":7}'
    answer = await api.post(data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 201
    assert (await api.poll(answer.json()["id"])).json()["events"][0]["data"]["max_tokens"] == 7


async def test_a_client_that_leaves_at_once_has_still_started_its_stream(served: Api) -> None:
    """What was asked for is done whole; the client finds it by its key when it comes back."""
    body = {"messages": script(tokens=3)}
    leaving = asyncio.create_task(served.post(json=body, headers={"Idempotency-Key": "k"}), name="test.leaving")
    await eventually(lambda: len(served.session.connector._acquired) > 0 if served.session.connector else False)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    answer = await served.post("/v1/streams?wait=10", json=body, headers={"Idempotency-Key": "k"})
    assert answer.json()["status"] == "completed"
    assert len((await served.get("/v1/streams")).json()["streams"]) == 1
