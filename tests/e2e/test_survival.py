"""The main job under fire: real relays, workers and Redis, killed with real signals; every reader has it all once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.conftest import StartRedis, StartService
from tests.support import eventually
from tests.support_services import Service
from tests.support_sse import SseEvent, SseReader

ENV = {"TAILRACE_SIM": "true", "TAILRACE_RETRY_MS": "100"}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP session."""
    async with aiohttp.ClientSession() as opened:
        yield opened


def request(tokens: int, per_second: float, **fields: Any) -> dict[str, Any]:
    """Return a request that the simulated model answers with so many numbered words."""
    script = {"tokens": tokens, "per_second": per_second} | fields.pop("script", {})
    return {"model": "sim", "messages": [{"role": "user", "content": json.dumps(script)}], **fields}


def words(count: int) -> str:
    """Return what the model says."""
    return " ".join(f"w{index}" for index in range(count))


def text(events: list[SseEvent]) -> str:
    """Return the text that events add up to, resets considered."""
    told = ""
    for event in events:
        if event.event == "delta":
            told += event.json().get("text", "")
        elif event.event == "reset":
            assert event.json()["keep_blocks"] == 0
            told = ""
    return told


def kinds(events: list[SseEvent], name: str) -> list[dict[str, Any]]:
    """Return the data of the events called ``name``."""
    return [event.json() for event in events if event.event == name]


async def start(session: aiohttp.ClientSession, relay: Service, body: dict[str, Any]) -> str:
    """Start a stream and return its id."""
    async with session.post(f"{relay.url}/v1/streams", json=body) as answer:
        assert answer.status == 201, await answer.text()
        started: dict[str, Any] = await answer.json()
        return str(started["id"])


async def state(session: aiohttp.ClientSession, relay: Service, stream_id: str) -> dict[str, Any]:
    """Return a stream's state."""
    async with session.get(f"{relay.url}/v1/streams/{stream_id}") as answer:
        found: dict[str, Any] = await answer.json()
        return found


def follow(session: aiohttp.ClientSession, relay: Service, stream_id: str, after: str = "") -> SseReader:
    """Return a connection that follows a stream."""
    headers = {"Last-Event-ID": after} if after else {}
    return SseReader(session, f"{relay.url}/v1/streams/{stream_id}/events", headers=headers)


async def owner_first(workers: list[Service]) -> list[Service]:
    """Return two workers, the one that runs the only stream first."""
    await eventually(lambda: any(_has_started(worker) for worker in workers), 10)
    return sorted(workers, key=_has_started, reverse=True)


def _has_started(worker: Service) -> bool:
    """Tell whether a worker has begun an attempt."""
    return any(event["event"] == "attempt.started" for event in worker.events())


async def test_an_answer_goes_on_after_its_worker_was_killed(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService
) -> None:
    """SIGKILL in the middle: another worker continues by prefill, and the reader sees one unbroken answer."""
    relay = await relay_process(**ENV).ready()
    workers = [await worker_process(**ENV).ready() for _ in range(2)]
    stream_id = await start(session, relay, request(120, 50))
    async with follow(session, relay, stream_id) as reader:
        await reader.take(20)
        (await owner_first(workers))[0].kill()
        await reader.rest()
    assert text(reader.events) == words(120)
    attempts = kinds(reader.events, "attempt")
    assert [(one["attempt"], one["reason"], one["mode"]) for one in attempts] == [
        (1, "first", "start"),
        (2, "lease_expired", "prefill"),
    ]
    assert [end["status"] for end in kinds(reader.events, "end")] == ["completed"]


async def test_a_worker_that_was_only_paused_can_write_nothing_any_more(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService
) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT: the old owner is fenced, says so, and the answer is whole."""
    relay = await relay_process(**ENV).ready()
    workers = [await worker_process(**ENV).ready() for _ in range(2)]
    stream_id = await start(session, relay, request(150, 50))
    async with follow(session, relay, stream_id) as reader:
        await reader.take(20)
        first, second = await owner_first(workers)
        first.pause()
        await second.event("attempt.started")
        first.resume()
        await reader.rest()
    assert (await first.event("attempt.lost"))["why"] == "fenced"
    assert text(reader.events) == words(150)
    assert len(kinds(reader.events, "attempt")) == 2


async def test_a_worker_that_is_told_to_stop_hands_its_answer_over(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService
) -> None:
    """SIGTERM with a short drain budget: the next worker takes over at once, and the old one exits cleanly."""
    relay = await relay_process(**ENV).ready()
    workers = [await worker_process(**ENV, TAILRACE_WORKER_DRAIN_S="0.2").ready() for _ in range(2)]
    stream_id = await start(session, relay, request(150, 50))
    async with follow(session, relay, stream_id) as reader:
        await reader.take(20)
        first = (await owner_first(workers))[0]
        first.terminate()
        await reader.rest()
    assert text(reader.events) == words(150)
    assert [one["reason"] for one in kinds(reader.events, "attempt")] == ["first", "handed_over"]
    assert await first.ended() == 0


async def test_a_reader_of_a_killed_relay_goes_on_at_another(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService
) -> None:
    """SIGKILL of the relay: from the last id on, the other relay tells the rest, once and in order."""
    one = await relay_process(**ENV).ready()
    other = await relay_process(**ENV).ready()
    await worker_process(**ENV).ready()
    stream_id = await start(session, one, request(100, 50))
    async with follow(session, one, stream_id) as reader:
        await reader.take(30)
        one.kill()
        with pytest.raises(aiohttp.ClientError):
            await reader.rest()
    async with follow(session, other, stream_id, reader.last_id) as resumed:
        await resumed.rest()
    assert text(reader.events + resumed.events) == words(100)
    offsets = [event.id for event in reader.events + resumed.events]
    assert offsets == sorted(set(offsets))


async def test_a_relay_that_is_told_to_stop_says_goodbye_with_the_offset_intact(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService
) -> None:
    """SIGTERM: readiness goes off, readers get a clean end within the budget, and come back elsewhere."""
    one = await relay_process(**ENV, TAILRACE_RELAY_DRAIN_S="1").ready()
    other = await relay_process(**ENV).ready()
    await worker_process(**ENV).ready()
    stream_id = await start(session, one, request(150, 50))
    async with follow(session, one, stream_id) as reader:
        await reader.take(30)
        one.terminate()
        await reader.rest()
    assert kinds(reader.events, "end") == []
    async with follow(session, other, stream_id, reader.last_id) as resumed:
        await resumed.rest()
    assert text(reader.events + resumed.events) == words(150)
    assert await one.ended() == 0


async def test_an_answer_goes_on_after_redis_was_killed(
    session: aiohttp.ClientSession,
    redis_server: StartRedis,
    relay_process: StartService,
    worker_process: StartService,
) -> None:
    """SIGKILL of Redis and a start from its AOF: the same attempt goes on, and the open connection tells it all."""
    server = redis_server()
    env = ENV | {"TAILRACE_REDIS_URL": server.url, "TAILRACE_REDIS_TIMEOUT_S": "1"}
    relay = await relay_process(**env).ready()
    await worker_process(**env).ready()
    stream_id = await start(session, relay, request(200, 50))
    async with follow(session, relay, stream_id) as reader:
        await reader.take(40)
        server.restart()
        await reader.rest(60)
    assert text(reader.events) == words(200)
    assert len(kinds(reader.events, "attempt")) == 1


@pytest.mark.parametrize("when", ["mid-stream", "before the first token", "queued"])
async def test_a_cancel_ends_the_stream_for_every_viewer(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService, when: str
) -> None:
    """Mid-stream, before the first token and while queued: viewers on both relays see the end, at once."""
    one, other = await relay_process(**ENV).ready(), await relay_process(**ENV).ready()
    if when != "queued":
        await worker_process(**ENV).ready()
    slow = {"first_token_ms": 60_000} if when == "before the first token" else {}
    stream_id = await start(session, one, request(5000, 50, script=slow))
    async with follow(session, one, stream_id) as near, follow(session, other, stream_id) as far:
        await near.until({"mid-stream": "delta", "before the first token": "attempt", "queued": "start"}[when])
        async with session.post(f"{other.url}/v1/streams/{stream_id}/cancel") as answer:
            assert answer.status == 200
            assert (await answer.json())["status"] == "cancelled"
        await asyncio.gather(near.rest(), far.rest())
    for reader in (near, far):
        assert [end["status"] for end in kinds(reader.events, "end")] == ["cancelled"]


async def test_a_cancel_is_not_undone_by_a_worker_that_comes_later(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService
) -> None:
    """A stream cancelled while queued is never started, though its job is still in the queue."""
    relay = await relay_process(**ENV).ready()
    cancelled = await start(session, relay, request(10, 0))
    async with session.post(f"{relay.url}/v1/streams/{cancelled}/cancel") as answer:
        assert answer.status == 200
    await worker_process(**ENV).ready()
    after = await start(session, relay, request(10, 0))

    async def completed() -> bool:
        return bool((await state(session, relay, after))["status"] == "completed")

    await eventually(completed)
    found = await state(session, relay, cancelled)
    assert (found["status"], found["text"]) == ("cancelled", "")


async def test_an_abandoned_stream_is_cancelled_and_a_watched_one_is_not(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService
) -> None:
    """With ``cancel_after_s`` the stream ends once its last viewer has gone; one still viewed elsewhere goes on."""
    one, other = await relay_process(**ENV).ready(), await relay_process(**ENV).ready()
    await worker_process(**ENV).ready()
    policy = {"when_abandoned": {"cancel_after_s": 0.3}}
    left = await start(session, one, request(5000, 50, **policy))
    kept = await start(session, one, request(5000, 50, **policy))
    async with follow(session, other, kept) as faithful:
        async with follow(session, one, left) as leaver, follow(session, one, kept) as also_leaver:
            await leaver.until("delta")
            await also_leaver.until("delta")

        async def ended() -> bool:
            return bool((await state(session, one, left))["status"] == "cancelled")

        await eventually(ended, 10)
        found = await state(session, one, left)
        assert found["stop_reason"] == "abandoned"
        await faithful.take(20)
        assert (await state(session, one, kept))["status"] == "running"
        await session.post(f"{one.url}/v1/streams/{kept}/cancel")


@pytest.mark.parametrize("fault", ["cut", "error", "overloaded"])
async def test_a_provider_that_fails_in_the_middle_is_asked_again(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService, fault: str
) -> None:
    """The provider's stream is cut or ends in an error: the next attempt continues, and the answer reads as one."""
    relay = await relay_process(**ENV).ready()
    await worker_process(**ENV, TAILRACE_RETRY_DELAY_S="0.01").ready()
    stream_id = await start(session, relay, request(40, 0, script={"fail_at": 17, "fault": fault}))
    async with follow(session, relay, stream_id) as reader:
        await reader.rest()
    assert text(reader.events) == words(40)
    assert [one["reason"] for one in kinds(reader.events, "attempt")] == ["first", "provider_error"]


async def test_a_provider_that_keeps_failing_ends_the_stream_with_its_text_kept(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService
) -> None:
    """After ``max_attempts`` the last failure becomes the error, and what was said stays."""
    relay = await relay_process(**ENV).ready()
    await worker_process(**ENV, TAILRACE_RETRY_DELAY_S="0.01").ready()
    script = {"fail_at": 17, "fault": "cut", "attempts": [1, 2, 3]}
    stream_id = await start(session, relay, request(40, 0, script=script))
    async with follow(session, relay, stream_id) as reader:
        await reader.rest()
    assert text(reader.events) == words(17)
    assert len(kinds(reader.events, "attempt")) == 3
    assert [error["code"] for error in kinds(reader.events, "error")] == ["provider_error"]
    assert [end["status"] for end in kinds(reader.events, "end")] == ["failed"]


@pytest.mark.parametrize("policy", ["restart", "fail"])
@pytest.mark.parametrize("said_by", ["request", "model"])
async def test_what_happens_on_an_interruption_is_the_requests_to_say_or_else_the_models(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService, policy: str, said_by: str
) -> None:
    """``restart`` resets the readers and tells everything anew; ``fail`` ends with an error and the text kept."""
    model = {
        "provider": "sim",
        "continuation": "prefill",
        "on_interruption": policy if said_by == "model" else "continue",
    }
    env = ENV | {"TAILRACE_MODELS": json.dumps({"sim": model})}
    relay = await relay_process(**env).ready()
    await worker_process(**env, TAILRACE_RETRY_DELAY_S="0.01").ready()
    fields = {"on_interruption": policy} if said_by == "request" else {}
    body = request(40, 0, script={"fail_at": 17, "fault": "cut"}, **fields)
    stream_id = await start(session, relay, body)
    async with follow(session, relay, stream_id) as reader:
        await reader.rest()
    ends = [end["status"] for end in kinds(reader.events, "end")]
    if policy == "restart":
        assert (text(reader.events), ends) == (words(40), ["completed"])
        assert len(kinds(reader.events, "reset")) == 1
    else:
        assert (text(reader.events), ends) == (words(17), ["failed"])
        assert [error["code"] for error in kinds(reader.events, "error")] == ["interrupted"]
