"""A browser's own WebSocket: with a key or a link among its subprotocols, from which pages, cut and resumed."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import BrowserContext, Page

from tests.conftest import StartService
from tests.faults.links import Link
from tests.page.far_page import far_page
from tests.page.test_event_source import caller
from tests.relay.api import Api, script
from tests.relay.socket_client import joined
from tests.support import eventually
from tests.support_services import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

_OPEN = """([url, protocols]) => {
    window.told = [];
    window.code = null;
    window.socket = new WebSocket(url.replace("http", "ws") + "/v1/ws", protocols);
    window.socket.onmessage = (event) => window.told.push(JSON.parse(event.data));
    window.socket.onclose = (event) => { window.code = event.code; };
    return new Promise((resolve) => {
        window.socket.onopen = () => resolve(window.socket.protocol);
        window.socket.onerror = () => resolve(null);
    });
}"""
_SAY = "message => window.socket.send(JSON.stringify(message))"
_KEY = "a key, of a tenant's"
PROTOCOL = "tailrace.v1"


def shown(key: str) -> str:
    """Return the subprotocol that shows a key."""
    return "tailrace.key." + urlsafe_b64encode(key.encode()).decode().rstrip("=")


async def until(page: Page, expression: str) -> Any:
    """Wait until the expression is true in the page."""
    return await eventually(lambda: page.evaluate(expression), 15, expression)


async def events_in(page: Page, stream_id: str) -> list[list[str]]:
    """Return the offsets and data of the events that the page was told of a stream."""
    told = await page.evaluate("window.told")
    return [[one["offset"], one["data"]] for one in told if one["type"] == "event" and one["stream"] == stream_id]


async def events_of(api: Api, stream_id: str) -> list[list[str]]:
    """Return the same as SSE tells them."""
    async with api.follow(stream_id) as reader:
        return [[event.id, event.json()] for event in await reader.rest()]


async def test_a_page_of_the_relay_starts_and_follows_many_streams(context: BrowserContext, relay: Service) -> None:
    """With compression, which a browser always offers; after a cut each goes on from its own offset."""
    page = await context.new_page()
    async with caller(relay.url) as api, Link(lambda: [urlsplit(relay.url).port or 0]) as wire:
        origin = f"http://127.0.0.1:{wire.port}"
        await page.goto(f"{origin}/")
        assert await page.evaluate(_OPEN, [origin, [PROTOCOL]]) == PROTOCOL
        assert await page.evaluate("window.socket.extensions") == "permessage-deflate; server_max_window_bits=13"
        for number in range(3):
            request = {"messages": script(tokens=100 + 20 * number, per_second=80)}
            await page.evaluate(_SAY, {"type": "create", "id": str(number), "request": request})
        await until(page, "window.told.length > 60")
        wire.cut_all()
        await until(page, "window.code === 1006")
        told = await page.evaluate("window.told")
        streams = [one["stream"] for one in told if one["type"] == "created"]
        first = {stream_id: await events_in(page, stream_id) for stream_id in streams}
        assert await page.evaluate(_OPEN, [origin, [PROTOCOL]]) == PROTOCOL
        for stream_id, events in first.items():
            await page.evaluate(_SAY, {"type": "follow", "stream": stream_id, "offset": events[-1][0]})
        await until(page, "window.told.filter((one) => one.type === 'unsubscribed').length === 3")
        for stream_id, events in first.items():
            assert joined(events + await events_in(page, stream_id)) == joined(await events_of(api, stream_id))
        await page.evaluate("window.socket.close(1000)")
        await until(page, "window.code === 1000")
    await page.close()


async def test_a_page_shows_a_key_or_a_link_and_needs_an_origin_that_is_named(
    relay_process: StartService, worker_process: StartService, context: BrowserContext
) -> None:
    """What stands against it, it learns from the close code; a page of another site learns nothing."""
    async with far_page() as home, far_page() as elsewhere:
        worker = worker_process(TAILRACE_SIM="true")
        relay = await relay_process(
            TAILRACE_SIM="true",
            TAILRACE_API_KEYS=json.dumps({"acme": _KEY}),
            TAILRACE_CORS_ORIGINS=json.dumps([home]),
        ).ready()
        await worker.ready()
        page = await context.new_page()
        async with caller(relay.url, x_api_key=_KEY) as api:
            stream_id = await api.finished()
            token = (await api.post(f"/v1/streams/{stream_id}/links")).json()["token"]
            link = f"tailrace.link.{stream_id}.{token}"
            await page.goto(home)
            for good in (shown(_KEY), link):
                assert await page.evaluate(_OPEN, [relay.url, [PROTOCOL, good]]) == PROTOCOL
                await page.evaluate(_SAY, {"type": "follow", "stream": stream_id})
                await until(page, "window.told.at(-1)?.type === 'unsubscribed'")
                assert await events_in(page, stream_id) == await events_of(api, stream_id)
            for bad in (shown("wrong"), link + "x"):
                assert await page.evaluate(_OPEN, [relay.url, [PROTOCOL, bad]]) == PROTOCOL
                await until(page, "window.code === 4401")
                assert [told["code"] for told in await page.evaluate("window.told")] == ["unauthorized"]
            await page.goto(elsewhere)
            assert await page.evaluate(_OPEN, [relay.url, [PROTOCOL, shown(_KEY)]]) is None
            await until(page, "window.code === 1006")
        await page.close()


async def test_a_page_is_told_goodbye_and_goes_on_at_another_relay(
    relay_process: StartService, worker_process: StartService, context: BrowserContext
) -> None:
    """A deploy: the code says to come back at once, and what was told before and after is the whole."""
    settings = {"TAILRACE_SIM": "true", "TAILRACE_RELAY_DRAIN_S": "1"}
    worker = worker_process(TAILRACE_SIM="true")
    old, new = [await relay_process(**settings).ready() for _ in range(2)]
    await worker.ready()
    page = await context.new_page()
    async with Link(lambda: [urlsplit(old.url).port or 0, urlsplit(new.url).port or 0]) as wire:
        origin = f"http://127.0.0.1:{wire.port}"
        await page.goto(f"{origin}/")
        await page.evaluate(_OPEN, [origin, [PROTOCOL]])
        request = {"messages": script(tokens=150, per_second=50)}
        await page.evaluate(_SAY, {"type": "create", "request": request})
        await until(page, "window.told.length > 20")
        old.terminate()
        await until(page, "window.code === 4000")
        assert await page.evaluate("window.told.at(-1).type") == "goodbye"
        stream_id = await page.evaluate("window.told[0].stream")
        first = await events_in(page, stream_id)
        assert await old.ended() == 0
        await page.evaluate(_OPEN, [origin, [PROTOCOL]])
        await page.evaluate(_SAY, {"type": "follow", "stream": stream_id, "offset": first[-1][0]})
        await until(page, "window.told.at(-1)?.type === 'unsubscribed'")
        async with caller(new.url) as api:
            assert joined(first + await events_in(page, stream_id)) == joined(await events_of(api, stream_id))
    await page.close()


async def data_until_end(page: Page, stream_id: str) -> list[Any]:
    """Return the data of what the page was told of a stream, once it has ended."""
    ended = f"window.told.some((one) => one.type === 'unsubscribed' && one.stream === '{stream_id}')"
    await until(page, ended)
    return [data for _, data in await events_in(page, stream_id)]


async def test_a_page_is_told_of_tools_errors_and_its_own_cancel(context: BrowserContext, relay: Service) -> None:
    """Three streams on one socket: a call with all its arguments, why an answer failed, and one that is cancelled."""
    requests = {
        "tools": script(tokens=1, tools=[{"name": "weather", "input": {"city": "Graz"}}]),
        "failed": script(tokens=3, fail_at=0, fault="refused"),
        "cancelled": script(tokens=5000, per_second=50),
    }
    page = await context.new_page()
    async with caller(relay.url) as api:
        await page.goto(f"{relay.url}/")
        assert await page.evaluate(_OPEN, [relay.url, [PROTOCOL]]) == PROTOCOL
        for name, messages in requests.items():
            await page.evaluate(_SAY, {"type": "create", "id": name, "request": {"messages": messages}})
        await until(page, "window.told.filter((one) => one.type === 'created').length === 3")
        told = await page.evaluate("window.told")
        ids = {one["id"]: one["stream"] for one in told if one["type"] == "created"}

        called = await data_until_end(page, ids["tools"])
        assert json.loads("".join(data.get("json", "") for data in called)) == {"city": "Graz"}
        assert (called[-1]["status"], called[-1]["stop_reason"]) == ("completed", "tool_use")

        *_, error, end = await data_until_end(page, ids["failed"])
        assert (error["code"], error["retryable"], end["status"]) == ("provider_error", False, "failed")
        assert "the script says so" in error["message"]

        stream_id = ids["cancelled"]
        said = f"window.told.some((one) => one.stream === '{stream_id}' && one.event === 'delta')"
        await until(page, said)
        await page.evaluate(_SAY, {"type": "cancel", "id": "stop", "stream": stream_id})
        assert (await data_until_end(page, stream_id))[-1]["status"] == "cancelled"
        await until(page, "window.told.some((one) => one.id === 'stop' && one.type !== 'error')")
        assert joined(await events_in(page, stream_id)) == joined(await events_of(api, stream_id))

        await page.evaluate(_SAY, {"type": "create", "id": "none", "request": {"model": "none", "messages": []}})
        await until(page, "window.told.some((one) => one.id === 'none' && one.type === 'error')")
        assert await page.evaluate("window.code") is None
    await page.close()
