"""The reader of server-sent events reads them as the standard says, within its deadlines, and can be cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support import eventually
from tests.support_sse import SseEvent, SseReader


class Script:
    """A server that sends its pieces, each as a write of its own, and then closes or keeps silent."""

    def __init__(self) -> None:
        """Send nothing yet."""
        self.pieces: list[bytes] = []
        self.silent_at_end = False
        self.accept = ""
        self.gone = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Play the script to one client."""
        self.accept = request.headers["Accept"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in self.pieces:
            await response.write(piece)
        if self.silent_at_end:
            try:
                await asyncio.Event().wait()
            finally:
                self.gone.set()
        return response


@pytest.fixture
def script() -> Script:
    """Give the script of the server."""
    return Script()


@pytest.fixture
async def reader(script: Script) -> AsyncIterator[Callable[[], SseReader]]:
    """Give a maker of readers of a server that plays ``script``."""
    app = web.Application()
    app.router.add_get("/", script.answer)
    # The test server cancels a handler whose client has gone, which is how the script notices a cut.
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield lambda: SseReader(session, str(server.make_url("/")))


async def test_events_are_read_as_the_standard_says(script: Script, reader: Callable[[], SseReader]) -> None:
    """Names, ids that stay, joined data lines, comments, ``retry`` and both kinds of line end."""
    script.pieces = [
        b"retry: 1500\n\n: open\n\n",
        b"id: 1\nevent: delta\ndata: a\ndata:b\n\n",
        b"data: c\r\n\r\n",
        b"id: 3\n\n",
        b'event: end\nid: 4\ndata: {"x": 1}\n\n',
    ]
    async with reader() as events:
        read = [event async for event in events]
    assert read == [SseEvent("1", "delta", "a\nb"), SseEvent("1", "message", "c"), SseEvent("4", "end", '{"x": 1}')]
    assert read[-1].json() == {"x": 1}
    assert (events.retry_ms, events.comments, events.last_id) == (1500, ["open"], "4")
    assert script.accept == "text/event-stream"


async def test_an_event_may_come_in_any_pieces_and_be_long(script: Script, reader: Callable[[], SseReader]) -> None:
    """Byte by byte, cut inside a character, and far beyond the stream reader's own limit for a line."""
    long = b"x" * 500_000
    script.pieces = [bytes([byte]) for byte in "id: 1\ndata: é\n\n".encode()] + [b"data: ", long, b"\n\n"]
    async with reader() as events:
        assert [event.data for event in await events.take(2)] == ["é", long.decode()]
        assert await events.rest() == []


async def test_half_an_event_is_none(script: Script, reader: Callable[[], SseReader]) -> None:
    """Without its blank line an event has not been told, and its id does not count."""
    script.pieces = [b"id: 1\ndata: a\n\n", b"id: 2\ndata: b\n"]
    async with reader() as events:
        assert await events.rest() == [SseEvent("1", "message", "a")]
    assert events.last_id == "1"


async def test_every_wait_has_a_deadline(script: Script, reader: Callable[[], SseReader]) -> None:
    """A silent server fails the test soon, and the message says how far it got."""
    script.pieces, script.silent_at_end = [b"data: a\n\n"], True
    async with reader() as events:
        await events.next()
        with pytest.raises(AssertionError, match=r"no event within 0\.05 s, after 1 from http"):
            await events.next(deadline_s=0.05)


async def test_an_answer_that_ends_too_soon_fails_the_wait(script: Script, reader: Callable[[], SseReader]) -> None:
    """Waiting for more events than there are, or for one that never comes, says what came."""
    script.pieces = [b"event: delta\ndata: a\n\n"] * 2
    async with reader() as events:
        with pytest.raises(AssertionError, match="ended after 2 of 3 events"):
            await events.take(3)
    async with reader() as events:
        with pytest.raises(AssertionError, match="ended without 'end'"):
            await events.until("end")


async def test_a_cut_is_noticed_by_the_server(script: Script, reader: Callable[[], SseReader]) -> None:
    """The connection is reset at once, as when a phone leaves its network."""
    script.pieces, script.silent_at_end = [b"id: 7\ndata: a\n\n"], True
    async with reader() as events:
        assert await events.until("message") == [SseEvent("7", "message", "a")]
        events.cut()
        await eventually(script.gone.is_set)
