"""The far-away LLM: a Messages server that streams paced answers, wire-true and cheap. ``python -m bench.provider``.

The last user message says what to answer: ``{"tokens": 250, "per_second": 50}``. The first token is sent at once, so
that whatever a reader waits for it is the price of what lies between. Every token holds ``TOKEN_MARK`` once, whatever
it is wrapped into on its way, so that a reader counts tokens without parsing.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import uvloop

from bench.wire import LAST_CHUNK, Head, chunk, split_head

TOKEN_MARK = b"~"
"""One byte, so that no cut can part it, and one that no name, id or number on the way has."""

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"request-id: req_bench\r\ntransfer-encoding: chunked\r\n"
)
_REFUSAL = {"type": "error", "error": {"type": "invalid_request_error", "message": "the bench did not ask this"}}


class Asked(NamedTuple):
    """How long an answer a request wants, and how fast."""

    tokens: int
    per_second: float


def asked_of(body: bytes) -> Asked | None:
    """Return what a request's last message asks for, or None when it is not from the bench."""
    try:
        content = json.loads(body)["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[0]["text"]
        asked = json.loads(text)
        return Asked(int(asked["tokens"]), float(asked["per_second"]))
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def frames(asked: Asked) -> Iterator[bytes]:
    """Yield the answer in the pieces that are sent one by one: each brings one token, the last one the end."""
    usage = {"input_tokens": 11, "output_tokens": 1}
    message: dict[str, Any] = {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": "bench",
        "content": [],
    }
    message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
    head = _frame("message_start", message=message)
    head += _frame("content_block_start", index=0, content_block={"type": "text", "text": ""})
    head += _frame("ping")
    before, after = _frame("content_block_delta", index=0, delta={"type": "text_delta", "text": "@"}).split(b"@")
    for number in range(asked.tokens):
        yield (b"" if number else head) + before + TOKEN_MARK + b"%d " % number + after
    end = _frame("content_block_stop", index=0)
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    end += _frame("message_delta", delta=stop, usage={"output_tokens": asked.tokens})
    yield end + _frame("message_stop")


def _frame(name: str, **fields: Any) -> bytes:
    text = json.dumps({"type": name, **fields}, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()


class Conversation(asyncio.Protocol):
    """One connection: request, paced answer, next request."""

    def __init__(self) -> None:
        """Await the connection."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._head: Head | None = None
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases

    def connection_lost(self, _error: Exception | None) -> None:
        """Stop talking."""
        self._transport = None
        if self._next is not None:
            self._next.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer the request once it has all come. Nobody sends another before the answer's end."""
        self._received += data
        if self._head is None and (parted := split_head(self._received)):
            self._head, self._received = parted
        if self._head is None or len(self._received) < self._head.length:
            return
        head, body, self._head, self._received = self._head, self._received, None, b""
        asked = asked_of(body)
        if asked is None:
            self._refuse()
        else:
            self._answer(asked, closing=head.headers.get("connection", "") == "close")

    def _refuse(self) -> None:
        assert self._transport is not None
        body = json.dumps(_REFUSAL).encode()
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)

    def _answer(self, asked: Asked, *, closing: bool) -> None:
        """Send the answer's first piece now and the others at their times."""
        assert self._transport is not None
        pieces = frames(asked)
        # A client that is not told keeps the connection for its next call, which then fails.
        ending = b"connection: close\r\n\r\n" if closing else b"\r\n"
        self._transport.write(_HEAD + ending + chunk(next(pieces)))
        self._schedule(_Pace(pieces, self._loop.time(), asked, closing))

    def _schedule(self, pace: _Pace) -> None:
        # Each time is counted from the start: a piece that was late does not delay those after it.
        pace.sent += 1
        self._next = self._loop.call_at(pace.started_s + pace.sent / pace.asked.per_second, self._send, pace)

    def _send(self, pace: _Pace) -> None:
        if self._transport is None:
            return
        data = chunk(next(pace.pieces))
        if pace.sent < pace.asked.tokens:
            self._transport.write(data)
            self._schedule(pace)
            return
        self._next = None
        self._transport.write(data + LAST_CHUNK)
        if pace.closing:
            self._transport.close()


class _Pace:
    """Where an answer is."""

    __slots__ = ("asked", "closing", "pieces", "sent", "started_s")

    def __init__(self, pieces: Iterator[bytes], started_s: float, asked: Asked, closing: bool) -> None:  # noqa: FBT001
        self.pieces = pieces
        self.started_s = started_s
        self.asked = asked
        self.closing = closing
        self.sent = 0


def listen() -> socket.socket:
    """Return a socket that listens on a free loopback port, and say on standard output where: the bench waits for it.

    It listens from here on, so that a connection made before the server accepts waits instead of being refused.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(json.dumps({"event": "bench.listening", "port": listener.getsockname()[1]}), flush=True)
    return listener


async def serve() -> None:
    """Answer until killed."""
    server = await asyncio.get_running_loop().create_server(Conversation, sock=listen())
    await server.serve_forever()


def main() -> int:
    """Run the provider; return the exit code."""
    uvloop.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
