"""A local server that speaks a provider's API as the wire has it, Anthropic's unless told another, and fails as told.

In a test: ``async with MessagesServer() as server``, then ``server.base_url``, ``server.calls`` and
``server.say(Script(...))``. As a process: ``python -m tests.messages_server --port 0`` prints its address as a line of
JSON, and ``GET /calls`` tells what was asked. A last user message that is a script as JSON is answered by it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import ssl
import struct
import sys
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.messages_script import Frame, Script, whole_text
from tests.messages_wire import MESSAGES
from tests.wire import Wire

_RESET = struct.pack("ii", 1, 0)


@dataclass
class RecordedCall:
    """One request that the server has had."""

    body: dict[str, Any]
    headers: dict[str, str]
    peer: Any = None
    """The client's end of the connection."""
    sent_frames: int = 0
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    """The answer was sent to its end, or to its scripted fault."""
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has gone before that."""


class MessagesServer:
    """The server; an async context manager that serves on a free loopback port unless told another."""

    def __init__(
        self,
        port: int = 0,
        default: Script | None = None,
        tls: ssl.SSLContext | None = None,
        wire: Wire = MESSAGES,
    ) -> None:
        """Take the port, the script for requests that bring none, the certificate to serve HTTPS, and the wire."""
        self.calls: list[RecordedCall] = []
        self.base_url = ""
        self.most_at_once = 0
        self._at_once = 0
        self._port = port
        self._tls = tls
        self._wire = wire
        self._default = default or Script()
        self._scripts: deque[Script] = deque()
        self._conversations: Counter[str] = Counter()
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post(wire.path, self._answer)
        app.router.add_get("/calls", self._told_calls)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)

    def say(self, *scripts: Script) -> None:
        """Answer the next calls, one each, by these scripts, whatever they ask."""
        self._scripts.extend(scripts)

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=4096, ssl_context=self._tls)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.base_url = f"{'https' if self._tls else 'http'}://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self._runner.cleanup()

    async def _told_calls(self, _request: web.Request) -> web.Response:
        return web.json_response({"calls": [call.body for call in self.calls], "most_at_once": self.most_at_once})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        headers = {name.lower(): value for name, value in request.headers.items()}
        peer = request.transport.get_extra_info("peername") if request.transport else None
        call = RecordedCall(body, headers, peer)
        self.calls.append(call)
        wire = self._wire
        if problem := wire.problem(body):
            refusal = Script(status=400, error_type="invalid_request_error", error_message=problem)
            return web.json_response(wire.error(refusal), status=400)
        script, said = self._script(body)
        if script.hangs_up:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if script.status != 200:
            return web.json_response(wire.error(script), status=script.status, headers=script.headers)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await _Answer(request, call, script, wire).send(wire.frames(script, body, said))
        except (asyncio.CancelledError, ConnectionError):
            call.disconnected.set()
            raise
        finally:
            self._at_once -= 1

    def _script(self, body: dict[str, Any]) -> tuple[Script, str]:
        """Return the script for a request, without its faults if this call is not to have them, and what was said."""
        asked, said = _asked(self._wire.turns(body))
        script = self._scripts.popleft() if self._scripts else Script.parse(asked) or self._default
        self._conversations[asked] += 1
        if script.attempts and self._conversations[asked] not in script.attempts:
            script = script.whole()
        return script, said if whole_text(script).startswith(said) else ""


class _Answer:
    """Sends one answer: paced, and with its fault."""

    def __init__(self, request: web.Request, call: RecordedCall, script: Script, wire: Wire) -> None:
        self._request = request
        self._call = call
        self._script = script
        self._wire = wire
        self._response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})

    async def send(self, told: Iterator[Frame]) -> web.StreamResponse:
        """Send the frames."""
        script, loop = self._script, asyncio.get_running_loop()
        await self._response.prepare(self._request)
        start, first = loop.time() + script.first_token_ms / 1000, None
        for number, piece in enumerate(told):
            if script.cut_at == number:
                return await self._cut()
            if script.stall_at == number:
                await self._stall()
            if script.error_at == number:
                await self._write(self._wire.error_frame(script))
                break
            if piece.token is not None:
                first = piece.token if first is None else first
                due = start + (piece.token - first) / script.per_second if script.per_second else start
                if (wait_s := due - loop.time()) > 0:
                    await asyncio.sleep(wait_s)
            await self._write(piece.data)
            self._call.sent_frames += 1
        await self._response.write_eof()
        self._call.finished.set()
        return self._response

    async def _write(self, data: bytes) -> None:
        size = self._script.bytes_per_write or len(data)
        for at in range(0, len(data), size):
            await self._response.write(data[at : at + size])
            if self._script.bytes_per_write:
                await asyncio.sleep(0)  # so that each piece is a write, and mostly a read, of its own

    async def _stall(self) -> None:
        """Say nothing more, or nothing but pings, until the client goes."""
        pause_s = self._script.stall_pings_s
        while True:
            await asyncio.sleep(pause_s or 3600)
            await self._write(self._wire.ping)

    async def _cut(self) -> web.StreamResponse:
        """End the connection in the way the script names."""
        transport = self._request.transport
        assert transport is not None
        self._call.finished.set()
        if self._script.cut == "eof":
            await self._response.write_eof()
        elif self._script.cut == "close":
            transport.close()
        else:
            raw: socket.socket = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        return self._response


def _asked(turns: list[tuple[str, str]]) -> tuple[str, str]:
    """Return the last real question, and what an interrupted answer to it has said already."""
    said = ""
    for role, text in reversed(turns):
        if role == "assistant":
            said = text + said
        elif not text.startswith("Your previous response was interrupted"):
            return text, said
    return "", said


async def _serve(port: int) -> None:
    async with MessagesServer(port) as server:
        sys.stdout.write(json.dumps({"event": "messages.listening", "url": server.base_url}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    try:
        asyncio.run(_serve(parser.parse_args().port))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
