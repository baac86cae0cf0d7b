"""A cancel as the provider, the record and every viewer see it: real relays and workers, and a wire-true provider."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.conftest import StartService
from tests.messages_script import Script
from tests.messages_server import MessagesServer
from tests.support import eventually
from tests.support_services import Service
from tests.support_sse import SseReader

MOMENTS = {
    "mid-stream": (Script(tokens=5000, per_second=50), "delta"),
    "before the first token": (Script(first_token_ms=60_000), "usage"),
    "before the provider says anything": (Script(stall_at=0), "attempt"),
}


@pytest.fixture
async def provider() -> AsyncIterator[MessagesServer]:
    """Give a provider that records its calls and notices who hangs up."""
    async with MessagesServer() as server:
        yield server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP session."""
    async with aiohttp.ClientSession() as opened:
        yield opened


def environment(provider: MessagesServer, **more: str) -> dict[str, str]:
    """Return the settings of services whose only model is at the provider."""
    models = {"far": {"provider": "anthropic", "base_url": provider.base_url, "max_tokens": 10_000}}
    return {"ANTHROPIC_API_KEY": "test", "TAILRACE_MODELS": json.dumps(models), **more}


async def start(session: aiohttp.ClientSession, relay: Service) -> str:
    """Start a stream and return its id."""
    body = {"model": "far", "messages": [{"role": "user", "content": "How long is a river?"}]}
    async with session.post(f"{relay.url}/v1/streams", json=body) as answer:
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["id"])


async def cancel(session: aiohttp.ClientSession, relay: Service, stream_id: str) -> dict[str, Any]:
    """Cancel a stream and return its state as it is answered."""
    async with session.post(f"{relay.url}/v1/streams/{stream_id}/cancel") as answer:
        assert answer.status == 200
        return dict(await answer.json())


def follow(session: aiohttp.ClientSession, relay: Service, stream_id: str) -> SseReader:
    """Return a connection that follows a stream from its start."""
    return SseReader(session, f"{relay.url}/v1/streams/{stream_id}/events")


@pytest.mark.parametrize("when", MOMENTS)
async def test_a_cancel_hangs_up_on_the_provider_and_keeps_what_was_used(
    session: aiohttp.ClientSession,
    relay_process: StartService,
    worker_process: StartService,
    provider: MessagesServer,
    when: str,
) -> None:
    """The call is closed from our side, no other follows, and state and viewers agree about text and usage."""
    script, moment = MOMENTS[when]
    provider.say(script)
    env = environment(provider)
    near, far = await relay_process(**env).ready(), await relay_process(**env).ready()
    await worker_process(**env).ready()
    stream_id = await start(session, near)
    async with follow(session, near, stream_id) as one, follow(session, far, stream_id) as other:
        await one.until(moment)
        await eventually(lambda: provider.calls)
        state = await cancel(session, far, stream_id)
        await asyncio.wait_for(provider.calls[0].disconnected.wait(), 5)
        await asyncio.gather(one.rest(), other.rest())
    assert not provider.calls[0].finished.is_set()
    assert len(provider.calls) == 1
    assert (state["status"], state["stop_reason"], state["error"]) == ("cancelled", "cancelled", None)
    told = [event.json() for event in one.events]
    assert told == [event.json() for event in other.events]
    assert told[-1]["type"] == "end"
    assert told[-1]["usage"] == {name: count for name, count in state["usage"].items() if count}
    assert state["text"] == "".join(event.get("text", "") for event in told)
    used = state["usage"]["input_tokens"]
    assert used > 0 if when != "before the provider says anything" else used == 0


async def test_a_queued_stream_that_is_cancelled_never_reaches_the_provider(
    session: aiohttp.ClientSession, relay_process: StartService, worker_process: StartService, provider: MessagesServer
) -> None:
    """The only slot is taken: the second stream ends at once for viewers on both relays, and is never called for."""
    provider.say(Script(tokens=5000, per_second=50))
    env = environment(provider, TAILRACE_WORKER_SLOTS="1")
    near, far = await relay_process(**env).ready(), await relay_process(**env).ready()
    await worker_process(**env).ready()
    running = await start(session, near)
    await eventually(lambda: provider.calls)
    queued = await start(session, near)
    async with follow(session, near, queued) as one, follow(session, far, queued) as other:
        await asyncio.gather(one.until("start"), other.until("start"))
        state = await cancel(session, far, queued)
        await asyncio.gather(one.rest(), other.rest())
    assert (state["status"], state["attempts"], state["usage"]["output_tokens"]) == ("cancelled", 0, 0)
    assert [event.event for event in one.events] == [event.event for event in other.events] == ["start", "end"]
    await cancel(session, near, running)
    last = await start(session, near)
    async with follow(session, far, last) as reader:
        assert (await reader.rest())[-1].json()["status"] == "completed"
    assert len(provider.calls) == 2
