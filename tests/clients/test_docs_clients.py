"""docs/clients.md: every snippet is run as it stands there, on a real relay, and cut off in the middle."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from playwright.async_api import Page, Route

from shared.sse import SseParser
from tests.clients.support_node import Node
from tests.clients.support_snippets import (
    KEY,
    MODEL,
    TEXT,
    bundle,
    frail,
    output,
    pointed,
    run_node,
    run_python,
    snippets,
)
from tests.support import ROOT, eventually
from tests.support_browser import chromium
from tests.support_services import Service, lasting_system

SNIPPETS = snippets()
PYTHON = ("anthropic", "openai-chat", "openai-responses", "tailrace")
NODE_JS = ("anthropic-node", "openai-chat-node", "openai-responses-node", "client-js")
OTHERS = ("use-chat", "workflow", "event-source-link", "event-source", "websocket", "use-tailrace", "curl")
WAYS = ("connect", "resume")
CUTS = (2000, 2000)
"""After how many bytes the first two connections are cut: in the middle of the answer, in every dialect."""

_MOUNT = """
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import { Chat } from "./snippet.jsx";
createRoot(document.getElementById("root")).render(createElement(Chat, { id: location.hash.slice(1) }));
"""
_SHOWN = "document.getElementById('root').innerText"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a system that wants a key, and whose simulated model is called as the one in the document."""
    models = {MODEL: {"provider": "sim"}}
    settings = {"TAILRACE_API_KEYS": json.dumps({"acme": KEY}), "TAILRACE_MODELS": json.dumps(models)}
    with lasting_system(tmp_path_factory.mktemp("docs"), **settings) as running:
        yield running


@asynccontextmanager
async def tab(url: str, script: str, fragment: str = "") -> AsyncIterator[Page]:
    """Open a page of the relay's origin in a browser, with this module as its only content."""
    page_text = '<!doctype html><div id="root"></div><script type="module" src="/docs/script.js"></script>'

    async def fulfil(route: Route) -> None:
        is_script = route.request.url.endswith(".js")
        kind, body = ("text/javascript", script) if is_script else ("text/html", page_text)
        await route.fulfill(content_type=f"{kind}; charset=utf-8", body=body)

    async with chromium() as browser:
        # What is fulfilled here comes from no address, which Chromium takes for a public one.
        page = await browser.new_page(permissions=["local-network-access"])
        await page.route("**/docs/*", fulfil)
        await page.goto(f"{url}/docs/page.html#{fragment}")
        yield page


async def until(page: Page, expression: str) -> None:
    """Wait until the expression is true in the page."""

    async def condition() -> bool:
        return bool(await page.evaluate(expression))

    try:
        await eventually(condition, 10.0, expression)
    except AssertionError as error:
        error.add_note(f"the page shows {await page.evaluate(_SHOWN)!r}")
        raise


async def component(node: Node, folder: Path, text: str, major: int = 6) -> str:
    """Return a module that renders the snippet's component."""
    (folder / "snippet.jsx").write_text(text)
    (folder / "mount.jsx").write_text(_MOUNT)
    await bundle(node, folder / "mount.jsx", folder / "out.js", "browser", major)
    return (folder / "out.js").read_text()


def test_every_snippet_has_a_test() -> None:
    """And every test its snippet."""
    assert set(SNIPPETS) == {f"{name}-{way}" for name in (*PYTHON, *NODE_JS) for way in WAYS} | set(OTHERS)


def test_every_section_is_linked() -> None:
    """The table at the top leads to each client, and nowhere else."""
    text = (ROOT / "docs" / "clients.md").read_text()
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    anchors = {heading.lower().translate(str.maketrans(" ", "-", "`()")) for heading in headings}
    assert {part.split(")")[0] for part in text.split("](#")[1:]} == anchors


@pytest.mark.parametrize("name", PYTHON)
async def test_python_connects(relay: Service, tmp_path: Path, name: str) -> None:
    """The whole answer."""
    assert await run_python(pointed(SNIPPETS[f"{name}-connect"], relay.url), tmp_path) == TEXT


@pytest.mark.parametrize("name", [*(f"{name}-resume" for name in PYTHON), "tailrace-connect"])
async def test_python_resumes(relay: Service, tmp_path: Path, name: str) -> None:
    """The whole answer, each word once, although its connection was cut twice, or left by the snippet itself."""
    async with frail(relay.url, *(() if name == "tailrace-resume" else CUTS)) as url:
        assert await run_python(pointed(SNIPPETS[name], url), tmp_path) == TEXT


@pytest.mark.parametrize("name", NODE_JS)
async def test_node_connects(relay: Service, node: Node, name: str) -> None:
    """The whole answer."""
    assert await run_node(pointed(SNIPPETS[f"{name}-connect"], relay.url), node) == TEXT


@pytest.mark.parametrize("name", [*(f"{name}-resume" for name in NODE_JS), "client-js-connect"])
async def test_node_resumes(relay: Service, node: Node, name: str) -> None:
    """The whole answer, each word once, although its connection was cut twice, or left by the snippet itself."""
    async with frail(relay.url, *(() if name == "client-js-resume" else CUTS)) as url:
        assert await run_node(pointed(SNIPPETS[name], url), node) == TEXT


def failing(name: str, url: str) -> str:
    """Return a snippet whose question has an answer that fails."""
    fails = json.dumps({"tokens": 3, "fail_at": 0, "fault": "refused"})
    return pointed(SNIPPETS[name], url).replace('"Why?"', json.dumps(fails))


@pytest.mark.parametrize("name", [f"{name}-resume" for name in PYTHON[:3]])
async def test_python_stops_at_an_answer_that_fails(relay: Service, tmp_path: Path, name: str) -> None:
    """With the error or without: it does not ask for it for ever."""
    with suppress(AssertionError):
        await run_python(failing(name, relay.url), tmp_path)


@pytest.mark.parametrize("name", [f"{name}-resume" for name in NODE_JS[:3]])
async def test_node_stops_at_an_answer_that_fails(relay: Service, node: Node, name: str) -> None:
    """With the error or without: it does not ask for it for ever."""
    with suppress(AssertionError):
        await run_node(failing(name, relay.url), node)


@pytest.mark.parametrize("major", [6, 7])
async def test_use_chat_shows_an_answer_and_goes_on_after_a_reload(
    relay: Service, node: Node, tmp_path: Path, major: int
) -> None:
    """The chat's id is all that the page keeps."""
    text = pointed(SNIPPETS["use-chat"], relay.url).replace("/api/chat", "/api/chat" if major == 6 else "/api/v7/chat")
    # Slowly: to a page that comes back after the end there is nothing to resume.
    text = text.replace('"Why?"', json.dumps(json.dumps({"tokens": 40, "per_second": 10})))
    async with tab(relay.url, await component(node, tmp_path, text, major), f"docs-{major}") as page:
        await page.click("text=Ask")
        await until(page, f"{_SHOWN}.includes('w3 ')")
        await page.reload()
        await until(page, f"{_SHOWN}.endsWith({json.dumps(TEXT)})")


@pytest.mark.parametrize("major", [6, 7])
async def test_the_workflow_transport_comes_back_by_itself(
    relay: Service, node: Node, tmp_path: Path, major: int
) -> None:
    """Nobody touches the page."""
    async with frail(relay.url, *CUTS) as url:
        text = pointed(SNIPPETS["workflow"], url).replace("/api/", "/api/" if major == 6 else "/api/v7/")
        async with tab(url, await component(node, tmp_path, text, major), f"run-{major}") as page:
            await page.click("text=Ask")
            await until(page, f"{_SHOWN} === {json.dumps('Why?' + TEXT)}")


async def test_use_tailrace_comes_back_by_itself_and_after_a_reload(relay: Service, node: Node, tmp_path: Path) -> None:
    """Cut twice, and reloaded."""
    async with frail(relay.url, *CUTS) as url:
        script = await component(node, tmp_path, pointed(SNIPPETS["use-tailrace"], url))
        async with tab(url, script) as page:
            await page.click("text=Ask")
            await until(page, f"{_SHOWN}.includes('w3 ')")
            await page.reload()
            await until(page, f"{_SHOWN} === {json.dumps(TEXT)}")


_SHOW = "const show = (text) => document.getElementById('root').append(text);\n"


async def test_an_event_source_reads_a_signed_link(relay: Service, node: Node) -> None:
    """Made by who has the key; read without one, and resumed by the browser itself."""
    link = await run_node(pointed(SNIPPETS["event-source-link"], relay.url), node)
    async with frail(relay.url, *CUTS[:1]) as url:
        script = f"{_SHOW}const url = {json.dumps(link)};\n{pointed(SNIPPETS['event-source'], url)}"
        async with tab(url, script) as page:
            await until(page, f"{_SHOWN} === {json.dumps(TEXT)}")


async def test_a_websocket_goes_on_after_a_cut(relay: Service) -> None:
    """By the offset of the last event. The cut comes sooner, since what a socket tells a browser is compressed."""
    async with frail(relay.url, 1300, 1300) as url, tab(url, _SHOW + pointed(SNIPPETS["websocket"], url)) as page:
        await until(page, f"{_SHOWN} === {json.dumps(TEXT)}")


async def test_curl_gets_the_rest(relay: Service, tmp_path: Path) -> None:
    """What two files hold together is the answer."""
    async with frail(relay.url, CUTS[0]) as url:
        await output("sh", "-c", pointed(SNIPPETS["curl"], url), cwd=tmp_path)
    told = [event for name in ("events", "rest") for event in _events((tmp_path / name).read_bytes())]
    assert "".join(event.get("text", "") for event in told) == TEXT


def _events(body: bytes) -> list[dict[str, str]]:
    return [json.loads(frame.data) for frame in SseParser().feed(body) if frame.data]
