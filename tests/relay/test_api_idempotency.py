"""Idempotency keys: the same key attaches, a different request under it is refused, tenants do not meet."""

from __future__ import annotations

import asyncio

from prometheus_client import REGISTRY

from tests.relay.api import Api, script
from tests.relay.conftest import MakeApi, StartWorker
from tests.support_sse import SseReader

BODY = {"messages": script(tokens=10, per_second=100)}
KEY = {"Idempotency-Key": "k-é-1"}


def provider_calls() -> float:
    """Return how often this process has called the simulated model."""
    return REGISTRY.get_sample_value("tailrace_provider_calls_total", {"provider": "sim"}) or 0.0


async def test_the_same_key_attaches(served: Api) -> None:
    """One stream, one provider call, however often it is asked for; 201 for the first, 200 for the others."""
    before = provider_calls()
    first = await served.post(json=BODY, headers=KEY)
    again = await served.post(json=BODY, headers=KEY)
    assert (first.status, again.status) == (201, 200)
    waited = await served.post("/v1/streams?wait=10", json=BODY, headers=KEY)
    reader = SseReader(served.session, f"{served.url}/v1/streams", method="POST", json=BODY, headers=KEY)
    async with reader:
        events = await reader.rest()
    ids = {answer.json()["id"] for answer in (first, again, waited)}
    assert ids == {events[0].json()["stream_id"]}
    assert events[-1].event == "end"
    state = await served.state(ids.pop())
    assert (state["status"], state["attempts"]) == ("completed", 1)
    assert provider_calls() - before == 1


async def test_the_same_key_at_the_same_time_starts_one_stream(make_api: MakeApi, start_worker: StartWorker) -> None:
    """Twenty requests at once through two relays."""
    await start_worker()
    relays = [await make_api(), await make_api()]
    before = provider_calls()
    answers = await asyncio.gather(*(relays[at % 2].post(json=BODY, headers=KEY) for at in range(20)))
    assert {answer.status for answer in answers} <= {200, 201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    await relays[0].post("/v1/streams?wait=10", json=BODY, headers=KEY)
    assert provider_calls() - before == 1


async def test_the_same_request_may_be_spelled_otherwise(api: Api) -> None:
    """What is compared is what was asked for, not the bytes that said it."""
    first = await api.post(json=BODY, headers=KEY)
    spelled = b'{ "messages" : [{"content": "{\\"tokens\\": 10, \\"per_second\\": 100}", "role": "user"}] }'
    again = await api.post(data=spelled, headers=KEY | {"Content-Type": "application/json"})
    assert again.status == 200
    assert again.json()["id"] == first.json()["id"]


async def test_another_request_under_the_key_is_refused(api: Api) -> None:
    """409, naming the stream that has the key; the stream itself is as it was."""
    first = await api.post(json=BODY, headers=KEY)
    for other in (BODY | {"max_tokens": 5}, BODY | {"metadata": {"a": "b"}}, {"messages": script(tokens=11)}):
        answer = await api.post(json=other, headers=KEY)
        error = answer.error()
        assert (answer.status, error["code"], error["retryable"]) == (409, "idempotency_conflict", False)
        assert error["stream_id"] == answer.headers["X-Stream-Id"] == first.json()["id"]
    assert (await api.post(json=BODY, headers=KEY)).json()["id"] == first.json()["id"]


async def test_other_keys_and_no_keys_start_their_own(api: Api) -> None:
    """Keys are compared whole, to the last of 256 characters."""
    headers = ({"Idempotency-Key": "k" * 255 + end} for end in "ab")
    answers = [await api.post(json=BODY, headers=header) for header in headers]
    answers += [await api.post(json=BODY), await api.post(json=BODY)]
    assert [answer.status for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 4


async def test_a_key_belongs_to_its_tenant(make_api: MakeApi) -> None:
    """The same key of two tenants is two keys: nobody learns of another's stream by guessing."""
    relay = await make_api(api_keys={"acme": "key-a", "globex": "key-b"})
    acme, globex = relay.having(x_api_key="key-a"), relay.having(x_api_key="key-b")
    first = await acme.post(json=BODY, headers=KEY)
    second = await globex.post(json=BODY | {"max_tokens": 5}, headers=KEY)
    assert (first.status, second.status) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


async def test_a_repeat_is_not_held_against_the_limit(make_api: MakeApi) -> None:
    """Who asks again for what runs already takes no further place."""
    api = await make_api(max_active_per_tenant=1)
    first = await api.post(json=BODY, headers=KEY)
    again = await api.post(json=BODY, headers=KEY)
    assert (first.status, again.status) == (201, 200)
    assert (await api.post(json=BODY)).status == 429
