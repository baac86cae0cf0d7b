"""clients/js and a real relay: cut on the way again and again, the relay killed under it, the end and the erased."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from tests.clients.support_node import Node
from tests.conftest import StartService
from tests.faults.links import Fate, Link
from tests.support import eventually, free_port
from tests.support_services import Service

SIM = {"TAILRACE_SIM": "true"}


def _words(count: int) -> str:
    return " ".join(f"w{index}" for index in range(count))


async def _read(node: Node, url: str, **job: Any) -> dict[str, Any]:
    told = await node.run("browser_client.mjs", json.dumps({"url": url} | job))
    assert len(told) == 1
    found: dict[str, Any] = told[0]
    return found


async def test_an_answer_survives_cuts_on_the_way(node: Node, relay: Service) -> None:
    """Each connection is reset a little later than the one before; every word comes once."""
    grows = count(600, 300)
    async with Link(lambda: [urlsplit(relay.url).port or 0]) as link:
        link.draw = lambda: Fate("cut", next(grows))
        request = json.dumps({"tokens": 60, "per_second": 200})
        reading = await _read(node, f"http://127.0.0.1:{link.port}", request=request)
        assert link.struck >= 3
    assert reading["text"] == _words(60)
    assert "".join(event.get("text", "") for event in reading["told"]) == _words(60)
    assert reading["status"] == "completed"


async def test_a_relay_killed_and_started_again_is_ridden_out(
    node: Node, relay_process: StartService, worker_process: StartService
) -> None:
    """The client tries until the relay is back, and reads on."""
    worker = worker_process(**SIM)
    relay = await relay_process(**SIM, TAILRACE_PORT=str(free_port())).ready()
    await worker.ready()
    request = json.dumps({"tokens": 200, "per_second": 80})
    reading = asyncio.create_task(_read(node, relay.url, request=request), name="reading")
    stream_id = (await relay.event("stream.started", 20.0))["stream"]
    async with aiohttp.ClientSession(relay.url) as session:
        await eventually(lambda: _has_words(session, stream_id), what="the answer has begun")
    relay.kill()
    relay.start()
    await relay.ready()
    told = await reading
    assert told["text"] == _words(200)
    assert told["phases"].count("waiting") >= 1


async def _has_words(session: aiohttp.ClientSession, stream_id: str) -> bool:
    async with session.get(f"/v1/streams/{stream_id}") as state:
        return "w5 " in (await state.json())["text"]


async def test_the_end_and_the_erased(node: Node, relay: Service) -> None:
    """Who has the end is told nothing more (204); an erased stream is gone (410)."""
    first = await _read(node, relay.url, request=json.dumps({"tokens": 3}))
    again = await _read(node, relay.url, follow=first["id"], options={"offset": first["offset"]})
    assert (again["told"], again["ended"], again["error"]) == ([], True, None)
    async with aiohttp.ClientSession() as session, session.delete(f"{relay.url}/v1/streams/{first['id']}") as erased:
        assert erased.status == 204
    error = (await _read(node, relay.url, follow=first["id"]))["error"]
    assert (error["status"], error["code"]) == (410, "gone")


async def test_an_answer_is_cancelled(node: Node, relay: Service) -> None:
    """The reading goes on to the end event, which says so."""
    reading = await _read(node, relay.url, request=json.dumps({"tokens": 5000, "per_second": 50}), cancelAt=5)
    assert reading["status"] == "cancelled"
    assert reading["told"][-1]["type"] == "end"
