"""A relay far away: speaks the wire contract over real sockets, and misbehaves on demand, at any byte."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

from shared.events import encode_event
from tailrace import Event, Timeouts
from tests.support import eventually

STREAM_ID = "k3f7" + "a" * 22
OTHER_ID = "q2w3" + "b" * 22
PREAMBLE = b"retry: 1\n\n: open\n\n"
QUICK = Timeouts(first_byte_s=5.0, idle_s=5.0, start_s=5.0, lost_s=5.0)
WHOLE = 1_000_000
"""More bytes than any answer here has."""


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    query: Mapping[str, str]


Reply = Callable[["FarRelay", web.Request], Awaitable[web.StreamResponse]]


def offset(seq: int, *, attempt: int = 1, stream_id: str = STREAM_ID) -> str:
    """Return the offset of the first event of entry ``attempt-seq``."""
    return f"{stream_id[:4]}-{attempt:08d}-{seq:08d}-000"


def plain(told: Event) -> dict[str, Any]:
    """Return an event as JSON data, which is how the log holds it."""
    data: dict[str, Any] = json.loads(encode_event(told))
    return data


async def read(stream: AsyncIterable[Event]) -> list[dict[str, Any]]:
    """Return what a reader is given of the stream."""
    return [plain(told) async for told in stream]


def event(name: str, /, **fields: Any) -> dict[str, Any]:
    """Return an event's JSON."""
    return {"type": name, **fields}


def answer_events(*pieces: str, stream_id: str = STREAM_ID, **end: Any) -> list[dict[str, Any]]:
    """Return the events of a whole answer of one text block."""
    start = {"stream_id": stream_id, "provider": "sim", "model": "sim", "created_ms": 1_790_000_000_000}
    attempt = {"attempt": 1, "reason": "first", "mode": "start", "provider": "sim", "model": "sim", "follows": "0-1"}
    return [
        event("start", **start, max_tokens=100),
        event("attempt", **attempt),
        event("block_start", block=0, kind="text"),
        *(event("delta", block=0, text=piece) for piece in pieces),
        event("block_stop", block=0),
        event("end", **({"status": "completed", "stop_reason": "end_turn"} | end)),
    ]


def frame(place: str, told: Mapping[str, Any]) -> bytes:
    """Return one event as it goes over the wire."""
    head = f"id: {place}\n" if place else ""
    return f"{head}event: {told['type']}\ndata: {json.dumps(told, separators=(',', ':'))}\n\n".encode()


class FarRelay:
    """Serves one stream. ``replies`` are taken one per request to read or start it, then it behaves."""

    def __init__(self) -> None:
        """Hold a short finished answer."""
        self.stream_id = STREAM_ID
        self.log: list[tuple[str, dict[str, Any]]] = []
        """Offset and data of every event; an empty offset is left out of its frame."""
        self.replies: deque[Reply] = deque()
        self.asked: list[Asked] = []
        self.gone = asyncio.Event()
        """Set when a client has closed a connection that was held open."""
        self.preamble = PREAMBLE
        self.status = "completed"
        self.url = ""
        self.tell(answer_events("Hello", ", ", "world"))

    def tell(self, events: Sequence[Mapping[str, Any]], *, attempt: int = 1) -> None:
        """Take ``events``, one an entry, as the whole log."""
        self.log = [
            (offset(seq, attempt=attempt, stream_id=self.stream_id), dict(told)) for seq, told in enumerate(events, 1)
        ]

    @property
    def events(self) -> list[dict[str, Any]]:
        """What a reader should be given."""
        return [told for _place, told in self.log]

    def body(self, after: str | None = None) -> bytes:
        """Return the whole event stream that a reader at ``after`` is sent."""
        return self.preamble + b"".join(
            frame(place, told) for place, told in self.log if after is None or place > after
        )

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Close every connection."""
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.asked.append(Asked(request.method, request.path, request.headers.copy(), body, dict(request.query)))
        if self.replies:
            return await self.replies.popleft()(self, request)
        return await serve(self, request)

    def state(self) -> dict[str, Any]:
        """Return the stream's state."""
        place = self.log[-1][0] if self.log else None
        url = f"/v1/streams/{self.stream_id}/events"
        return {
            "id": self.stream_id, "status": self.status, "model": "sim", "provider": "sim", "metadata": {},
            "created_ms": 1_790_000_000_000, "offset": place, "events_url": url, "blocks": [], "text": "Hello",
            "stop_reason": None, "stop_sequence": None, "attempts": 1, "error": None, "a_field_of_tomorrow": [1],
            "usage": {"input_tokens": 8, "output_tokens": 12, "cache_read_tokens": 0, "cache_write_tokens": 0},
            "timings": {"queued_ms": 2, "first_token_ms": 350, "duration_ms": 900, "tokens_per_second": 21.4},
        }  # fmt: skip


async def serve(relay: FarRelay, request: web.Request) -> web.StreamResponse:
    """Answer as the contract says."""
    path = request.path
    if request.method == "DELETE":
        return web.Response(status=204)
    if path.endswith("/cancel"):
        relay.status = "cancelled"
    elif path == "/v1/models":
        return web.json_response({"models": [{"id": "sim", "provider": "sim", "max_tokens": 9, "default": True}]})
    elif path == "/v1/streams" and request.method == "GET":
        return web.json_response({"streams": [relay.state()], "next_cursor": "more"})
    elif "text/event-stream" in request.headers.get("Accept", ""):
        after = request.headers.get("Last-Event-ID")
        if relay.log and after == relay.log[-1][0]:
            return web.Response(status=204)
        return await _send(relay, request, relay.body(after))
    return web.json_response(relay.state(), status=201 if request.method == "POST" and path == "/v1/streams" else 200)


async def _send(relay: FarRelay, request: web.Request, body: bytes) -> web.StreamResponse:
    headers = {"Content-Type": "text/event-stream; charset=utf-8", "X-Stream-Id": relay.stream_id}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await response.write(body)
    return response


def cut(after_bytes: int, how: str = "close", *, replay: bool = False) -> Reply:
    """Send the first bytes of the right answer and then close cleanly, lose the connection or reset it.

    With ``replay`` the answer begins at the log's start, wherever the reader is.
    """

    async def reply(relay: FarRelay, request: web.Request) -> web.StreamResponse:
        body = relay.body(None if replay else request.headers.get("Last-Event-ID"))[:after_bytes]
        response = await _send(relay, request, body)
        assert request.transport is not None
        if how == "lose":
            request.transport.close()
        elif how == "reset":
            request.transport.abort()
        return response

    return reply


def hang(after_bytes: int = 0) -> Reply:
    """Send the first bytes of the right answer and then nothing, until the client leaves."""

    async def reply(relay: FarRelay, request: web.Request) -> web.StreamResponse:
        response = await _send(relay, request, relay.body(request.headers.get("Last-Event-ID"))[:after_bytes])
        await _left(relay, request)
        return response

    return reply


async def beat(relay: FarRelay, request: web.Request) -> web.StreamResponse:
    """Send the start and then heartbeats until the client leaves."""
    response = await _send(relay, request, PREAMBLE)
    assert request.transport is not None
    while not request.transport.is_closing():
        await response.write(b": ka\n\n")
        with suppress(TimeoutError):
            await asyncio.wait_for(relay.gone.wait(), 0.02)
    relay.gone.set()
    return response


async def mute(relay: FarRelay, request: web.Request) -> web.StreamResponse:
    """Take the request and never answer it."""
    await _left(relay, request)
    return web.Response()


async def _left(relay: FarRelay, request: web.Request) -> None:
    assert request.transport is not None
    await eventually(request.transport.is_closing, 60.0, "the client leaves")
    relay.gone.set()


def answer(status: int, body: Any = None, *, html: str | None = None, **headers: str) -> Reply:
    """Answer with a status and JSON or a web page."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def reply(_relay: FarRelay, _request: web.Request) -> web.StreamResponse:
        if html is not None:
            return web.Response(status=status, text=html, content_type="text/html", headers=named)
        return web.json_response(body, status=status, headers=named)

    return reply


def refuse(status: int, code: str, *, retryable: bool = False, **fields: Any) -> Reply:
    """Answer with a relay's error."""
    told = {"code": code, "message": f"This is {code}.", "retryable": retryable, **fields}
    headers = {"Retry_After": str(fields["retry_after_s"])} if "retry_after_s" in fields else {}
    return answer(status, {"error": told}, **headers)
