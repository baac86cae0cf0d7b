"""Health, readiness and metrics, and what clients are told while Redis is away."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import StartRedis
from tests.relay.api import Answer, Api, script
from tests.relay.conftest import MakeApi, StartRelay, StartWorker
from tests.support import eventually
from tests.support_sse import SseReader

BODY = {"messages": script(tokens=5)}
PATIENCE_S = 6.0


async def test_a_relay_is_healthy_and_ready(api: Api) -> None:
    """Both say so, to GET and HEAD."""
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        answer = await api.get(path)
        assert (answer.status, answer.json()) == (200, {"status": status})
        assert (await api.ask("HEAD", path)).status == 200


async def test_a_relay_that_leaves_is_not_ready_and_keeps_nobody(start_relay: StartRelay, make_api: MakeApi) -> None:
    """Readiness goes off before anything else; who reads, or still comes, is told goodbye with the offset good."""
    api = await make_api(relay_drain_s=5.0)
    stream_id = await api.start()
    relay = await start_relay(relay_drain_s=5.0)
    leaving = Api(api.session, relay.url)
    reader = leaving.follow(stream_id)
    await reader.__aenter__()
    await reader.take(1)
    await leaving.get("/readyz")  # a connection that is open when the relay stops listening
    draining = asyncio.create_task(relay.services.connections.drain(5.0), name="test.drain")
    await eventually(lambda: relay.services.connections.draining)
    ready = await leaving.get("/readyz")
    assert (ready.status, ready.json()) == (503, {"status": "draining"})
    assert "Retry-After" in ready.headers
    assert (ready.headers["Connection"], (await leaving.get("/healthz")).status) == ("close", 200)
    async with leaving.follow(stream_id) as late:
        assert late.response.headers["Connection"] == "close"
        assert [event.event for event in await late.rest()] == ["start"]
    assert await reader.rest() == []
    await draining
    async with api.follow(stream_id, f"?offset={reader.last_id}") as again:
        assert again.response.status == 200


def routes(stream_id: str) -> list[tuple[str, str]]:
    """Return every route that needs Redis."""
    stream = f"/v1/streams/{stream_id}"
    return [
        ("POST", "/v1/streams"),
        ("POST", "/v1/streams?wait=5"),
        ("GET", "/v1/streams"),
        ("GET", stream),
        ("GET", f"{stream}/events"),
        ("GET", f"{stream}/events?mode=poll"),
        ("GET", f"{stream}/events?offset=now"),
        ("POST", f"{stream}/cancel"),
        ("DELETE", stream),
    ]


async def ask(api: Api, method: str, path: str) -> Answer:
    """Return the answer to one of ``routes``."""
    body = {"json": BODY} if (method, path.partition("?")[0]) == ("POST", "/v1/streams") else {}
    return await api.ask(method, path, deadline_s=PATIENCE_S, **body)


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_while_redis_is_away_every_route_says_so_in_time(
    make_api: MakeApi, redis_server: StartRedis, how: str
) -> None:
    """503 with ``Retry-After`` for each, whether nobody listens or nobody answers; then all is well again."""
    server = redis_server()
    api = await make_api(redis_url=server.url, redis_timeout_s=0.5, ready_grace_s=60.0)
    stream_id = await api.start()
    if how == "kill":
        server.kill()
    else:
        server.pause()
    for answer in await asyncio.gather(*(ask(api, method, path) for method, path in routes(stream_id))):
        error = answer.error()
        assert (answer.status, error["code"], error["retryable"]) == (503, "unavailable", True), answer
        assert int(answer.headers["Retry-After"]) >= 1
    for path in ("/healthz", "/readyz", "/metrics", "/v1/models", "/openapi.json"):
        assert (await api.get(path)).status == 200, f"{path} does not need Redis"
    if how == "kill":
        server.restart()
    else:
        server.resume()
    await eventually(lambda: is_well(api, stream_id), 10, "the stream is there again")


async def is_well(api: Api, stream_id: str) -> bool:
    """Tell whether the stream can be looked at and followed."""
    if (await api.get(f"/v1/streams/{stream_id}")).status != 200:
        return False
    async with api.follow(stream_id) as reader:
        return reader.response.status == 200 and bool(await reader.take(1))


async def test_an_open_connection_outlasts_redis(make_api: MakeApi, redis_server: StartRedis) -> None:
    """Signs of life go on while Redis is away, and events when it is back, on the same connection."""
    server = redis_server()
    api = await make_api(redis_url=server.url, redis_timeout_s=0.5, heartbeat_s=0.2)
    stream_id = await api.start()
    async with api.follow(stream_id) as reader:
        await reader.take(1)
        server.kill()
        reading = asyncio.create_task(reader.until("end", 30), name="test.reader")
        before = len(reader.comments)
        await eventually(lambda: len(reader.comments) >= before + 5, what="signs of life")
        server.restart()
        await eventually(lambda: is_cancelled(api, stream_id), 10)
        events = await reading
    assert events[-1].json()["status"] == "cancelled"


async def is_cancelled(api: Api, stream_id: str) -> bool:
    """Tell whether the stream could be cancelled."""
    answer = await api.post(f"/v1/streams/{stream_id}/cancel")
    return answer.status == 200 and answer.json()["status"] == "cancelled"


async def test_readiness_outlasts_a_short_absence_of_redis(make_api: MakeApi, redis_server: StartRedis) -> None:
    """It fails only after the grace, since all relays would fail together; and comes back by itself."""
    server = redis_server()
    grace_s = 2.5
    api = await make_api(redis_url=server.url, redis_timeout_s=0.5, ready_grace_s=grace_s)
    lost_s = time.monotonic()
    server.kill()
    assert (await api.get("/readyz")).status == 200
    away: dict[str, Any] = {}

    async def fails() -> bool:
        answer = await api.get("/readyz")
        away.update(answer.json(), retry_after=answer.headers.get("Retry-After"))
        return answer.status == 503

    await eventually(fails, 10)
    assert time.monotonic() - lost_s > grace_s - 1.2, "the last answer of Redis was at most one ping ago"
    assert away == {"status": "redis away", "retry_after": "1"}
    assert (await api.get("/healthz")).status == 200
    server.restart()
    await eventually(lambda: is_ready(api), 10)


async def is_ready(api: Api) -> bool:
    """Tell whether the relay is ready."""
    return (await api.get("/readyz")).status == 200


async def test_metrics_count_what_happens(make_api: MakeApi, start_worker: StartWorker) -> None:
    """In the format that Prometheus reads: streams, connections, resumes, refusals and the time to the first token."""
    await start_worker()
    api = await make_api()
    before = await samples(api)
    body = {"messages": script(tokens=20, per_second=100)}
    async with SseReader(api.session, f"{api.url}/v1/streams", method="POST", json=body) as reader:
        stream_id = (await reader.take(1))[0].json()["stream_id"]
        during = await samples(api)
        await reader.rest()
    async with api.follow(stream_id, f"?offset={reader.events[3].id}") as resumed:
        await resumed.rest()
    await api.get("/v1/streams/x")
    after = await samples(api)
    assert risen(before, during, "tailrace_streams_started_total") == 1
    assert risen(before, during, "tailrace_connections_open", mode="sse") == 1
    assert risen(before, after, "tailrace_connections_open", mode="sse") == 0
    assert risen(before, after, "tailrace_resumes_total") == 1
    assert risen(before, after, "tailrace_http_errors_total", code="not_found") == 1
    for part in ("queue", "provider", "relay", "total"):
        assert risen(before, after, "tailrace_first_token_seconds_count", part=part) == 1
    assert not any(stream_id in str(sample) for sample in after), "labels are few and bounded"


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def samples(api: Api) -> Samples:
    """Return all samples of ``/metrics``."""
    answer = await api.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.body.decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def risen(before: Samples, after: Samples, name: str, **labels: str) -> float:
    """Return by how much a sample has risen."""
    key = (name, tuple(sorted(labels.items())))
    return after.get(key, 0.0) - before.get(key, 0.0)
