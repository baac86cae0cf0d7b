"""The services' fixtures: real programs on a real Redis, found by what they log, and ended with the test."""

from __future__ import annotations

import aiohttp

from tests.conftest import StartService
from tests.support_sse import SseReader

SIM = {"TAILRACE_SIM": "true"}


async def test_a_relay_and_a_worker_answer(relay_process: StartService, worker_process: StartService) -> None:
    """Two processes that share nothing but Redis bring an answer to its end."""
    relay = await relay_process(**SIM).ready()
    await worker_process(**SIM).ready()
    body = {"model": "sim", "messages": [{"role": "user", "content": "Hello"}]}
    async with (
        aiohttp.ClientSession() as session,
        SseReader(session, f"{relay.url}/v1/streams", method="POST", json=body) as reader,
    ):
        events = await reader.until("end")
    assert events[0].event == "start"
    assert events[-1].json()["status"] == "completed"


async def test_a_service_ends_by_itself_when_asked(relay_process: StartService) -> None:
    """SIGTERM is a clean end, with exit code 0."""
    relay = await relay_process(**SIM).ready()
    relay.terminate()
    assert await relay.ended() == 0
