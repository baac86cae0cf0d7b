"""The routes of the Anthropic Messages API, byte by byte: shapes, headers, refusals, resumes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.offset import new_stream_id
from tests.relay.api import Answer, Api, script
from tests.relay.conftest import MakeApi
from tests.relay.dialects.messages_grammar import MessagesGrammar

PATH = "/v1/messages"


def body(**fields: Any) -> dict[str, Any]:
    """Return a request of a short answer."""
    return {"model": "sim", "max_tokens": 100, "messages": script(tokens=3)} | fields


def refusal(answer: Answer, status: int, kind: str) -> str:
    """Return the message of an error, which has the API's shape, status and type."""
    told = answer.json()
    assert (answer.status, told["type"], told["error"]["type"]) == (status, "error", kind)
    assert told["error"]["details"]["error_code"]
    assert answer.headers["x-should-retry"] in ("true", "false")
    return str(told["error"]["message"])


def frames(answer: Answer) -> list[dict[str, str]]:
    """Return the events of an SSE answer, each with all its fields."""
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    blocks = answer.body.decode().split("\n\n")
    told = [[line for line in block.splitlines() if not line.startswith(":")] for block in blocks]
    return [dict(line.split(": ", 1) for line in lines) for lines in told if lines]


async def test_a_stream_is_named_events_with_ids(served: Api) -> None:
    """Every one has both, and the answer's headers name the stream."""
    answer = await served.post(PATH, json=body(stream=True))
    stream_id = answer.headers["X-Stream-Id"]
    assert answer.headers["Location"] == f"/v1/streams/{stream_id}"
    assert answer.headers["request-id"] == f"req_{stream_id}"
    grammar = MessagesGrammar()
    for frame in frames(answer):
        assert frame.keys() == {"id", "event", "data"}
        grammar.feed(frame["event"], frame["data"].encode())
    assert grammar.ended
    assert grammar.message is not None
    assert grammar.message["id"] == f"msg_{stream_id}"
    assert grammar.message == (await served.get(f"/v1/streams/{stream_id}?format=anthropic")).json()


async def test_a_resume_is_the_rest_and_then_nothing(served: Api) -> None:
    """By the header or the query, for the stream's id or the message's, as the native route has it too."""
    full = frames(await served.post(PATH, json=body(stream=True)))
    message_id = json.loads(full[0]["data"])["message"]["id"]
    stream_id = message_id.removeprefix("msg_")
    for at, frame in enumerate(full[:-1], 1):
        by_header = await served.get(f"{PATH}/{message_id}/events", headers={"Last-Event-ID": frame["id"]})
        by_query = await served.get(f"{PATH}/{stream_id}/events?offset={frame['id']}")
        native = await served.get(f"/v1/streams/{stream_id}/events?format=anthropic&offset={frame['id']}")
        assert frames(by_header) == frames(by_query) == frames(native) == full[at:]
    for offset in (full[-1]["id"], "now"):
        assert (await served.get(f"{PATH}/{message_id}/events?offset={offset}")).status == 204


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"top_k": 5}, "top_k"),
        ({"metadata": {"x": "y"}}, "metadata.x"),
        ({"system": 5}, "system"),
    ],
)
async def test_a_wrong_field_is_named(api: Api, wrong: dict[str, Any], named: str) -> None:
    """And nothing is started."""
    answer = await api.post(PATH, json=body(**wrong))
    assert named in refusal(answer, 400, "invalid_request_error")
    assert answer.headers["x-should-retry"] == "false"
    assert (await api.get("/v1/streams")).json()["streams"] == []


async def test_every_refusal_has_the_shape_of_the_api(make_api: MakeApi) -> None:
    """Whatever it is about, and whoever finds it."""
    relay = await make_api(api_keys={"acme": "key"}, max_body_bytes=2000)
    api = relay.having(x_api_key="key")
    refusal(await relay.post(PATH, json=body()), 401, "authentication_error")
    refusal(await relay.get(f"{PATH}/{new_stream_id()}/events"), 401, "authentication_error")
    assert "GET /v1/models" in refusal(await api.post(PATH, json=body(model="none")), 404, "not_found_error")
    refusal(await api.post(PATH, data=b"{", headers={"Content-Type": "application/json"}), 400, "invalid_request_error")
    refusal(await api.post(PATH, data=b"x"), 415, "invalid_request_error")
    refusal(await api.post(PATH, json=body(system="x" * 2000)), 413, "request_too_large")
    wrong = {"anthropic-version": "2023-01-01"}
    assert "anthropic-version" in refusal(
        await api.post(PATH, json=body(), headers=wrong), 400, "invalid_request_error"
    )
    refusal(await api.get(PATH), 405, "invalid_request_error")
    refusal(await api.get(f"{PATH}/x/y"), 404, "not_found_error")
    refusal(await api.post(f"{PATH}/count_tokens", json=body()), 404, "not_found_error")
    refusal(await api.get(f"{PATH}/msg_{new_stream_id()}/events"), 404, "not_found_error")
    stream_id = await api.start()
    refusal(await api.get(f"{PATH}/{stream_id}/events?offset=x"), 400, "invalid_request_error")
    await api.ask("DELETE", f"/v1/streams/{stream_id}")
    refusal(await api.get(f"{PATH}/{stream_id}/events"), 410, "not_found_error")


async def test_a_full_service_says_so_as_the_api_does(make_api: MakeApi) -> None:
    """With when to come back; and a key that is used twice is no reason to try again."""
    api = await make_api(max_active_per_tenant=1)
    key = {"Idempotency-Key": "k"}
    started = await api.post("/v1/streams", json={"messages": script(tokens=3)}, headers=key)
    full = await api.post(PATH, json=body())
    refusal(full, 429, "rate_limit_error")
    assert (full.headers["x-should-retry"], full.headers["Retry-After"]) == ("true", "2")
    conflict = await api.post(PATH, json=body(), headers=key)
    refusal(conflict, 409, "conflict_error")
    assert conflict.headers["x-should-retry"] == "false"
    assert conflict.headers["X-Stream-Id"] == started.json()["id"]
