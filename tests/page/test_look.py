"""What the page looks like and how it is used: narrow screens, dark mode, the keyboard, and the scroll."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext

from tests.page.chat_page import ChatPage, numbered
from tests.support_services import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

_WIDE = "| " + " | ".join(f"column {index}" for index in range(12)) + " |\n" + "|---" * 12 + "|\n| " + "x | " * 12
_LONG = "\n\n".join(
    ("`" + "a" * 300 + "`", "x" * 400, "```\n" + "y" * 500 + "\n```", _WIDE, "https://a.example/" + "z" * 300)
)


@pytest_asyncio.fixture(loop_scope="session")
async def phone(browser: Browser, relay: Service) -> AsyncIterator[ChatPage]:
    """Give a tab as wide as a small phone."""
    context = await browser.new_context(viewport={"width": 360, "height": 640})
    page = ChatPage(await context.new_page(), relay.url)
    await page.open()
    yield page
    await context.close()


async def _show(chat: ChatPage, markdown: str) -> None:
    """Put an answer with this text into the page as the renderer makes it."""
    await chat.page.evaluate(
        """async (text) => {
            const { MarkdownView } = await import("/page/markdown.js");
            const root = document.createElement("div");
            root.className = "prose";
            document.getElementById("turns").append(root);
            const view = new MarkdownView(root);
            view.append(text);
            view.finish();
        }""",
        markdown,
    )


async def test_nothing_is_wider_than_a_phone(phone: ChatPage) -> None:
    """At 360 pixels neither the empty page nor long words, code, tables and addresses make it scroll sideways."""
    widths = "[document.documentElement.scrollWidth, innerWidth]"
    assert await phone.page.evaluate(widths) == [360, 360]
    await phone.ask(tokens=30, tools=[{"name": "t" * 80, "input": {"k": "v" * 300}}])
    await phone.until_state("done")
    await phone.page.wait_for_selector(".tool pre")  # the page shows what has come at a pace
    assert await phone.page.evaluate(widths) == [360, 360]
    await _show(phone, _LONG)
    assert await phone.page.evaluate(widths) == [360, 360]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_is_readable_in_light_and_dark(
    browser: Browser, relay: Service, scheme: Literal["light", "dark"]
) -> None:
    """The page follows the system's scheme, and every kind of text has a contrast of at least 4.5."""
    context = await browser.new_context(color_scheme=scheme)
    chat = ChatPage(await context.new_page(), relay.url)
    await chat.open()
    await chat.ask(tokens=5)
    await chat.until_state("done")
    for name in _TEXTS:
        await chat.page.wait_for_selector(name, state="attached")
    contrasts = await chat.page.evaluate(_CONTRASTS, _TEXTS)
    assert (contrasts["paper"] < 0.2) == (scheme == "dark")
    low = {name: ratio for name, ratio in contrasts["text"].items() if ratio < 4.5}
    assert low == {}
    await context.close()


_TEXTS = [".question p", ".prose", ".state", ".facts", ".quiet", "#question", ".hint", "#model"]
_CONTRASTS = """(names) => {
    const luminance = (colour) => {
        const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paper = luminance(getComputedStyle(document.documentElement).backgroundColor);
    const text = {};
    for (const name of names) {
        const shown = luminance(getComputedStyle(document.querySelector(name)).color);
        text[name] = (Math.max(shown, paper) + 0.05) / (Math.min(shown, paper) + 0.05);
    }
    return { paper, text };
}"""


async def test_the_whole_page_works_by_keyboard(chat: ChatPage) -> None:
    """Asking, a second line, stopping, retrying and a new chat need no mouse, and the focus can be seen."""
    keyboard = chat.page.keyboard
    await keyboard.type("one")
    await keyboard.press("Shift+Enter")
    await keyboard.type("two")
    assert await chat.page.input_value("#question") == "one\ntwo"
    await keyboard.press("Control+A")
    await keyboard.type(json.dumps({"tokens": 2000, "per_second": 50}))
    await keyboard.press("Enter")
    await chat.until_says("w3")
    await keyboard.press("Escape")
    await chat.until_state("stopped")
    focused = "document.activeElement.textContent.trim() || document.activeElement.id"
    seen = []
    for _ in range(8):
        await keyboard.press("Shift+Tab")
        seen.append(await chat.page.evaluate(focused))
        if seen[-1] == "Regenerate":
            break
    assert seen[-1] == "Regenerate"
    outline = await chat.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    await keyboard.press("Enter")
    await chat.until_state("streaming")
    assert await chat.page.evaluate("document.activeElement.id") == "question"
    await keyboard.press("Escape")
    await chat.until_state("stopped")


async def test_the_scroll_follows_only_a_reader_at_the_end(chat: ChatPage) -> None:
    """The page stays at the growing end; a reader who scrolls up is left alone, and can jump back."""
    at_end = "document.documentElement.scrollHeight - innerHeight - scrollY < 50"
    await chat.ask(tokens=3000, per_second=400)
    await chat.until("document.documentElement.scrollHeight > innerHeight + 400")
    assert await chat.page.evaluate(at_end)
    await chat.page.mouse.move(500, 300)
    await chat.page.mouse.wheel(0, -400)
    await chat.until("!document.getElementById('to-end').hidden")
    before = await chat.page.evaluate("scrollY")
    height = await chat.page.evaluate("document.documentElement.scrollHeight")
    await chat.until(f"document.documentElement.scrollHeight > {height + 60}")
    assert await chat.page.evaluate("scrollY") <= before
    await chat.page.click("#to-end")
    await chat.until(at_end)
    await chat.page.keyboard.press("Escape")
    await chat.until_state("stopped")


async def test_listeners_are_not_shouted_at(chat: ChatPage) -> None:
    """The live region is silent while text streams, and says one sentence at the end."""
    await chat.page.evaluate(
        """() => {
            globalThis.said = [];
            const live = document.getElementById("announcer");
            new MutationObserver(() => globalThis.said.push(live.textContent))
                .observe(live, { childList: true, characterData: true, subtree: true });
        }"""
    )
    await chat.ask(tokens=60, per_second=120)
    await chat.until_state("done")
    assert await chat.until("globalThis.said.length > 0 && globalThis.said") == ["Done. 60 words."]
    live = await chat.page.evaluate("[...document.querySelectorAll('[aria-live], [role=log], [role=alert]')].length")
    assert live == 1


async def test_reduced_motion_stops_the_movement(browser: Browser, relay: Service) -> None:
    """Who asked the system for calm sees no animation and still gets the text."""
    context: BrowserContext = await browser.new_context(reduced_motion="reduce")
    chat = ChatPage(await context.new_page(), relay.url)
    await chat.open()
    await chat.ask(tokens=40, per_second=60)
    await chat.until_state("streaming")
    name = await chat.page.evaluate("getComputedStyle(document.querySelector('.answer'), '::before').animationName")
    assert name == "none"
    await chat.until_state("done")
    await chat.until_text(numbered(40))
    await context.close()
