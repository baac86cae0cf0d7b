"""Asking and reading: states, figures, Stop, failures, several turns, several tabs, and the API key."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import BrowserContext

from tests.conftest import StartService
from tests.page.chat_page import ChatPage, numbered
from tests.support_services import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_answer_streams_and_says_how_it_went(chat: ChatPage) -> None:
    """Text appears while the answer is still being written; afterwards the state and the figures stand below."""
    await chat.ask(tokens=100, per_second=60)
    await chat.until_state("streaming")
    await chat.until_says("w5")
    assert "w99" not in await chat.text()
    await chat.until_state("done")
    await chat.until_text(numbered(100))
    footer = await chat.footer()
    assert "Done" in footer
    assert "first token" in footer
    assert "100 tokens" in footer
    announced = await chat.page.inner_text("#announcer")
    assert announced == "Done. 100 words."


async def test_an_answer_that_nobody_has_taken_up_says_queued(
    relay_process: StartService, context: BrowserContext
) -> None:
    """Without a worker the page is connected and waits, and says so."""
    relay = await relay_process(TAILRACE_SIM="true").ready()
    chat = ChatPage(await context.new_page(), relay.url)
    await chat.open()
    await chat.ask(tokens=10)
    await chat.until("document.querySelector('.answer .state').textContent === 'Queued'")
    await chat.until_state("queued")
    await chat.page.keyboard.press("Escape")
    await chat.until_state("stopped")


async def test_stop_ends_the_answer_on_the_server(chat: ChatPage) -> None:
    """The Stop button cancels the stream itself, keeps what was said, and makes room for the next question."""
    await chat.ask(tokens=2000, per_second=50)
    await chat.until_says("w5")
    await chat.page.click("#stop")
    await chat.until_state("stopped")
    method, path, _ = chat.stream_requests()[-1]
    assert (method, path.rsplit("/", 1)[-1]) == ("POST", "cancel")
    state = await chat.page.evaluate(f"fetch({json.dumps(path.removesuffix('/cancel'))}).then(r => r.json())")
    assert state["status"] == "cancelled"
    await chat.until_text(state["text"])
    assert await chat.page.is_visible("#send")


async def test_a_failure_is_a_sentence_and_retry_keeps_what_was_said(chat: ChatPage) -> None:
    """A stream that fails says why; Retry asks again, and the broken answer stays readable, folded away."""
    await chat.ask(tokens=30, per_second=0, fail_at=10, fault="error", attempts=[1, 2, 3])
    await chat.until_state("failed")
    await chat.until_text(numbered(10))
    note = await chat.page.inner_text(".answer .note")
    assert note.endswith(".")
    assert "Error" not in note
    await chat.page.click("text=Retry")
    await chat.until("document.querySelectorAll('details .answer').length === 1")
    await chat.until_state("failed")
    await chat.page.click("text=What was said before")
    kept = await chat.page.inner_text("details .answer .prose")
    assert kept == numbered(10)


async def test_a_request_that_is_refused_says_why(chat: ChatPage) -> None:
    """A 4xx before the first byte is shown as the server's own sentence, not retried."""
    await chat.page.evaluate("document.getElementById('model').replaceChildren(new Option('no-such-model'))")
    await chat.say("Hello")
    await chat.until_state("failed")
    assert "no-such-model" in await chat.page.inner_text(".answer .note")
    assert len(chat.stream_requests()) == 1


async def test_the_next_turn_carries_the_conversation(chat: ChatPage) -> None:
    """What was asked and answered goes along with the next question, in order."""
    await chat.ask(tokens=3)
    await chat.until_state("done")
    await chat.say("And now?")
    await chat.until("document.querySelectorAll('.answer[data-state=done]').length === 2")
    posts = [request for request in chat.requests if request.method == "POST"]
    sent = json.loads(posts[-1].post_data or "")
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][1]["content"] == numbered(3)


async def test_thinking_is_folded_and_tools_show_their_arguments(chat: ChatPage) -> None:
    """Thinking is there but closed; a tool call has its name and its arguments laid out."""
    await chat.ask(tokens=5, thinking=8, tools=[{"name": "measure_flow", "input": {"depth_m": 1.2}}])
    await chat.until_state("done")
    thinking = chat.page.locator("details.thinking")
    assert await thinking.get_attribute("open") is None
    assert await thinking.locator("summary").inner_text() == "Thought"
    tool = chat.page.locator("details.tool")
    await tool.wait_for()
    assert await tool.locator("summary").inner_text() == "Tool call measure_flow"
    assert await tool.locator("pre").inner_text() == '{\n  "depth_m": 1.2\n}'


async def test_two_tabs_on_one_conversation_see_the_same_answer(
    chat: ChatPage, context: BrowserContext, relay: Service
) -> None:
    """A second tab follows the answer the first one asked for, and a turn asked there appears in the first."""
    await chat.ask(tokens=80, per_second=40)
    await chat.until_says("w3")
    second = ChatPage(await context.new_page(), relay.url)
    await second.open()
    await second.until_says("w3")
    await second.until_state("done")
    await second.until_text(numbered(80))
    await chat.until_state("done")
    await second.ask(tokens=5)
    await second.until_text(numbered(5))
    await chat.until("document.querySelectorAll('.answer[data-state=done]').length === 2")
    await chat.until_text(numbered(5))
    assert second.errors == []


async def test_new_chat_leaves_the_answer_running_and_coming_back_finds_it(chat: ChatPage) -> None:
    """Leaving a conversation does not stop its answer; it is listed, and opening it goes on."""
    await chat.ask(tokens=120, per_second=60)
    await chat.until_says("w3")
    await chat.page.click("#new-chat")
    await chat.until("!document.getElementById('welcome').hidden")
    await chat.page.click("#earlier-list a")
    await chat.until_state("done")
    await chat.until_text(numbered(120))


async def test_the_page_asks_for_an_api_key_and_forgets_it_with_the_tab(
    relay_process: StartService, worker_process: StartService, context: BrowserContext
) -> None:
    """Where keys are configured the page asks once, uses the key, and stores it for the session alone."""
    keys = json.dumps({"mill": "the-key-of-the-mill"})
    worker = worker_process(TAILRACE_SIM="true")
    relay = await relay_process(TAILRACE_SIM="true", TAILRACE_API_KEYS=keys).ready()
    await worker.ready()
    chat = ChatPage(await context.new_page(), relay.url)
    await chat.page.goto(relay.url)
    await chat.until("document.getElementById('key-dialog').open")
    await chat.page.fill("#key-input", "wrong")
    await chat.page.keyboard.press("Enter")
    await chat.until("document.getElementById('key-dialog').open && document.getElementById('key-input').value === ''")
    await chat.page.fill("#key-input", "the-key-of-the-mill")
    await chat.page.keyboard.press("Enter")
    await chat.until("!document.getElementById('model').hidden")
    await chat.ask(tokens=5)
    await chat.until_state("done")
    stored = await chat.page.evaluate("[JSON.stringify(localStorage), JSON.stringify(sessionStorage)]")
    assert "the-key-of-the-mill" not in stored[0]
    assert "the-key-of-the-mill" in stored[1]
