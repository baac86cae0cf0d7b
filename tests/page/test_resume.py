"""What the page survives with no word lost and none said twice: reloads, killed relays, killed workers, no network."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext

from tests.conftest import StartService
from tests.page.chat_page import ChatPage, numbered
from tests.support import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_reloads_mid_answer_lose_and_double_nothing(chat: ChatPage) -> None:
    """After each of several reloads the text so far is there and the answer goes on, from where it was stored."""
    await chat.ask(tokens=300, per_second=60)
    for token in (20, 60, 100):
        await chat.until_says(f"w{token} ")
        await chat.page.reload()
        shown = await chat.text()
        assert numbered(300).startswith(shown)
    await chat.until_state("done")
    await chat.until_text(numbered(300))
    resumed = [request for request in chat.stream_requests() if request[1].endswith("/events")]
    assert len(resumed) == 3
    assert all(offset for _, _, offset in resumed)
    posts = [request for request in chat.stream_requests() if request[:2] == ("POST", "/v1/streams")]
    assert len(posts) == 1


async def test_a_reload_before_the_stream_is_known_attaches_to_it(
    relay_process: StartService, worker_process: StartService, context: BrowserContext
) -> None:
    """A page that was reloaded before the server had named the stream repeats its POST with the same key."""
    worker = worker_process(TAILRACE_SIM="true")
    relay = await relay_process(TAILRACE_SIM="true").ready()
    await worker.ready()
    chat = ChatPage(await context.new_page(), relay.url)
    await chat.open()
    await chat.ask(tokens=60, per_second=60, first_token_ms=300)
    await chat.page.reload()
    await chat.until_state("done")
    await chat.until_text(numbered(60))
    posts = [request for request in chat.requests if request.method == "POST"]
    assert len({request.headers["idempotency-key"] for request in posts}) == 1
    listed = await chat.page.evaluate("fetch('/v1/streams').then(r => r.json())")
    assert len(listed["streams"]) == 1


async def test_an_answer_that_has_ended_is_shown_again_without_asking(chat: ChatPage) -> None:
    """A finished answer comes from the browser's storage: a reload sends no request about it."""
    await chat.ask(tokens=40)
    await chat.until_state("done")
    await chat.until_text(numbered(40))
    chat.requests.clear()
    await chat.page.reload()
    await chat.until_state("done")
    await chat.until_text(numbered(40))
    await chat.until("!document.getElementById('model').hidden")
    assert chat.stream_requests() == []


async def test_a_relay_killed_and_started_again_mid_answer_is_ridden_out(
    relay_process: StartService, worker_process: StartService, context: BrowserContext
) -> None:
    """The page says that it reconnects, does so when the relay is back, and the text is whole."""
    worker = worker_process(TAILRACE_SIM="true")
    relay = await relay_process(TAILRACE_SIM="true", TAILRACE_PORT=str(free_port())).ready()
    await worker.ready()
    chat = ChatPage(await context.new_page(), relay.url)
    await chat.open()
    await chat.ask(tokens=250, per_second=60)
    await chat.until_says("w20 ")
    relay.kill()
    await chat.until_state("reconnecting")
    relay.start()
    await relay.ready()
    await chat.until_state("done")
    await chat.until_text(numbered(250))
    assert chat.errors == []


async def test_a_reload_while_the_relay_is_away_shows_the_text_so_far(
    relay_process: StartService, worker_process: StartService, context: BrowserContext
) -> None:
    """What was read is stored with its offset: it is there before the server is, and then goes on."""
    worker = worker_process(TAILRACE_SIM="true")
    relay = await relay_process(TAILRACE_SIM="true", TAILRACE_PORT=str(free_port())).ready()
    await worker.ready()
    chat = ChatPage(await context.new_page(), relay.url)
    await chat.open()
    await chat.ask(tokens=250, per_second=60)
    await chat.until_says("w20 ")
    fragment = await chat.page.evaluate("location.hash")
    await chat.page.goto("about:blank")
    relay.kill()
    relay.start()
    await relay.ready()
    await chat.page.route("**/v1/streams/**", lambda route: route.abort())
    await chat.open(fragment)
    await chat.until_state("reconnecting")
    assert (await chat.text()).startswith(numbered(20))
    await chat.page.unroute("**/v1/streams/**")
    await chat.until_state("done")
    await chat.until_text(numbered(250))


async def test_a_worker_killed_mid_answer_is_not_noticed(
    relay_process: StartService, worker_process: StartService, context: BrowserContext
) -> None:
    """Another worker goes on with the answer; the page shows one whole text."""
    first = worker_process(TAILRACE_SIM="true")
    relay = await relay_process(TAILRACE_SIM="true").ready()
    await first.ready()
    chat = ChatPage(await context.new_page(), relay.url)
    await chat.open()
    await chat.ask(tokens=200, per_second=60)
    await chat.until_says("w20 ")
    await worker_process(TAILRACE_SIM="true").ready()
    first.kill()
    await chat.until_state("done")
    await chat.until_text(numbered(200))


async def test_stop_gives_up_in_seconds_when_the_server_cannot_be_told(chat: ChatPage) -> None:
    """With the server out of reach Stop ends the answer here, and says that it may go on there."""
    await chat.ask(tokens=3000, per_second=60)
    await chat.until_says("w5")
    await chat.page.route("**/v1/streams/**", lambda route: route.abort())
    await chat.page.keyboard.press("Escape")
    await chat.until_state("stopped", deadline_s=15)
    assert "could not be told" in await chat.page.inner_text(".answer .note")
