"""A browser's own EventSource on a signed link: it comes back by itself, and stops when it is told to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from playwright.async_api import BrowserContext, Page

from tests.conftest import StartService
from tests.faults.links import Link
from tests.page.far_page import far_page
from tests.relay.api import Api, script
from tests.relay.socket_client import joined
from tests.support import eventually
from tests.support_services import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

_LISTEN = """url => {
    window.told = [];
    window.opened = 0;
    window.source = new EventSource(url);
    window.source.onopen = () => { window.opened += 1; };
    for (const name of ["start", "delta", "reset", "end", "error"]) {
        window.source.addEventListener(name, (event) => {
            if (event.data) window.told.push([event.lastEventId, event.type, event.data]);
        });
    }
}"""
_CLOSED = 2


@asynccontextmanager
async def caller(url: str, **headers: str) -> AsyncIterator[Api]:
    """Give a client of the relay that is no browser."""
    async with aiohttp.ClientSession() as session:
        yield Api(session, url, **headers)


async def make_link(api: Api, stream_id: str, **wanted: float) -> str:
    """Return the path of a link to the stream."""
    answer = await api.post(f"/v1/streams/{stream_id}/links", json=wanted)
    assert answer.status == 201, answer
    return str(answer.json()["url"])


async def until(page: Page, expression: str) -> Any:
    """Wait until the expression is true in the page."""
    return await eventually(lambda: page.evaluate(expression), 15, expression)


async def wholly_told(api: Api, page: Page, stream_id: str) -> bool:
    """Tell whether the page was told exactly the deltas and the end that the stream has."""
    async with api.follow(stream_id) as reader:
        events = await reader.rest()
    wanted = [(event.id, event.json()) for event in events if event.event in ("start", "delta", "end")]
    told = [(offset, json.loads(data)) for offset, _, data in await page.evaluate("window.told")]
    return joined(told) == joined(wanted)


async def test_it_comes_back_by_itself_and_stops_at_the_end(context: BrowserContext, relay: Service) -> None:
    """Its socket is cut twice in mid-answer; every event comes once; after the end 204 closes it for good."""
    page = await context.new_page()
    asked: list[str] = []
    async with caller(relay.url) as api, Link(lambda: [urlsplit(relay.url).port or 0]) as wire:
        stream_id = await api.start(messages=script(tokens=200, per_second=45))
        await page.goto(f"http://127.0.0.1:{wire.port}/")
        page.on("request", lambda request: asked.append(request.url))
        await page.evaluate(_LISTEN, await make_link(api, stream_id))
        for opened in (1, 2):
            before = await page.evaluate("window.told.length")
            await until(page, f"window.opened === {opened} && window.told.length > {before + 3}")
            wire.cut_all()
        await until(page, f"window.source.readyState === {_CLOSED}")
        assert await wholly_told(api, page, stream_id)
        assert await page.evaluate("window.opened") == 3
        assert len([url for url in asked if "/v1/streams/" in url]) == 4
    await page.close()


async def test_an_expired_link_ends_it(context: BrowserContext, relay: Service) -> None:
    """It is sent away at the link's time, comes back, is refused and closes; a new link goes on from where it was."""
    page = await context.new_page()
    async with caller(relay.url) as api:
        stream_id = await api.start(messages=script(tokens=120, per_second=40))
        await page.goto(f"{relay.url}/")
        await page.evaluate(_LISTEN, await make_link(api, stream_id, lasts_s=1.5))
        await until(page, f"window.source.readyState === {_CLOSED}")
        last = (await page.evaluate("window.told"))[-1]
        assert last[1] == "delta"
        first = await page.evaluate("window.told")
        await page.evaluate(_LISTEN, f"{await make_link(api, stream_id)}&offset={last[0]}")
        await page.evaluate("first => window.told.unshift(...first)", first)
        await until(page, f"window.source.readyState === {_CLOSED}")
        assert await wholly_told(api, page, stream_id)
    await page.close()


async def test_a_revoked_link_is_refused_when_it_comes_back(context: BrowserContext, relay: Service) -> None:
    """It reads on until its connection ends; then it closes for good."""
    page = await context.new_page()
    async with caller(relay.url) as api, Link(lambda: [urlsplit(relay.url).port or 0]) as wire:
        stream_id = await api.start(messages=script(tokens=2000, per_second=50))
        await page.goto(f"http://127.0.0.1:{wire.port}/")
        await page.evaluate(_LISTEN, await make_link(api, stream_id))
        await until(page, "window.told.length > 5")
        await api.ask("DELETE", f"/v1/streams/{stream_id}/links")
        wire.cut_all()
        await until(page, f"window.source.readyState === {_CLOSED}")
        assert await page.evaluate("window.opened") == 1
        await api.post(f"/v1/streams/{stream_id}/cancel")
    await page.close()


async def test_pages_of_named_origins_alone_may_listen(
    relay_process: StartService, worker_process: StartService, context: BrowserContext
) -> None:
    """Another origin needs to be in the settings; the link is all that it needs besides."""
    async with far_page() as home, far_page() as elsewhere:
        keys = json.dumps({"acme": "key"})
        worker = worker_process(TAILRACE_SIM="true")
        relay = await relay_process(
            TAILRACE_SIM="true", TAILRACE_API_KEYS=keys, TAILRACE_CORS_ORIGINS=json.dumps([home])
        ).ready()
        await worker.ready()
        page = await context.new_page()
        async with caller(relay.url, x_api_key="key") as api:
            stream_id = await api.finished()
            url = relay.url + await make_link(api, stream_id)
            await page.goto(home)
            await page.evaluate(_LISTEN, url)
            await until(page, f"window.source.readyState === {_CLOSED}")
            assert await wholly_told(api, page, stream_id)
            await page.goto(elsewhere)
            await page.evaluate(_LISTEN, url)
            await until(page, f"window.source.readyState === {_CLOSED}")
            assert await page.evaluate("[window.opened, window.told.length]") == [0, 0]
        await page.close()


async def heard(page: Page) -> list[dict[str, Any]]:
    """Return the data of the events that the page was told, once its source is closed for good."""
    await until(page, f"window.source.readyState === {_CLOSED}")
    return [json.loads(data) for _, _, data in await page.evaluate("window.told")]


async def test_it_is_told_of_tools_and_of_a_provider_s_error(context: BrowserContext, relay: Service) -> None:
    """A call with all its arguments; and why an answer failed, before its end. Both end for good."""
    page = await context.new_page()
    async with caller(relay.url) as api:
        await page.goto(f"{relay.url}/")
        called = await api.start(messages=script(tokens=1, tools=[{"name": "weather", "input": {"city": "Graz"}}]))
        await page.evaluate(_LISTEN, await make_link(api, called))
        told = await heard(page)
        assert json.loads("".join(one.get("json", "") for one in told)) == {"city": "Graz"}
        assert (told[-1]["status"], told[-1]["stop_reason"]) == ("completed", "tool_use")
        failed = await api.start(messages=script(tokens=3, fail_at=0, fault="refused"))
        await page.evaluate(_LISTEN, await make_link(api, failed))
        *_, error, end = await heard(page)
        assert (error["type"], error["code"], error["retryable"]) == ("error", "provider_error", False)
        assert "the script says so" in error["message"]
        assert (end["type"], end["status"]) == ("end", "failed")
    await page.close()


async def test_it_is_told_of_a_cancel(context: BrowserContext, relay: Service) -> None:
    """What was said until then, and that it was cancelled; it does not come back."""
    page = await context.new_page()
    async with caller(relay.url) as api:
        stream_id = await api.start(messages=script(tokens=5000, per_second=50))
        await page.goto(f"{relay.url}/")
        await page.evaluate(_LISTEN, await make_link(api, stream_id))
        await until(page, "window.told.some(([, name]) => name === 'delta')")
        await api.post(f"/v1/streams/{stream_id}/cancel")
        assert (await heard(page))[-1]["status"] == "cancelled"
        assert await wholly_told(api, page, stream_id)
    await page.close()


async def test_it_goes_on_at_another_relay_when_its_own_is_drained(
    relay_process: StartService, worker_process: StartService, context: BrowserContext
) -> None:
    """By itself, with the link that the relay which left had made: every event comes once."""
    settings = {"TAILRACE_SIM": "true", "TAILRACE_RELAY_DRAIN_S": "0.5"}
    worker = worker_process(TAILRACE_SIM="true")
    old, new = [await relay_process(**settings).ready() for _ in range(2)]
    await worker.ready()
    page = await context.new_page()
    async with (
        caller(old.url) as api,
        caller(new.url) as other,
        Link(lambda: [urlsplit(old.url).port or 0, urlsplit(new.url).port or 0]) as wire,
    ):
        stream_id = await api.start(messages=script(tokens=150, per_second=40))
        await page.goto(f"http://127.0.0.1:{wire.port}/")
        await page.evaluate(_LISTEN, await make_link(api, stream_id))
        await until(page, "window.told.length > 5")
        old.terminate()
        assert await old.ended() == 0
        assert (await heard(page))[-1]["status"] == "completed"
        assert await page.evaluate("window.opened") == 2
        assert await wholly_told(other, page, stream_id)
    await page.close()
