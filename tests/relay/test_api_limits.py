"""Limits: how many streams and connections there may be, of one tenant and of all, and when to come back."""

from __future__ import annotations

from typing import Any

from tests.relay.api import Answer, Api, script
from tests.relay.conftest import MakeApi, StartWorker
from tests.support import eventually
from tests.support_sse import SseReader

KEYS = {"acme": "key-a", "globex": "key-b"}
BODY = {"messages": script(tokens=5)}


def told_to_wait(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """Check that the answer is this error and says when to come back; return the error."""
    error = answer.error()
    assert (answer.status, error["code"], error["retryable"]) == (status, code, True), answer
    assert int(answer.headers["Retry-After"]) >= error["retry_after_s"] > 0
    return error


async def tenants(make_api: MakeApi, **settings: Any) -> tuple[Api, Api]:
    """Return clients of two tenants of one relay."""
    relay = await make_api(api_keys=KEYS, **settings)
    return relay.having(x_api_key="key-a"), relay.having(x_api_key="key-b")


async def test_a_tenant_has_so_many_streams(make_api: MakeApi) -> None:
    """429 for one more; another tenant is not touched; a place is free again after an end."""
    acme, globex = await tenants(make_api, max_active_per_tenant=2)
    first, _ = await acme.start(), await acme.start()
    told_to_wait(await acme.post(json=BODY), 429, "rate_limited")
    await globex.start()
    await acme.post(f"/v1/streams/{first}/cancel")
    await acme.start()
    told_to_wait(await acme.post("/v1/streams?wait=1", json=BODY), 429, "rate_limited")


async def test_the_system_has_so_many_streams(make_api: MakeApi) -> None:
    """503 for anybody's next one, through any relay, until a place is free."""
    acme, globex = await tenants(make_api, max_active=2)
    first, _ = await acme.start(), await globex.start()
    other, _ = await tenants(make_api, max_active=2)
    for api in (acme, globex, other):
        told_to_wait(await api.post(json=BODY), 503, "overloaded")
    assert (await acme.ask("DELETE", f"/v1/streams/{first}")).status == 204
    await globex.start()


async def test_ended_streams_do_not_count(make_api: MakeApi, start_worker: StartWorker) -> None:
    """One after the other, as many as one likes: who has seen an end finds its place free."""
    await start_worker()
    api = await make_api(max_active_per_tenant=1, max_active=1)
    for _ in range(30):
        assert (await api.post("/v1/streams?wait=10", json=BODY)).status == 200


async def test_a_relay_has_so_many_connections(make_api: MakeApi) -> None:
    """503: another relay may have room. The others go on, and a closed one makes room."""
    api = await make_api(max_connections=2)
    stream_id = await api.start()
    readers = [api.follow(stream_id), api.follow(stream_id)]
    for reader in readers:
        await reader.__aenter__()
        await reader.take(1)
    path = f"/v1/streams/{stream_id}/events"
    for query in ("", "?mode=poll"):
        error = told_to_wait(await api.get(path + query), 503, "overloaded")
        assert error["stream_id"] == stream_id
    readers[0].cut()
    await eventually(lambda: follows(api, stream_id))
    await readers[1].__aexit__()


async def follows(api: Api, stream_id: str) -> bool:
    """Tell whether the stream can be followed."""
    async with api.follow(stream_id) as reader:
        return reader.response.status == 200


async def test_a_tenant_has_so_many_connections(make_api: MakeApi) -> None:
    """429 for one more, of each way to hold one; another tenant is not touched."""
    acme, globex = await tenants(make_api, max_connections_per_tenant=1)
    stream_id = await acme.start()
    async with acme.follow(stream_id) as reader:
        await reader.take(1)
        told_to_wait(await acme.get(f"/v1/streams/{stream_id}/events"), 429, "rate_limited")
        told_to_wait(await acme.poll(stream_id, "&wait=5"), 429, "rate_limited")
        assert await follows(globex, await globex.start())
        assert (await acme.get(f"/v1/streams/{stream_id}")).status == 200


async def test_a_start_that_finds_no_connection_names_what_it_started(make_api: MakeApi) -> None:
    """The stream runs: a client that took the 429 for "nothing happened" would pay for it twice."""
    acme, _ = await tenants(make_api, max_connections_per_tenant=1)
    async with acme.follow(await acme.start()) as reader:
        await reader.take(1)
        headers = {"Accept": "text/event-stream"}
        for query, more in (("", headers), ("?wait=5", {})):
            answer = await acme.post(f"/v1/streams{query}", json=BODY, headers=more)
            error = told_to_wait(answer, 429, "rate_limited")
            assert answer.headers["Location"] == f"/v1/streams/{error['stream_id']}"
            assert (await acme.state(error["stream_id"]))["status"] == "queued"


async def test_connections_that_have_ended_are_not_counted(make_api: MakeApi, start_worker: StartWorker) -> None:
    """Neither those that ran to the end, nor those that were cut, nor polls."""
    await start_worker()
    api = await make_api(max_connections=1)
    for _ in range(3):
        reader = SseReader(api.session, f"{api.url}/v1/streams", method="POST", json=BODY)
        async with reader:
            assert (await reader.rest())[-1].event == "end"
        stream_id = await eventually(lambda: started(api))
        assert (await api.poll(stream_id)).status == 200


async def started(api: Api) -> str:
    """Return the id of a stream that was waited for, if there was room to wait, or nothing."""
    answer = await api.post("/v1/streams?wait=10", json=BODY)
    return str(answer.json()["id"]) if answer.status == 200 else ""
