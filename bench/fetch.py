"""Plain requests, each on a connection of its own: what a server answers, and how long that took."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, cast

from bench.plan import BenchError
from bench.target import TAILRACE
from bench.wire import ChunkedBody, Head, split_head

_LAST_CHUNK = b"0\r\n\r\n"
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    seconds: float
    """From before the connection was opened until the last byte."""


class _Fetch(asyncio.Protocol):
    """One connection, one answer. Bodies are put together after the last byte, so as not to delay it."""

    def __init__(self, request: bytes) -> None:
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.head: Head | None = None
        self.pieces: list[bytes] = []
        self._request = request
        self._received = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.head is None:
            self._received += data
            if (parted := split_head(self._received)) is None:
                return
            self.head, data = parted
            self._left = self.head.length
        self.pieces.append(data)
        self._left -= len(data)
        if self.chunked:
            ended = (data if len(data) >= len(_LAST_CHUNK) else b"".join(self.pieces[-5:])).endswith(_LAST_CHUNK)
        else:
            ended = self._left <= 0
        if ended and not self.done.done():
            self.done.set_result(time.perf_counter())

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(BenchError(f"the connection ended before the answer did ({error or 'closed'})"))

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self.head is not None and self.head.headers.get("transfer-encoding") == "chunked"


async def fetch(port: int, method: str, path: str, body: bytes = b"", accept: str = "*/*") -> Answer:
    """Return the answer to a request. Raises ``BenchError`` when none comes."""
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\naccept: {accept}\r\n"
    if body:
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    request = f"{head}\r\n".encode() + body
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_PATIENCE_S):
            began_s = time.perf_counter()
            transport, fetched = await loop.create_connection(lambda: _Fetch(request), "127.0.0.1", port)
            try:
                ended_s = await fetched.done
            finally:
                transport.abort()
    except (OSError, TimeoutError, BenchError) as error:
        message = f"{method} {path} got no answer: {error or 'too late'}"
        raise BenchError(message) from None
    assert fetched.head is not None
    body = b"".join(fetched.pieces)
    if fetched.chunked:
        body = ChunkedBody().feed(body)
    return Answer(int(fetched.head.first.split()[1]), body, ended_s - began_s)


async def start_stream(relay_port: int, tokens: int, per_second: float) -> str:
    """Start a stream that nobody reads yet and return its id. Raises ``BenchError``."""
    request = TAILRACE.at(relay_port, {}).request(tokens, per_second)
    answer = await fetch(relay_port, "POST", "/v1/streams", request.partition(b"\r\n\r\n")[2])
    if answer.status != 201:  # noqa: PLR2004 - Created
        message = f"a stream could not be started: {answer.status} {answer.body[:200].decode(errors='replace')}"
        raise BenchError(message)
    state: dict[str, Any] = json.loads(answer.body)
    return str(state["id"])


def events_path(stream_id: str, offset: str = "") -> str:
    """Return the path of a stream's events, after an offset where one is given."""
    return f"/v1/streams/{stream_id}/events" + (f"?offset={offset}" if offset else "")


def events_request(relay_port: int, stream_id: str) -> bytes:
    """Return the request for a stream's events from its start."""
    return (
        f"GET {events_path(stream_id)} HTTP/1.1\r\nhost: 127.0.0.1:{relay_port}\r\naccept: text/event-stream\r\n\r\n"
    ).encode()
