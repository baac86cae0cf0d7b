"""A server that serves the page's files and answers the native API as a test says, faults included."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from relay.routes.page import add_page_routes

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
STREAM_ID = "abcd" + "e" * 22


def frame(seq: int, data: dict[str, Any], stream_id: str = STREAM_ID) -> bytes:
    """Return one SSE frame with the offset that belongs to its place."""
    return f"id: {offset(seq, stream_id)}\nevent: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def offset(seq: int, stream_id: str = STREAM_ID) -> str:
    """Return the offset of the event at that place."""
    return f"{stream_id[:4]}-001-{seq:08d}-000"


def start(stream_id: str = STREAM_ID) -> bytes:
    """Return the first frame of a stream."""
    event = {
        "type": "start",
        "stream_id": stream_id,
        "provider": "sim",
        "model": "sim",
        "created_ms": 1,
        "max_tokens": 9,
    }
    return frame(1, event, stream_id)


def word(seq: int, stream_id: str = STREAM_ID) -> bytes:
    """Return the frame of a delta that says its own place."""
    return frame(seq, {"type": "delta", "block": 0, "text": f"w{seq} "}, stream_id)


def end(seq: int, stream_id: str = STREAM_ID) -> bytes:
    """Return the last frame of a stream."""
    return frame(seq, {"type": "end", "status": "completed", "usage": {"output_tokens": 2}}, stream_id)


def events(*pieces: bytes, cut: asyncio.Event | None = None, stream_id: str = STREAM_ID) -> Answer:
    """Answer with these bytes as SSE; then close cleanly, or cut the connection when the test says so.

    A browser may drop what it has received but not given out when a connection is cut: so the test says when.
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": "text/event-stream; charset=utf-8", "X-Stream-Id": stream_id}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if cut is not None and request.transport is not None:
            await cut.wait()
            request.transport.close()
        return response

    return answer


def error(status: int, code: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    """Answer with an error in the one shape."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        body = {"error": {"code": code, "message": f"The server says {code}.", "retryable": status >= 429, **more}}
        return web.json_response(body, status=status, headers=headers)

    return answer


async def silence(_request: web.Request) -> web.StreamResponse:
    """Answer with nothing at all until the client leaves, which cancels this."""
    await asyncio.get_running_loop().create_future()
    return web.Response()


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection without a byte."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


def plain(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Answer with JSON; with nothing where the body is None."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        if body is None:
            return web.Response(status=status, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    return answer


@dataclass(frozen=True)
class Asked:
    """One request about streams: when, and what the client said."""

    at_s: float
    method: str
    path: str
    last_event_id: str | None
    key: str | None


class FarRelay:
    """The server; an async context manager. ``say`` queues one answer for each request about streams."""

    def __init__(self) -> None:
        """Make the application; opens nothing yet."""
        self.asked: list[Asked] = []
        self.url = ""
        self._answers: deque[Answer] = deque()
        app = web.Application()
        add_page_routes(app)
        app.router.add_get("/v1/models", plain({"models": [{"id": "sim", "default": True}]}))
        app.router.add_route("*", "/v1/streams", self._answer)
        app.router.add_route("*", "/v1/streams/{rest:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)

    def say(self, *answers: Answer) -> None:
        """Answer the next requests about streams by these, in order."""
        self._answers.extend(answers)

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = request.headers
        asked = Asked(
            time.monotonic(),
            request.method,
            request.path_qs,
            headers.get("Last-Event-ID"),
            headers.get("Idempotency-Key"),
        )
        self.asked.append(asked)
        if not self._answers:
            return web.json_response(
                {"error": {"code": "unscripted", "message": "No more.", "retryable": False}}, status=400
            )
        return await self._answers.popleft()(request)
