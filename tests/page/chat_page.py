"""The page as a person uses it: a driver for the tests, on top of a real browser."""

from __future__ import annotations

import json
from typing import Any

from playwright.async_api import Page, Request

from tests.support import eventually

ANSWER_DEADLINE_S = 20.0
_STATE = "[...document.querySelectorAll('#turns > .turn > .answer')].at(-1)?.dataset.state ?? ''"
_TEXT = "[...document.querySelectorAll('#turns > .turn > .answer')].at(-1)?.querySelector('.prose')?.innerText ?? ''"


def numbered(tokens: int) -> str:
    """Return what the simulated model says in that many tokens."""
    return " ".join(f"w{index}" for index in range(tokens))


class ChatPage:
    """One browser tab with the page in it, and what it has asked of the server."""

    def __init__(self, page: Page, url: str) -> None:
        """Take an empty tab and the relay's address. Every error of a script in it is kept for ``errors``."""
        self.page = page
        self.url = url
        self.requests: list[Request] = []
        self.errors: list[str] = []
        page.on("request", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, request: Request) -> None:
        # A bound method of ours: Playwright marks its handlers, and one of a list cannot be marked.
        self.requests.append(request)

    async def open(self, fragment: str = "") -> None:
        """Load the page and wait until it knows the models."""
        await self.page.goto(f"{self.url}/{fragment}")
        await self.until("!document.getElementById('model').hidden")

    async def ask(self, **script: Any) -> None:
        """Send a script to the simulated model."""
        await self.say(json.dumps(script))

    async def say(self, text: str) -> None:
        """Type a question and send it with the keyboard."""
        await self.page.fill("#question", text)
        await self.page.press("#question", "Enter")

    async def until(self, expression: str, deadline_s: float = ANSWER_DEADLINE_S) -> Any:
        """Wait until the JavaScript expression is true in the page, and return it."""

        async def condition() -> Any:
            return await self.page.evaluate(expression)

        return await eventually(condition, deadline_s, expression)

    async def until_state(self, *states: str, deadline_s: float = ANSWER_DEADLINE_S) -> None:
        """Wait until the last answer is in one of these states and all its text is shown."""
        await self.until(f"{json.dumps(states)}.includes({_STATE})", deadline_s)

    async def until_says(self, text: str) -> None:
        """Wait until the last answer contains the text."""
        await self.until(f"({_TEXT}).includes({json.dumps(text)})")

    async def until_text(self, text: str) -> None:
        """Wait until the last answer is exactly this text: letters take some frames to appear."""

        async def condition() -> bool:
            shown = await self.text()
            assert shown == text
            return True

        await eventually(condition, 2.0, "the text of the last answer")

    async def text(self) -> str:
        """Return what the last answer shows."""
        return str(await self.page.evaluate(_TEXT))

    async def footer(self) -> str:
        """Return the line below the last answer."""
        return await self.page.locator("#turns > .turn > .answer > footer").last.inner_text()

    def stream_requests(self) -> list[tuple[str, str, str | None]]:
        """Return what was asked about streams: method, path, and the offset to resume from."""
        found = []
        for request in self.requests:
            path = request.url.removeprefix(self.url)
            if path.startswith("/v1/streams"):
                found.append((request.method, path, request.headers.get("last-event-id")))
        return found
