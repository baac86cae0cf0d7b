"""``/v1/responses`` without an SDK: what a query may say, whose a response is, and how long a chain may grow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis.asyncio import Redis

from shared import keys
from shared.offset import new_stream_id
from tests.relay.api import Answer, Api
from tests.relay.conftest import MakeApi, StartWorker
from tests.support_sse import SseReader


def body(**fields: Any) -> dict[str, Any]:
    """Return a request that the simulated model answers with a few words."""
    return {"model": "sim", "input": json.dumps({"tokens": 3})} | fields


async def made(api: Api, **fields: Any) -> dict[str, Any]:
    """Return a finished response."""
    answer = await api.post("/v1/responses", json=body(**fields))
    assert answer.status == 200, answer
    return dict(answer.json())


def refused(answer: Answer) -> dict[str, Any]:
    """Return OpenAI's four fields of an error."""
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return dict(error)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("stream=perhaps", "stream"),
        ("starting_after=3", "starting_after"),
        ("stream=true&starting_after=-1", "starting_after"),
        ("stream=true&starting_after=x", "starting_after"),
        ("stream=true&starting_after=", "starting_after"),
        ("include_obfuscation=true", "include_obfuscation"),
        ("include[]=message.output_text.logprobs", "include"),
    ],
)
async def test_a_query_that_cannot_be_met_is_refused_by_name(served: Api, query: str, param: str) -> None:
    """In OpenAI's shape."""
    response = await made(served)
    answer = await served.get(f"/v1/responses/{response['id']}?{query}")
    assert answer.status == 400
    assert refused(answer)["param"] == param


@pytest.mark.parametrize(("query", "param"), [("limit=0", None), ("order=up", "order"), ("after=x", "after")])
async def test_a_page_that_cannot_be_had_is_refused(served: Api, query: str, param: str | None) -> None:
    """With what it could be."""
    response = await made(served)
    answer = await served.get(f"/v1/responses/{response['id']}/input_items?{query}")
    assert answer.status == 400
    assert refused(answer)["param"] == param


async def test_a_response_belongs_to_its_tenant(make_api: MakeApi, start_worker: StartWorker) -> None:
    """To all others it does not exist, whatever they ask of it, and they cannot go on from it."""
    api = await make_api(api_keys={"one": "key-1", "two": "key-2"})
    await start_worker()
    one, two = api.having(Authorization="Bearer key-1"), api.having(Authorization="Bearer key-2")
    path = f"/v1/responses/{(await made(one))['id']}"
    assert (await one.get(path)).status == 200
    for method, rest in (
        ("GET", ""),
        ("GET", "?stream=true"),
        ("GET", "/input_items"),
        ("POST", "/cancel"),
        ("DELETE", ""),
    ):
        answer = await two.ask(method, path + rest)
        assert answer.status == 404
        assert refused(answer)["code"] == "not_found"
    answer = await two.post("/v1/responses", json=body(previous_response_id=path.rpartition("/")[2]))
    assert answer.status == 400
    assert refused(answer)["param"] == "previous_response_id"
    assert (await api.get(path)).status == 401


@pytest.mark.parametrize("response_id", ["resp_", "resp_x", "k3f9", "msg_" + "a" * 26, "resp_" + "a" * 26])
async def test_an_id_of_nothing_is_404(served: Api, response_id: str) -> None:
    """Well-formed or not."""
    for method, rest in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
        assert (await served.ask(method, f"/v1/responses/{response_id}{rest}")).status == 404


async def test_an_item_of_nobody_cannot_be_named(make_api: MakeApi, start_worker: StartWorker) -> None:
    """Nor one of another tenant's response; no more responses are read for it than is bearable."""
    api = await make_api(api_keys={"one": "key-1", "two": "key-2"})
    await start_worker()
    one, two = api.having(Authorization="Bearer key-1"), api.having(Authorization="Bearer key-2")
    item = (await made(one))["output"][0]["id"]
    for asking, name in ((two, item), (one, "msg_x"), (one, item[:-1] + "9"), (one, f"msg_{new_stream_id()}_0")):
        turn = [{"type": "item_reference", "id": name}, {"role": "user", "content": "?"}]
        answer = await asking.post("/v1/responses", json=body(input=turn))
        assert answer.status == 400
        assert refused(answer)["param"] == "input.0.id"


async def test_a_chain_may_not_grow_without_bound(make_api: MakeApi, start_worker: StartWorker) -> None:
    """What is kept of a conversation is no more than what a body may bring."""
    api = await make_api(max_body_bytes=4000)
    await start_worker()
    previous = (await made(api, input="x" * 2000))["id"]
    answer = await api.post("/v1/responses", json=body(input="x" * 2000, previous_response_id=previous))
    assert answer.status == 400
    assert refused(answer)["param"] == "previous_response_id"


async def test_what_is_kept_goes_with_the_response(served: Api, redis: Redis) -> None:
    """Nothing of it is left once it was deleted, which may be said twice."""
    response = await made(served)
    kept = keys.kept(response["id"].removeprefix("resp_"))
    assert await redis.exists(kept)
    for _ in range(2):
        answer = await served.ask("DELETE", f"/v1/responses/{response['id']}")
        assert answer.json() == {"id": response["id"], "object": "response", "deleted": True}
    assert not await redis.exists(kept)


async def test_a_key_attaches(served: Api) -> None:
    """One response, however often it is asked for."""
    keyed = served.having(Idempotency_Key=new_stream_id())
    first = await made(keyed)
    assert await made(keyed) == first


async def test_a_reader_at_the_end_is_told_nothing_more(served: Api) -> None:
    """By its number the answer is empty; by the event's id it is 204, which stops an EventSource."""
    response = await made(served)
    path = f"/v1/responses/{response['id']}?stream=true"
    async with SseReader(served.session, f"{served.url}{path}") as reader:
        events = await reader.rest()
    end = events[-1].json()["sequence_number"]
    async with SseReader(served.session, f"{served.url}{path}&starting_after={end}") as reader:
        assert await reader.rest() == []
    assert (await served.get(path, headers={"Last-Event-ID": events[-1].id})).status == 204
