"""``POST /v1/chat/completions`` on the wire: headers, frames, refusals as described, and retries without a key."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from redis.asyncio import Redis

from relay.openapi.document import describe
from shared import keys
from tests.relay.api import Answer, Api, script
from tests.relay.conftest import MakeApi
from tests.relay.test_openapi import CheckedApi, Description
from tests.support import eventually

PATH = "/v1/chat/completions"
RETRY = {"x-stainless-retry-count": "1"}


def body(**fields: Any) -> dict[str, Any]:
    """Return a request for a short answer of the simulated model."""
    return {"model": "sim", "messages": script(tokens=2), "stream": True} | fields


async def asked(api: Api, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    """Return the answer to a request for a chat completion."""
    answer = await api.post(PATH, json=body(**fields), headers=headers or {})
    assert answer.status == 200, answer
    return answer


def frames(answer: Answer) -> list[tuple[str, Any]]:
    """Return the ids and data of the frames of an answer, which must consist of nothing else but its first comment."""
    first, _, rest = answer.body.decode().partition("\n")
    assert first == ": open"
    found = []
    for frame in rest.removesuffix("\n\n").split("\n\n"):
        place, data = frame.split("\n")
        text = data.removeprefix("data: ")
        found.append((place.removeprefix("id: "), text if text == "[DONE]" else json.loads(text)))
    return found


async def test_a_stream_is_told_in_frames_with_their_places(served: Api) -> None:
    """And the headers by which it is found again."""
    answer = await asked(served)
    stream_id = answer.headers["X-Stream-Id"]
    assert answer.headers["Location"] == f"/v1/streams/{stream_id}"
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache, no-transform"
    told = frames(answer)
    places = [place for place, _ in told]
    assert sorted(set(places)) == places
    assert told[-1][1] == "[DONE]"
    assert told[0][1]["id"] == f"chatcmpl-{stream_id}"


async def test_a_stream_is_resumed_by_its_location_from_every_place(served: Api) -> None:
    """With and without usage; whatever it was started with, and whatever the client says that it accepts."""
    native = await served.finished()
    chat = (await asked(served)).headers["X-Stream-Id"]
    for stream_id in (native, chat):
        for form, more in (("openai-chat", 0), ("openai-chat-usage", 1)):
            url = f"/v1/streams/{stream_id}/events?format={form}"
            whole = frames(await served.get(url))
            assert ("usage" in whole[0][1]) == bool(more)
            for number, (place, _) in enumerate(whole[:-1]):
                rest = await served.get(url, headers={"Last-Event-ID": place, "Accept": "application/json"})
                assert frames(rest) == whole[number + 1 :]
            assert (await served.get(f"{url}&offset={whole[-1][0]}")).status == 204
        completion = (await served.get(f"/v1/streams/{stream_id}?format=openai-chat&wait=5")).json()
        assert completion["object"] == "chat.completion"


async def test_two_retries_at_once_find_the_stream_of_the_first_try(served: Api) -> None:
    """Within the same minute, of the same body and tenant."""
    first = await asked(served)
    retries = await asyncio.gather(*(asked(served, RETRY) for _ in range(4)))
    assert {answer.headers["X-Stream-Id"] for answer in retries} == {first.headers["X-Stream-Id"]}
    assert all(frames(answer) == frames(first) for answer in retries)
    other = await asked(served, RETRY, temperature=0.5)
    assert other.headers["X-Stream-Id"] != first.headers["X-Stream-Id"]


async def test_retries_whose_first_try_never_came_start_one_stream(served: Api) -> None:
    """A retry is the first that a relay hears of when the connection broke before the request came."""
    retries = await asyncio.gather(*(asked(served, RETRY) for _ in range(4)))
    assert len({answer.headers["X-Stream-Id"] for answer in retries}) == 1


@pytest.mark.parametrize("count", ["0", "-1", "x", "", "1.5"])
async def test_what_is_no_retry_is_an_answer_of_its_own(served: Api, count: str) -> None:
    """Also what says that it was never sent before, in whatever way."""
    ids = {(await asked(served, {"x-stainless-retry-count": count})).headers["X-Stream-Id"] for _ in range(2)}
    assert len(ids) == 2


async def test_a_retry_of_an_answer_that_failed_is_another_answer(served: Api) -> None:
    """All retries of it are the same one, as long as that has not failed too."""
    failing: dict[str, Any] = {
        "messages": script(tokens=9, fail_at=3, fault="cut", attempts=[1]),
        "on_interruption": "fail",
    }
    first = await asked(served, **failing)
    assert "error" in frames(first)[-1][1]
    second = await asked(served, RETRY, **failing)
    assert second.headers["X-Stream-Id"] != first.headers["X-Stream-Id"]


async def test_tenants_do_not_share_their_retries(make_api: MakeApi) -> None:
    """A body says nothing about whose it is."""
    api = await make_api(api_keys={"a": "key-a", "b": "key-b"})
    ids = set()
    for key, headers in (("key-a", {}), ("key-b", RETRY)):
        async with (
            asyncio.timeout(10),
            api.session.post(api.url + PATH, json=body(), headers=headers | {"x-api-key": key}) as answer,
        ):
            ids.add(answer.headers["X-Stream-Id"])
    assert len(ids) == 2


async def test_what_is_remembered_of_a_request_is_forgotten_in_a_minute(served: Api, redis: Redis) -> None:
    """From its start on; a key of the client's own leaves nothing of the kind."""
    await asked(served)
    (name,) = await redis.keys(keys.keyless("local", "*"))
    assert 0 < await redis.pttl(name) <= 60_000
    await redis.delete(name)
    await asked(served, {"Idempotency-Key": "k"})
    assert await redis.keys(keys.keyless("local", "*")) == []


async def test_a_client_that_leaves_does_not_end_the_answer(served: Api) -> None:
    """As with every stream: leaving is not cancelling."""
    slow = body(messages=script(tokens=20, per_second=100))
    async with served.session.post(served.url + PATH, json=slow) as answer:
        stream_id = answer.headers["X-Stream-Id"]
        await answer.content.readany()
    assert await eventually(lambda: _done(served, stream_id))


async def _done(api: Api, stream_id: str) -> bool:
    return bool((await api.state(stream_id))["status"] == "completed")


async def test_refusals_are_as_described(make_api: MakeApi) -> None:
    """In OpenAI's shape, each with its header for the SDKs."""
    described = Description(describe())
    relay = await make_api(api_keys={"acme": "key"}, max_active_per_tenant=1, max_body_bytes=5000, wait_max_s=0.1)
    shut, api = CheckedApi(relay, described), CheckedApi(relay.having(x_api_key="key"), described)
    whole = body(stream=False)
    await shut.post(PATH, json=whole)
    answer = await api.post(PATH, json=whole | {"n": 2})
    assert answer.json()["error"]["param"] == "n"
    assert answer.headers["x-should-retry"] == "false"
    answer = await api.post(PATH, json=whole | {"model": "none"})
    assert answer.json()["error"]["code"] == "model_not_found"
    await api.post(PATH, json=whole | {"user": "x" * 5000})
    await api.post(PATH, data=b"x")
    answer = await api.post(PATH, json=whole, headers={"Idempotency-Key": "k"})  # nobody answers it
    assert answer.headers["x-should-retry"] == "true"
    await api.post(PATH, json=whole | {"temperature": 1}, headers={"Idempotency-Key": "k"})
    await api.post(PATH, json=whole)
    await api.ask("DELETE", f"/v1/streams/{answer.headers['X-Stream-Id']}")
    await api.post(PATH, json=whole, headers={"Idempotency-Key": "k"})
    seen = {status for method, path, status in api.seen | shut.seen if path == PATH}
    assert {400, 401, 404, 409, 410, 413, 415, 429, 503} <= seen
