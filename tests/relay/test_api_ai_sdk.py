"""The routes for Vercel's AI SDK: starting, resuming by chat, stopping, runs by count, and what mistakes come to."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from shared import keys
from tests.relay.api import Answer, Api, script
from tests.relay.conftest import MakeApi, StartRelay, StartWorker
from tests.support import eventually
from tests.support_sse import SseReader

CHAT = "chat/1 é"
CHAT_PATH = "chat%2F1%20%C3%A9"


def message(text: str = "", **fields: Any) -> dict[str, Any]:
    """Return a user's message that has the simulated model answer by a script."""
    said = text or script(**fields)[0]["content"]
    return {"id": "m1", "role": "user", "parts": [{"type": "text", "text": said}]}


def body(**fields: Any) -> dict[str, Any]:
    """Return the body of a chat's request: a script, and whatever else is given."""
    wanted = {"tokens": 5} | fields.pop("script", {})
    return {"id": CHAT, "messages": [message(**wanted)], "trigger": "submit-message"} | fields


def posting(api: Api, path: str = "/api/chat", **request: Any) -> SseReader:
    """Return a reader of the answer to a chat's request, not connected yet."""
    headers = api.headers | request.pop("headers", {})
    return SseReader(api.session, api.url + path, method="POST", headers=headers, **request)


def getting(api: Api, path: str) -> SseReader:
    """Return a reader of a resumed answer, not connected yet."""
    return SseReader(api.session, api.url + path, headers=api.headers)


async def chunks(reader: SseReader) -> list[dict[str, Any]]:
    """Return the chunks up to the answer's end."""
    async with reader:
        assert reader.response.status == 200, await reader.response.text()
        return [json.loads(event.data) for event in await reader.rest() if event.data != "[DONE]"]


def text(told: list[dict[str, Any]]) -> str:
    """Return the text in chunks."""
    return "".join(chunk["delta"] for chunk in told if chunk["type"] == "text-delta")


async def test_a_chat_is_answered_in_chunks(served: Api) -> None:
    """With the headers that the client looks for, an id on every frame, and ``[DONE]`` for those who wait for it."""
    async with posting(served, json=body(script={"thinking": 2, "tools": [{"name": "t"}]})) as reader:
        headers = reader.response.headers
        events = await reader.rest()
    assert headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert headers["Content-Type"].startswith("text/event-stream")
    assert headers["Location"] == f"/v1/streams/{headers['X-Stream-Id']}"
    assert all(event.id for event in events)
    assert events[-1].data == "[DONE]"
    told = [json.loads(event.data) for event in events[:-1]]
    assert told[0] == {"type": "start", "messageId": f"msg_{headers['X-Stream-Id']}"}
    assert told[-1] == {"type": "finish", "finishReason": "tool-calls"}
    assert text(told) == "w0 w1 w2 w3 w4"


async def test_a_chat_that_is_running_is_resumed_from_its_start(served: Api) -> None:
    """The whole answer again, under the same message id, however the chat's id is spelled in the path."""
    async with posting(served, json=body(script={"tokens": 30, "per_second": 30})) as reader:
        first = json.loads((await reader.take(4))[0].data)
    told = await chunks(getting(served, f"/api/chat/{CHAT_PATH}/stream"))
    assert told[0] == first
    assert text(told).startswith("w0 w1 w2")
    assert text(told).endswith("w29")


async def test_there_is_nothing_to_resume_in_a_chat_that_has_ended_or_never_was(served: Api) -> None:
    """204, on which the client loads what it stored; who has stored nothing asks for the replay."""
    whole = await chunks(posting(served, json=body()))
    await eventually(lambda: ended(served))
    assert (await served.get(f"/api/chat/{CHAT_PATH}/stream")).status == 204
    assert (await served.get("/api/chat/other/stream")).status == 204
    assert await chunks(getting(served, f"/api/chat/{CHAT_PATH}/stream?ended=replay")) == whole


async def ended(api: Api) -> bool:
    """Tell whether all streams have ended."""
    listed = (await api.get("/v1/streams")).json()["streams"]
    return not any(stream["status"] in ("queued", "running") for stream in listed)


async def test_a_chat_points_to_its_newest_stream(api: Api) -> None:
    """The one asked for last, and those asked for at the same moment are all there to be read by their ids."""
    answers = await asyncio.gather(*(started(api, json=body()) for _ in range(8)))
    newest = await started(api, json=body())
    assert await resumed(api) == newest
    assert len({*answers, newest}) == 9
    for stream_id in answers:
        assert (await api.state(stream_id))["metadata"]["chat_id"] == CHAT


async def started(api: Api, **request: Any) -> str:
    """Start a chat's answer, leave at once, and return the stream's id."""
    async with posting(api, **request) as reader:
        assert reader.response.status == 200, await reader.response.text()
        return reader.response.headers["X-Stream-Id"]


async def resumed(api: Api, path: str = CHAT_PATH) -> str:
    """Return the stream that the chat is resumed with."""
    async with getting(api, f"/api/chat/{path}/stream") as reader:
        return reader.response.headers.get("X-Stream-Id", "")


async def test_a_repeated_request_attaches_and_does_not_take_a_chat_back(api: Api) -> None:
    """An older answer that is asked for again by its key is told, but the chat stays with its newest."""
    first = await started(api, json=body(), headers={"Idempotency-Key": "k"})
    second = await started(api, json=body())
    assert await started(api, json=body(), headers={"Idempotency-Key": "k"}) == first
    assert await resumed(api) == second
    answer = await api.post("/api/chat", json=body(max_tokens=7), headers={"Idempotency-Key": "k"})
    assert answer.status == 409


async def test_a_chat_that_redis_has_lost_is_pointed_to_its_stream_by_a_repeat(api: Api, redis: Redis) -> None:
    """And every chat is forgotten in time."""
    stream_id = await started(api, json=body(), headers={"Idempotency-Key": "k"})
    key = keys.chat("local", CHAT)
    assert await redis.pttl(key) > 0
    await redis.delete(key)
    assert await resumed(api) == ""
    await started(api, json=body(), headers={"Idempotency-Key": "k"})
    assert await resumed(api) == stream_id


async def test_a_stop_cancels_what_runs_and_tells_every_viewer(served: Api) -> None:
    """``abort`` and the end for who reads; the chat has nothing to resume; a second stop is fine too."""
    async with posting(served, json=body(script={"tokens": 500, "per_second": 50})) as reader:
        await reader.take(4)
        stream_id = reader.response.headers["X-Stream-Id"]
        answer = await served.post(f"/api/chat/{CHAT_PATH}/stop", json={"activeStreamId": stream_id})
        told = [json.loads(event.data) for event in (await reader.rest())[:-1]]
    assert (answer.status, answer.json()) == (200, {"success": True})
    assert [chunk["type"] for chunk in told[-4:]] == ["text-end", "finish-step", "abort", "finish"]
    assert (await served.get(f"/api/chat/{CHAT_PATH}/stream?ended=replay")).status == 204
    assert (await served.post(f"/api/chat/{CHAT_PATH}/stop")).json() == {"success": True}
    assert (await served.state(stream_id))["status"] == "cancelled"


async def test_a_stop_that_means_another_stream_stops_nothing(api: Api) -> None:
    """A late stop of an older answer must not end the newer one; without an id it means whatever runs."""
    older, newer = await started(api, json=body()), await started(api, json=body())
    path = f"/api/chat/{CHAT_PATH}/stop"
    assert (await api.post(path, json={"activeStreamId": older})).json() == {"success": True}
    assert (await api.state(newer))["status"] == "queued"
    assert (await api.post(path, json={"assistantMessage": {"id": "m2", "parts": []}})).status == 200
    assert (await api.state(newer))["status"] == "cancelled"
    assert (await api.state(older))["status"] == "queued"


async def test_chats_are_the_tenants_own(make_api: MakeApi) -> None:
    """The same chat id of another tenant is another chat, and nobody resumes or stops what is not theirs."""
    relay = await make_api(api_keys={"acme": "a", "other": "b"})
    acme, other = relay.having(authorization="Bearer a"), relay.having(authorization="Bearer b")
    stream_id = await started(acme, json=body())
    assert await resumed(acme) == stream_id
    assert (await other.get(f"/api/chat/{CHAT_PATH}/stream")).status == 204
    assert (await other.get(f"/api/workflow/{stream_id}/stream")).status == 404
    await other.post(f"/api/chat/{CHAT_PATH}/stop")
    assert (await acme.state(stream_id))["status"] == "queued"
    refused = await relay.post("/api/chat", json=body())
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"


async def test_an_answer_that_goes_on_after_a_tool_keeps_its_message(served: Api) -> None:
    """The client's id for it, at the start and in every replay; the tool's output reaches the model as such."""
    call = {"type": "tool-t", "toolCallId": "c1", "state": "output-available", "input": {}, "output": {"a": 1}}
    messages = [message(tokens=3), {"id": "m2", "role": "assistant", "parts": [{"type": "step-start"}, call]}]
    told = await chunks(posting(served, json=body(messages=messages)))
    assert told[0] == {"type": "start", "messageId": "m2"}
    assert told[-1]["type"] == "finish"


async def test_version_7_is_told_of_a_reset_in_place(make_api: MakeApi, start_worker: StartWorker) -> None:
    """Where an answer starts over, ``/api/v7`` says ``reset-step`` and goes on; version 6 is told an error."""
    await start_worker(retry_delay_s=0.01)
    api = await make_api()
    cut = body(script={"tokens": 9, "fail_at": 5, "fault": "cut"}, on_interruption="restart")
    told = await chunks(posting(api, "/api/v7/chat", json=cut))
    at = [chunk["type"] for chunk in told].index("reset-step")
    assert text(told[at:]) == "w0 w1 w2 w3 w4 w5 w6 w7 w8"
    assert told[-1] == {"type": "finish", "finishReason": "stop"}
    told = await chunks(posting(api, json=cut))
    assert [chunk["type"] for chunk in told[-2:]] == ["error", "finish"]
    whole = await chunks(getting(api, f"/api/chat/{CHAT_PATH}/stream?ended=replay"))
    assert text(whole) == "w0 w1 w2 w3 w4 w5 w6 w7 w8"


async def test_any_stream_is_followed_in_these_dialects(served: Api) -> None:
    """Started natively, told to a ``useChat`` page."""
    stream_id = await served.finished()
    told = await chunks(served.follow(stream_id, "?format=ai-sdk-v6"))
    assert (told[0]["messageId"], text(told)) == (f"msg_{stream_id}", "w0 w1 w2 w3 w4")


async def test_a_run_goes_on_after_any_count_of_its_chunks(served: Api) -> None:
    """``startIndex`` from the first chunk to the last; who has all is told so, and not sent away to come again."""
    async with posting(served, "/api/workflow", data=json.dumps(body())) as reader:
        run_id = reader.response.headers["x-workflow-run-id"]
        whole = [json.loads(event.data) for event in await reader.rest()]
    assert whole[-1]["type"] == "finish"
    for index in range(len(whole)):
        assert await chunks(getting(served, f"/api/workflow/{run_id}/stream?startIndex={index}")) == whole[index:]
    for index in (len(whole), len(whole) + 5):
        assert (await served.get(f"/api/workflow/{run_id}/stream?startIndex={index}")).status == 204


async def test_the_last_chunks_of_a_run_come_with_what_encloses_them(served: Api) -> None:
    """The header is such that the client's own reckoning comes to the first chunk it is sent."""
    async with posting(served, "/api/v7/workflow", json=body()) as reader:
        run_id = reader.response.headers["x-workflow-run-id"]
        whole = [json.loads(event.data) for event in await reader.rest()]
    for last in range(1, len(whole) + 3):
        reader = getting(served, f"/api/v7/workflow/{run_id}/stream?startIndex=-{last}")
        told = await chunks(reader)
        first = max(0, int(reader.response.headers["x-workflow-stream-tail-index"]) + 1 - last)
        assert told == whole[first:]
        assert len(told) >= min(last, len(whole))
        assert told[0]["type"] not in ("text-delta", "text-end")


async def test_what_was_deleted_cannot_be_resumed(served: Api) -> None:
    """A chat has nothing to resume; a run's client, which would come back for ever, is told that it is gone."""
    told = await chunks(posting(served, "/api/workflow", json=body()))
    run_id = told[0]["messageId"].removeprefix("msg_")
    await served.ask("DELETE", f"/v1/streams/{run_id}")
    assert (await served.get(f"/api/chat/{CHAT_PATH}/stream?ended=replay")).status == 204
    gone = await served.get(f"/api/workflow/{run_id}/stream?startIndex=3")
    assert (gone.status, gone.headers["X-Stream-Id"]) == (410, run_id)


async def test_a_run_is_found_by_its_chat_too(served: Api) -> None:
    """A page that was reloaded knows no run; unknown ones are 404, in one sentence."""
    told = await chunks(posting(served, "/api/workflow", json=body(id="c7")))
    assert await chunks(getting(served, "/api/workflow/c7/stream")) == told
    missing = await served.get("/api/workflow/none/stream")
    assert (missing.status, missing.headers["Content-Type"]) == (404, "text/plain; charset=utf-8")


async def test_a_run_without_a_media_type_is_taken_from_its_own_page_alone(make_api: MakeApi) -> None:
    """The client names none; but any page on the web may send such a request, unseen by its user."""
    api = await make_api(cors_origins=["https://chat.example"])
    for origin, status in ((api.url, 200), ("https://chat.example", 200), ("https://evil.example", 415), ("x[", 415)):
        async with posting(api, "/api/workflow", data=json.dumps(body()), headers={"Origin": origin}) as reader:
            assert reader.response.status == status
    async with posting(api, "/api/chat", data=json.dumps(body())) as reader:
        assert reader.response.status == 415


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"message": message("x")}, "messages"),
        ({"messages": [{"role": "user", "parts": []}]}, "messages.0.id"),
        ({"messages": [{"id": "m", "role": "tool", "parts": []}]}, "messages.0.role"),
        ({"messages": [{"id": "m", "role": "user", "parts": []}]}, "messages.0.parts"),
        (
            {"messages": [message("x"), {"id": "m", "role": "user", "parts": [{"type": "tool-t"}]}]},
            "messages.1.parts.0",
        ),
        ({"messages": [{"id": "m", "role": "user", "parts": [{"text": "x"}]}]}, "messages.0.parts.0.type"),
        ({"messages": [{"id": "m", "role": "assistant", "parts": []}]}, "messages"),
        ({"trigger": "resume-stream"}, "trigger"),
        ({"sessionId": "x"}, "sessionId"),
        ({"max_tokens": "7"}, "max_tokens"),
        ({"model": "none"}, "none"),
        ({"id": ""}, "id"),
        ({"id": "x" * 257}, "id"),
    ],
    ids=str,
)
async def test_a_mistake_is_one_sentence_that_names_the_field(api: Api, wrong: dict[str, Any], named: str) -> None:
    """In plain text: the client's error is the whole body."""
    answer = await api.post("/api/chat", json=body() | wrong)
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert named in answer.body.decode()
    assert "{" not in answer.body.decode()


@pytest.mark.parametrize("query", ["x", "1.5", "", "--1", "9" * 20, "\u0663"])
async def test_an_index_that_is_no_number_is_refused(api: Api, query: str) -> None:
    """Whatever it is."""
    run_id = await api.start()
    answer = await api.get(f"/api/workflow/{run_id}/stream", params={"startIndex": query})
    assert answer.status == 400
    assert "startIndex" in answer.body.decode()


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b'{"activeStreamId":7}', b'{"more":1}', b"\xff"])
async def test_a_stop_that_cannot_be_understood_stops_nothing(api: Api, sent: bytes) -> None:
    """400, or, for no body at all, what it says: stop."""
    stream_id = await started(api, json=body())
    headers = {"Content-Type": "application/json"}
    answer: Answer = await api.post(f"/api/chat/{CHAT_PATH}/stop", data=sent, headers=headers)
    assert answer.status == (400 if sent else 200)
    assert (await api.state(stream_id))["status"] == ("queued" if sent else "cancelled")


async def test_a_relay_that_must_go_cuts_a_chat_and_says_goodbye_to_a_run(
    start_relay: StartRelay, start_worker: StartWorker, session: aiohttp.ClientSession
) -> None:
    """``useChat`` takes a clean end for the answer's, so it is not given one; a run's client comes back after it."""
    await start_worker()
    slow = body(script={"tokens": 500, "per_second": 20})
    relay = await start_relay(relay_drain_s=0.5)
    api = Api(session, relay.url)
    async with posting(api, json=slow) as chat, posting(api, "/api/workflow", json=slow) as run:
        await chat.take(3)
        await run.take(3)
        draining = asyncio.create_task(relay.services.connections.drain(0.5), name="test.drain")
        assert "finish" not in {json.loads(event.data)["type"] for event in await run.rest()}
        with pytest.raises(aiohttp.ClientError):
            await chat.rest()
        await draining
