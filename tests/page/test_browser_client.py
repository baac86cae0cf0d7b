"""The browser client where it belongs: the page comes back or goes online, text is smoothed, and React shows it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, ConsoleMessage, Page

from tests.clients.support_node import NoNodeError, find_node, install
from tests.page.chat_page import numbered
from tests.page.far_relay import FarRelay, end, error, events, frame, silence, start, word
from tests.page.react_page import open_hook
from tests.support import eventually
from tests.support_services import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

_OPEN = frame(2, {"type": "block_start", "block": 0, "kind": "text"})
_LONG_WAIT = b"retry: 1000000\n\n"
_READ = """async () => {
    const { Tailrace } = await import("/clients/js/index.js");
    const told = (globalThis.told = []);
    globalThis.phases = [];
    const timeouts = { idleMs: 600_000, lostMs: 10_000_000 };
    const onConnection = ({ phase }) => globalThis.phases.push(phase);
    for await (const event of new Tailrace({ timeouts }).stream("Hello", { onConnection })) {
        told.push(event.text ?? event.type);
    }
    return told;
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def far() -> AsyncIterator[FarRelay]:
    """Run a server that answers as the test says."""
    async with FarRelay() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext, far: FarRelay) -> Page:
    """Give a tab at that server."""
    opened = await context.new_page()
    await opened.goto(far.url)
    return opened


async def _begin(page: Page) -> None:
    """Begin to read, without waiting for the end."""
    await page.evaluate(f"globalThis.reading = ({_READ})(); undefined")


async def _until(page: Page, expression: str) -> None:
    async def condition() -> Any:
        return await page.evaluate(expression)

    await eventually(condition, 10.0, expression)


async def test_a_page_that_becomes_visible_tries_at_once(far: FarRelay, page: Page) -> None:
    """Nobody who looks at the page waits out a delay of many minutes."""
    far.say(events(_LONG_WAIT, start(), _OPEN, word(3)), events(end(4)))
    await _begin(page)
    await _until(page, "globalThis.phases?.at(-1) === 'waiting'")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert await page.evaluate("globalThis.reading") == ["start", "block_start", "w3 ", "end"]


async def test_a_page_that_is_online_again_tries_at_once(far: FarRelay, page: Page, context: BrowserContext) -> None:
    """The browser's own event, when its network is back; while it is away no patience is used up."""
    far.say(events(_LONG_WAIT, start(), _OPEN, word(3)), events(end(4)))
    await _begin(page)
    await _until(page, "globalThis.phases?.at(-1) === 'waiting'")
    await context.set_offline(True)
    await _until(page, "!navigator.onLine")
    assert len(far.asked) == 1
    await context.set_offline(False)
    assert (await page.evaluate("globalThis.reading"))[-1] == "end"


async def test_a_connection_that_slept_is_dropped_when_the_page_is_looked_at(far: FarRelay, page: Page) -> None:
    """A silence longer than the relay's heartbeat is taken for death then, though ``idleMs`` is not over."""
    await page.clock.install()
    far.say(silence, events(start(), end(2)))
    await _begin(page)
    await eventually(lambda: len(far.asked) == 1)
    await page.clock.fast_forward(16_000)
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    async def tried_again() -> bool:
        await page.clock.fast_forward(1000)
        return len(far.asked) == 2

    await eventually(tried_again)
    assert await page.evaluate("globalThis.reading") == ["start", "end"]


async def test_retry_after_is_waited_out_also_by_a_page_that_becomes_visible(far: FarRelay, page: Page) -> None:
    """An overloaded server is not asked again because people look."""
    far.say(error(503, "busy", {"Retry-After": "1"}), events(start(), end(2)))
    await _begin(page)
    await _until(page, "globalThis.phases?.at(-1) === 'waiting'")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert await page.evaluate("globalThis.reading") == ["start", "end"]
    assert far.asked[1].at_s - far.asked[0].at_s >= 0.99


_SMOOTH = """async (pieces) => {
    const { Smoother } = await import("/clients/js/smooth.js");
    const shown = [];
    const smoother = new Smoother((text) => shown.push(text));
    for (const text of pieces) {
        smoother.to(text);
        while (shown.at(-1) !== text) {
            await new Promise((resolve) => setTimeout(resolve, 1));
        }
    }
    smoother.to(pieces.at(-1) + " and a last word");
    smoother.flush();
    return shown;
}"""


async def test_a_burst_is_shown_at_a_steady_pace(page: Page) -> None:
    """Bit by bit, never half a character, never backwards unless taken back; all of it at the end."""
    text = "\U0001f30a" * 100
    shown: list[str] = await page.evaluate(_SMOOTH, [text])
    assert len(shown) > 5
    assert all(text.startswith(part) for part in shown[:-1])
    assert max(len(after) - len(before) for before, after in pairwise(shown[:-1])) < 50
    assert shown[-1] == text + " and a last word"


async def test_what_is_taken_back_is_gone_and_a_replay_appears_whole(page: Page) -> None:
    """A shorter text in its place; and thousands of characters at once are no writing."""
    replay = "x" * 5000
    shown: list[str] = await page.evaluate(_SMOOTH, ["a long beginning", "b", replay])
    assert "b" in shown
    assert shown[shown.index("b") + 1] == replay


async def test_whoever_asked_for_less_motion_sees_all_at_once(page: Page) -> None:
    """One step."""
    await page.emulate_media(reduced_motion="reduce")
    shown: list[str] = await page.evaluate(_SMOOTH, ["a burst of text"])
    assert shown[0] == "a burst of text"


@pytest.fixture(params=[18, 19])
def react(request: pytest.FixtureRequest) -> int:
    """Give a major version of React, installed from npm."""
    try:
        find_node()
    except NoNodeError as problem:
        pytest.skip(str(problem))
    install()
    major: int = request.param
    return major


@pytest_asyncio.fixture(loop_scope="session")
async def hook(context: BrowserContext, relay: Service, react: int) -> AsyncIterator[Page]:
    """Give a tab with the hook in strict mode. Fails the test if React or a script in it complained."""
    opened = await context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda told: complaints.append(str(told)))
    opened.on("console", lambda told: complaints.append(told.text) if _is_complaint(told) else None)
    await open_hook(opened, relay.url, react)
    await opened.evaluate("show({})")
    await _until(opened, "globalThis.chat?.status === 'idle'")
    assert str(await opened.evaluate("reactVersion")).startswith(f"{react}.")
    yield opened
    assert complaints == []


def _is_complaint(told: ConsoleMessage) -> bool:
    """Tell whether React has complained; Chromium itself notes every refused request."""
    return told.type in ("error", "warning") and not told.text.startswith("Failed to load resource")


def _ask(**script: Any) -> str:
    return f"void chat.ask({json.dumps(json.dumps(script))})"


_DONE = "['completed', 'cancelled', 'failed', 'incomplete'].includes(chat.status) && chat.connection === 'closed'"


async def test_the_hook_shows_an_answer_as_it_comes(hook: Page) -> None:
    """The text grows over many renders, and is whole at the end."""
    await hook.evaluate(_ask(tokens=60, per_second=60))
    await _until(hook, _DONE)
    shown: list[str] = await hook.evaluate("shown")
    assert len(shown) > 10
    assert all(numbered(60).startswith(text) for text in shown)
    assert await hook.inner_text("#text") == numbered(60)
    assert await hook.evaluate("started") == [await hook.evaluate("chat.streamId")]
    assert await hook.evaluate("[chat.error, chat.usage.output_tokens]") == [None, 60]


async def test_the_hook_follows_a_stream_that_was_begun_before(hook: Page) -> None:
    """After a reload the id is enough; in strict mode, where effects run twice, too."""
    await hook.evaluate(_ask(tokens=80, per_second=60))
    await _until(hook, "chat.text.includes('w9')")
    stream_id = await hook.evaluate("started[0]")
    await hook.reload()
    await _until(hook, "globalThis.show !== undefined")
    await hook.evaluate("(streamId) => show({ streamId })", stream_id)
    await _until(hook, "globalThis.chat?.status === 'completed'")
    await _until(hook, _DONE)
    assert await hook.inner_text("#text") == numbered(80)


async def test_the_hook_cancels_and_asks_again(hook: Page) -> None:
    """Cancelled is a status, not an error; the next answer takes its place."""
    await hook.evaluate(_ask(tokens=5000, per_second=60))
    await _until(hook, "chat.text.includes('w3')")
    await hook.evaluate("chat.cancel()")
    await _until(hook, _DONE)
    assert await hook.evaluate("[chat.status, chat.error]") == ["cancelled", None]
    await hook.evaluate(_ask(tokens=4))
    await _until(hook, f"chat.status === 'completed' && {_DONE}")
    assert await hook.inner_text("#text") == numbered(4)


async def test_the_hook_says_what_failed(hook: Page) -> None:
    """A refused request and a failed answer are both ``error``."""
    await hook.evaluate("void chat.ask({ model: 'no-such', messages: [{ role: 'user', content: 'x' }] })")
    await _until(hook, "chat.error?.code === 'unknown_model'")
    await hook.evaluate(_ask(tokens=9, fail_at=4, fault="error", attempts=[1, 2, 3]))
    await _until(hook, "chat.status === 'failed' && chat.connection === 'closed'")
    assert await hook.evaluate("chat.error.code") == "provider_error"
    assert await hook.inner_text("#text") == numbered(4)


async def test_a_component_that_is_gone_reads_no_more(hook: Page) -> None:
    """Its connection is closed; the answer goes on without it."""
    await hook.evaluate(_ask(tokens=200, per_second=60))
    await _until(hook, "chat.text.includes('w3')")
    stream_id = await hook.evaluate("started[0]")
    await hook.evaluate("globalThis.last = shown.length; show(null)")
    await _until(hook, f"fetch('/v1/streams/{stream_id}').then((r) => r.json()).then((s) => s.status === 'completed')")
    assert await hook.evaluate("shown.length - last") <= 1
