"""Looking at streams: the state of one, the list of all, the models; cancelling and deleting."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from shared import keys
from shared.models import Model
from tests.relay.api import Api, script
from tests.relay.conftest import MakeApi, StartWorker
from tests.support import eventually

SLOW = {"messages": script(tokens=2000, per_second=50)}


async def test_the_state_tells_the_answer_by_block(served: Api) -> None:
    """Thinking with its signature, text, a tool call with its arguments; usage, times and the reason of the end."""
    tools = [{"name": "weather", "input": {"city": "Bergen"}}]
    stream_id = await served.finished(messages=script(tokens=3, thinking=2, tools=tools, first_token_ms=20))
    state = await served.state(stream_id)
    thinking, text, tool = state["blocks"]
    assert thinking == {
        "block": 0,
        "kind": "thinking",
        "complete": True,
        "text": "t0 t1 ",
        "signature": "sim-signature-0",
    }
    assert text == {"block": 1, "kind": "text", "complete": True, "text": "w0 w1 w2"}
    assert (tool["kind"], tool["name"], tool["json"]) == ("tool_use", "weather", '{"city":"Bergen"}')
    assert state["text"] == "w0 w1 w2"
    assert (state["status"], state["stop_reason"], state["attempts"]) == ("completed", "tool_use", 1)
    assert state["usage"]["output_tokens"] == 5
    times = state["timings"]
    assert 0 <= times["queued_ms"] <= times["first_token_ms"] <= times["duration_ms"]
    assert times["first_token_ms"] >= 20


async def test_the_state_of_a_running_stream_grows(served: Api) -> None:
    """Looked at twice: more text, a later offset, and the offset is one to follow from."""
    stream_id = await served.start(**SLOW)
    first = await eventually(lambda: with_text(served, stream_id))
    later = await eventually(lambda: with_text(served, stream_id, longer_than=len(first["text"])))
    assert later["status"] == "running"
    assert later["text"].startswith(first["text"])
    assert later["offset"] > first["offset"]
    assert later["blocks"][0]["complete"] is False
    async with served.follow(stream_id, f"?offset={later['offset']}") as reader:
        event = await reader.take(1)
    assert event[0].json()["text"].startswith(f" w{later['text'].count('w')}")


async def with_text(api: Api, stream_id: str, longer_than: int = 0) -> dict[str, Any]:
    """Return the state once its text is longer than this, until then nothing."""
    state = await api.state(stream_id)
    return state if len(state["text"]) > longer_than else {}


async def test_a_failed_stream_tells_why(served: Api) -> None:
    """The state and the events have the same error."""
    stream_id = await served.start(messages=script(tokens=5, fail_at=0, fault="refused"), on_interruption="fail")
    state = await eventually(lambda: ended(served, stream_id))
    assert state["status"] == "failed"
    assert {"code", "message", "retryable"} <= state["error"].keys()
    async with served.follow(stream_id) as reader:
        events = await reader.rest()
    told = [event.json() for event in events if event.event == "error"]
    assert [{name: event[name] for name in state["error"]} for event in told] == [state["error"]]
    assert events[-1].json()["status"] == "failed"


async def ended(api: Api, stream_id: str) -> dict[str, Any]:
    """Return the state once the stream has ended, until then nothing."""
    state = await api.state(stream_id)
    return {} if state["status"] in ("queued", "running") else state


async def test_the_list_is_paged_newest_first(api: Api) -> None:
    """Every stream once, in order, whatever the size of the page; also those of the very same millisecond."""
    started = await asyncio.gather(*(api.start() for _ in range(12)))
    whole = (await api.get("/v1/streams?limit=100")).json()
    assert whole["next_cursor"] is None
    ids = [stream["id"] for stream in whole["streams"]]
    assert sorted(ids) == sorted(started)
    times = [stream["created_ms"] for stream in whole["streams"]]
    assert max(abs(now - then) for now, then in zip(times, sorted(times, reverse=True), strict=True)) < 1000
    for limit in (1, 5, 12):
        paged: list[str] = []
        query = f"?limit={limit}"
        while query:
            page = (await api.get(f"/v1/streams{query}")).json()
            assert len(page["streams"]) <= limit
            paged += [stream["id"] for stream in page["streams"]]
            query = f"?limit={limit}&cursor={page['next_cursor']}" if page["next_cursor"] else ""
        assert paged == ids


async def test_the_list_is_filtered(served: Api) -> None:
    """By status and by any metadata, all of which must match."""
    odd = "a&b=c é"
    done = await served.finished(metadata={"chat": "1", odd: odd})
    running = await served.start(**SLOW, metadata={"chat": "1"})
    other = await served.start(**SLOW, metadata={"chat": "2"})
    for query, found in (
        ({"metadata.chat": "1"}, {done, running}),
        ({"metadata.chat": "1", "status": "completed"}, {done}),
        ({"metadata.chat": "1", f"metadata.{odd}": odd}, {done}),
        ({"metadata.chat": "2"}, {other}),
        ({"metadata.chat": "3"}, set()),
        ({"metadata.nothing": ""}, set()),
        ({"status": "cancelled"}, set()),
    ):
        page = (await served.get("/v1/streams", params=query)).json()
        assert {stream["id"] for stream in page["streams"]} == found, query
    await eventually(lambda: listed_as(served, "running", {running, other}))


async def listed_as(api: Api, status: str, wanted: set[str]) -> bool:
    """Tell whether these are the streams in this status."""
    page = (await api.get("/v1/streams", params={"status": status})).json()
    return {stream["id"] for stream in page["streams"]} == wanted


async def test_the_models_are_those_that_can_be_asked_for(make_api: MakeApi) -> None:
    """With their caps; one is the default, and it answers who names none."""
    models = {"small": Model(provider="sim", max_tokens=50), "large": Model(provider="sim", max_tokens=9000)}
    api = await make_api(models=models, default_model="large", max_tokens_cap=500)
    told = (await api.get("/v1/models")).json()
    native = [{name: model[name] for name in ("id", "provider", "max_tokens", "default")} for model in told["models"]]
    assert native == [
        {"id": "small", "provider": "sim", "max_tokens": 50, "default": False},
        {"id": "large", "provider": "sim", "max_tokens": 500, "default": True},
    ]
    assert (told["data"], told["first_id"], told["last_id"]) == (told["models"], "small", "large")
    assert (await api.get("/v1/models/small")).json() == told["data"][0]
    assert (await api.get("/v1/models/none")).status == 404
    assert (await api.state(await api.start()))["model"] == "large"
    assert (await api.state(await api.start(model="small", provider="sim")))["model"] == "small"


async def test_a_running_stream_is_cancelled(served: Api) -> None:
    """200 once it has ended, with what had been said; a second cancel finds the same end."""
    stream_id = await served.start(**SLOW)
    await eventually(lambda: with_text(served, stream_id))
    answer = await served.post(f"/v1/streams/{stream_id}/cancel")
    state = answer.json()
    assert answer.status == 200
    assert answer.headers["X-Stream-Id"] == stream_id
    assert (state["status"], state["stop_reason"]) == ("cancelled", "cancelled")
    assert state["text"]
    assert (await served.post(f"/v1/streams/{stream_id}/cancel")).json() == state


async def test_a_queued_stream_is_cancelled_though_no_worker_runs(api: Api, start_worker: StartWorker) -> None:
    """The relay ends it itself, and a worker that comes later does not begin it."""
    stream_id = await api.start(**SLOW)
    begun_s = time.monotonic()
    assert (await api.post(f"/v1/streams/{stream_id}/cancel")).json()["status"] == "cancelled"
    assert time.monotonic() - begun_s < 3
    await start_worker()
    assert (await api.post("/v1/streams?wait=10", json={"messages": script(tokens=1)})).status == 200
    state = await api.state(stream_id)
    assert (state["status"], state["text"]) == ("cancelled", "")


async def test_a_cancel_after_the_end_tells_how_it_ended(served: Api) -> None:
    """The first end wins."""
    stream_id = await served.finished()
    assert (await served.post(f"/v1/streams/{stream_id}/cancel")).json()["status"] == "completed"


async def test_a_cancel_needs_no_body_and_minds_none(served: Api) -> None:
    """Clients send all sorts of nothing."""
    for body in (b"", b"{}", b"not json"):
        stream_id = await served.start(**SLOW)
        assert (await served.post(f"/v1/streams/{stream_id}/cancel", data=body)).json()["status"] == "cancelled"


@pytest.mark.parametrize("when", ["queued", "running", "completed"])
async def test_a_deleted_stream_leaves_a_tombstone(
    api: Api, start_worker: StartWorker, redis: Redis, when: str
) -> None:
    """204; its log and what it was about are erased, it is in no list, and it is 410 from then on. Again: 204."""
    said = "a secret between us"
    if when != "queued":
        await start_worker()
    messages = [{"role": "user", "content": said}, *(script(tokens=3) if when == "completed" else SLOW["messages"])]
    stream_id = await api.start(messages=messages, metadata={"about": said})
    await eventually(lambda: in_status(api, stream_id, when))
    for _ in range(2):
        answer = await api.ask("DELETE", f"/v1/streams/{stream_id}")
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["X-Stream-Id"] == stream_id
    polls = [("GET", f"/events?mode=poll&wait=0&format={name}") for name in ("native", "anthropic", "openai-responses")]
    for method, rest in (("GET", ""), ("GET", "/events"), ("GET", "/events?mode=poll"), *polls, ("POST", "/cancel")):
        assert (await api.ask(method, f"/v1/streams/{stream_id}{rest}")).status == 410
    assert (await api.get("/v1/streams")).json()["streams"] == []
    assert await redis.exists(keys.record(stream_id)) == 1
    assert await redis.exists(keys.log(stream_id)) == 0
    everything = [await redis.dump(key) for key in await redis.keys("*")]
    assert not any(said.encode() in dumped for dumped in everything if dumped)  # a job's key may have gone meanwhile


async def in_status(api: Api, stream_id: str, status: str) -> bool:
    """Tell whether the stream is in this status."""
    return bool((await api.state(stream_id))["status"] == status)


async def test_cancels_and_deletes_from_all_sides_agree(served: Api) -> None:
    """Many at once: one end, no error."""
    stream_id = await served.start(**SLOW)
    answers = await asyncio.gather(*(served.post(f"/v1/streams/{stream_id}/cancel") for _ in range(8)))
    assert {answer.json()["status"] for answer in answers} == {"cancelled"}
    async with served.follow(stream_id) as reader:
        assert [event.event for event in await reader.rest()].count("end") == 1
    stream_id = await served.start(**SLOW)
    deletes = await asyncio.gather(*(served.ask("DELETE", f"/v1/streams/{stream_id}") for _ in range(8)))
    assert {answer.status for answer in deletes} == {204}
