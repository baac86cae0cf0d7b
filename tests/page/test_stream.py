"""The browser client, in a browser, against a server that cuts, forgets, moves, refuses and falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page

from tests.page.chat_page import ChatPage
from tests.page.far_relay import (
    STREAM_ID,
    Answer,
    FarRelay,
    end,
    error,
    events,
    frame,
    hang_up,
    offset,
    plain,
    silence,
    start,
    word,
)
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

_OPEN = frame(2, {"type": "block_start", "block": 0, "kind": "text"})
_WHOLE = ["start", "block_start", "w3 ", "w4 ", "end"]

_READ = """async (options) => {
    const { Tailrace } = await import("/clients/js/index.js");
    const { pollingFetch } = await import("/page/polling.js");
    const told = (globalThis.told = []);
    const timeouts = { startMs: 420_000, lostMs: 420_000 };
    const client = new Tailrace({ fetch: pollingFetch(), timeouts });
    const startedMs = Date.now() - (options.ageMs ?? 0);
    globalThis.stream = client.stream("Hello", { key: "the-key", startedMs, ...options });
    try {
        for await (const event of globalThis.stream) {
            told.push(event.text ?? (event.type === "reset" ? `reset ${event.keep_blocks}` : event.type));
        }
    } catch (error) {
        return { told, code: error.code, message: error.message };
    }
    return { told, code: null, message: null };
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


async def _read(page: Page, **options: Any) -> dict[str, Any]:
    """Follow an answer to its end in the page, and return what it told."""
    found: dict[str, Any] = await page.evaluate(_READ, options)
    return found


async def _cut_after(page: Page, cut: asyncio.Event, told: int) -> None:
    """Cut the connection once the page has been told so many events."""

    async def condition() -> bool:
        return bool(await page.evaluate(f"globalThis.told?.length === {told}"))

    await eventually(condition)
    cut.set()


async def test_a_cut_connection_is_resumed_after_the_last_event(far: FarRelay, page: Page) -> None:
    """A cut in the middle of an event loses only that event, which comes again; the server is told where."""
    first, second = asyncio.Event(), asyncio.Event()
    far.say(
        events(start(), _OPEN, word(3), word(4)[:-5], cut=first),
        events(b": open\n\n", word(4), cut=second),
        events(end(5)),
    )
    found, *_ = await asyncio.gather(_read(page), _cut_after(page, first, 3), _cut_after(page, second, 4))
    assert found == {"told": _WHOLE, "code": None, "message": None}
    assert [asked.method for asked in far.asked] == ["POST", "GET", "GET"]
    assert [asked.last_event_id for asked in far.asked] == [None, offset(3), offset(4)]
    assert far.asked[1].path == f"/v1/streams/{STREAM_ID}/events"


async def test_a_clean_close_without_the_end_is_no_end(far: FarRelay, page: Page) -> None:
    """A server that leaves, to be replaced, is followed to the next one."""
    far.say(events(b"retry: 10\n\n", start(), _OPEN, word(3)), events(word(4), end(5)))
    assert (await _read(page))["told"] == _WHOLE


async def test_a_post_that_nobody_answered_is_repeated_with_its_key(far: FarRelay, page: Page) -> None:
    """Until the stream has a name every try is the same POST with the same Idempotency-Key."""
    far.say(error(503, "unavailable"), hang_up, events(start(), _OPEN, word(3), word(4), end(5)))
    assert (await _read(page))["told"] == _WHOLE
    assert {(asked.method, asked.key) for asked in far.asked} == {("POST", "the-key")}
    assert len(far.asked) == 3


async def test_a_stream_lost_soon_after_its_start_is_asked_for_again(far: FarRelay, page: Page) -> None:
    """On 404 within two minutes the same key is posted again; what had been told is told to be discarded."""
    other = "wxyz" + "f" * 22
    cut = asyncio.Event()
    far.say(
        events(start(), _OPEN, word(3), cut=cut),
        error(404, "not_found"),
        events(start(other), word(2, other), end(3, other), stream_id=other),
    )
    found, _ = await asyncio.gather(_read(page), _cut_after(page, cut, 3))
    assert found["told"] == ["start", "block_start", "w3 ", "reset 0", "start", "w2 ", "end"]
    assert [asked.method for asked in far.asked] == ["POST", "GET", "POST"]


async def test_what_is_discarded_is_replaced_on_the_page_too(far: FarRelay, page: Page) -> None:
    """A reset and what takes the place of the discarded text may come in one piece, between two frames."""
    chat = ChatPage(page, far.url)
    await chat.open()
    again = frame(6, {"type": "block_start", "block": 0, "kind": "text"})
    reset = frame(5, {"type": "reset", "keep_blocks": 0, "reason": "restart"})
    held = asyncio.Event()
    far.say(events(start(), _OPEN, word(3), word(4), cut=held), events(reset + again + word(7) + end(8)))
    await chat.say("Hello")
    await chat.until_text("w3 w4")
    held.set()
    await chat.until_state("done")
    await chat.until_text("w7")


@pytest.mark.parametrize(
    ("answer", "code"),
    [(error(404, "not_found"), "not_found"), (error(410, "gone"), "gone"), (error(400, "bad"), "bad")],
)
async def test_what_trying_again_cannot_help_is_told(far: FarRelay, page: Page, answer: Answer, code: str) -> None:
    """An old stream that is unknown, expired or refused is a failure with the server's sentence, after one request."""
    far.say(answer)
    found = await _read(page, id=STREAM_ID, offset=offset(3), ageMs=600_000)
    assert found == {"told": [], "code": code, "message": f"The server says {code}."}
    assert len(far.asked) == 1


async def test_an_offset_the_server_does_not_accept_leads_to_a_replay(far: FarRelay, page: Page) -> None:
    """What was read with it is discarded, and the stream is read from its start."""
    far.say(error(400, "invalid_offset"), events(start(), _OPEN, word(3), word(4), end(5)))
    found = await _read(page, id=STREAM_ID, offset="nonsense")
    assert found["told"] == ["reset 0", *_WHOLE]
    assert [asked.last_event_id for asked in far.asked] == ["nonsense", None]


async def test_204_is_the_end(far: FarRelay, page: Page) -> None:
    """A reader that already has the end is told so by 204, and does not come back."""
    far.say(plain(None, 204))
    assert await _read(page, id=STREAM_ID, offset=offset(5)) == {"told": [], "code": None, "message": None}
    assert len(far.asked) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_waited_out(far: FarRelay, page: Page, status: int) -> None:
    """Nobody is asked again before the time the server has named."""
    far.say(error(status, "busy", {"Retry-After": "1"}), events(start(), end(2)))
    assert (await _read(page))["told"] == ["start", "end"]
    assert far.asked[1].at_s - far.asked[0].at_s >= 0.99


async def test_something_else_that_answers_in_the_servers_place_is_not_believed(far: FarRelay, page: Page) -> None:
    """A login page of some network, with status 200, is a failed try and no answer."""
    far.say(plain({"welcome": "to this hotel"}), events(start(), end(2)))
    assert (await _read(page))["told"] == ["start", "end"]


async def test_a_dead_connection_is_dropped_and_silent_networks_are_polled(far: FarRelay, page: Page) -> None:
    """After 30 s without a byte the connection counts as dead; after two such, events are asked for as JSON."""
    await page.clock.install()
    state = {"id": STREAM_ID, "status": "running"}
    first = [{"id": offset(1), "data": {"type": "start", "stream_id": STREAM_ID, "model": "sim"}}]
    last = [{"id": offset(2), "data": {"type": "end", "status": "completed"}}]
    far.say(
        silence,
        silence,
        plain(state, 201, {"X-Stream-Id": STREAM_ID}),
        plain({"events": first, "offset": offset(1), "done": False}),
        plain({"events": [], "offset": offset(1), "done": False}),
        plain({"events": last, "offset": offset(2), "done": True}),
    )
    await page.evaluate(f"globalThis.reading = ({_READ})({{}}); undefined")
    await _outwait_silence(page, far, 1)
    await _outwait_silence(page, far, 2)
    found = await page.evaluate("globalThis.reading")
    assert found["told"] == ["start", "end"]
    assert "mode=poll" in far.asked[-1].path
    assert f"offset={offset(1)}" in far.asked[-1].path


async def _outwait_silence(page: Page, far: FarRelay, tries: int) -> None:
    """Let the time pass after which a silent connection is dropped, and then the delay before the next try."""
    await eventually(lambda: len(far.asked) == tries)
    await page.clock.fast_forward(31_000)

    async def tried_again() -> bool:
        await page.clock.fast_forward(1000)
        return len(far.asked) > tries

    await eventually(tried_again)


async def test_a_nudge_ends_the_wait(far: FarRelay, page: Page) -> None:
    """When the network is back nobody waits out the delay."""
    far.say(events(b"retry: 100000\n\n", start()), events(end(2)))
    await page.evaluate(f"globalThis.reading = ({_READ})({{}}); undefined")
    await eventually(lambda: len(far.asked) == 1)

    async def nudged() -> bool:
        await page.evaluate("globalThis.stream.nudge()")
        return len(far.asked) == 2

    await eventually(nudged)
    assert (await page.evaluate("globalThis.reading"))["told"] == ["start", "end"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
async def test_the_parser_reads_the_same_however_the_bytes_are_cut(page: Page, newline: str) -> None:
    """Fields, comments, several data lines and every kind of line end, cut at each place and at every character."""
    text = (
        ": hi\nretry: 250\n\nid: 1\nevent: delta\ndata: {\ndata:  x}\n\n"
        "data:y\nid:2\nnonsense\n\nid: 3\n\ndata\n\ndata: lost"
    )
    found: dict[str, Any] = await page.evaluate(
        """async (text) => {
            const { SseParser } = await import("/clients/js/sse.js");
            const read = (pieces) => {
                const parser = new SseParser();
                return JSON.stringify([pieces.flatMap((piece) => parser.feed(piece)), parser.retryMs]);
            };
            const whole = read([text]);
            const cuts = [...text].map((_, at) => read([text.slice(0, at), text.slice(at)]));
            return { whole: JSON.parse(whole), same: [...cuts, read([...text])].every((other) => other === whole) };
        }""",
        text.replace("\n", newline),
    )
    assert found["same"]
    frames, retry_ms = found["whole"]
    assert retry_ms == 250
    assert frames == [
        {"id": "1", "data": "{\n x}"},
        {"id": "2", "data": "y"},
        {"id": None, "data": ""},
    ]
