"""A client of the WebSocket for tests: what it says, and what it was told, stream by stream, with a deadline on all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.relay.api import Api

PROTOCOL = "tailrace.v1"
WORD_BY_WORD: dict[str, Any] = {"merge_entries": 10_000, "feed_entries": 10_000, "feed_bytes": 10_000_000}
"""Settings of a relay that never tells deltas as one, however busy its machine is: to compare event by event."""
_DEADLINE_S = 10.0


class SocketClient:
    """One open socket. Keeps every message it was told in ``heard``, in order."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Take the socket."""
        self.socket = socket
        self.heard: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self._taken = 0

    async def say(self, kind: str, **fields: Any) -> None:
        """Send one message."""
        await self.socket.send_str(json.dumps({"type": kind, **fields}))

    async def next(self, deadline_s: float = _DEADLINE_S) -> dict[str, Any]:
        """Return the next message. Raises ``AssertionError`` when there is none in time, or the socket is closed."""
        try:
            async with asyncio.timeout(deadline_s):  # aiohttp's own would begin anew with every ping
                told = await self.socket.receive()
        except TimeoutError:
            message = f"nothing was told within {deadline_s:g} s; last: {self.heard[-3:]}"
            raise AssertionError(message) from None
        if told.type is not aiohttp.WSMsgType.TEXT:
            self.close_code = self.socket.close_code
            message = f"the socket was closed: {told.type}, {self.close_code}; last: {self.heard[-3:]}"
            raise AssertionError(message)
        self.heard.append(json.loads(told.data))
        return self.heard[-1]

    async def until(self, kind: str, deadline_s: float = _DEADLINE_S, **fields: Any) -> dict[str, Any]:
        """Read up to the first message of this type that has these fields, and return it."""
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    told = await self.next()
                    if told["type"] == kind and fields.items() <= told.items():
                        return told
        except TimeoutError:
            message = f"no {kind} with {fields} within {deadline_s:g} s; last: {self.heard[-3:]}"
            raise AssertionError(message) from None

    async def seen(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Return the first message of this type that has these fields, of those that were or are yet to be told."""
        past = (told for told in self.heard if told["type"] == kind and fields.items() <= told.items())
        return next(past, None) or await self.until(kind, **fields)

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a request with an id of its own and return the first message that answers it."""
        request_id = f"ask-{len(self.heard)}"
        await self.say(kind, id=request_id, **fields)
        while True:
            told = await self.next()
            if told.get("id") == request_id:
                return told

    async def closed(self, deadline_s: float = _DEADLINE_S) -> int | None:
        """Read to the end of the socket and return its close code."""
        async with asyncio.timeout(deadline_s):
            while True:
                told = await self.socket.receive()
                if told.type is not aiohttp.WSMsgType.TEXT:
                    return self.socket.close_code
                self.heard.append(json.loads(told.data))

    def events(self, stream_id: str) -> list[tuple[str, str, Any]]:
        """Return the offset, name and data of every event heard of a stream."""
        heard = [told for told in self.heard if told["type"] == "event" and told["stream"] == stream_id]
        return [(told["offset"], told["event"], told["data"]) for told in heard]

    def cut(self) -> None:
        """Reset the connection at once, as a phone that leaves its network does."""
        response = self.socket._response
        assert response.connection is not None
        assert response.connection.transport is not None
        response.connection.transport.abort()


@asynccontextmanager
async def connected(api: Api, *offered: str, protocol: str = PROTOCOL, **options: Any) -> AsyncIterator[SocketClient]:
    """Open a socket to the API's relay, with its headers, and close it at the end."""
    protocols: Sequence[str] = (protocol, *offered) if protocol else offered
    headers = {**api.headers, **options.pop("headers", {})}
    url = f"{api.url}/v1/ws"
    async with api.session.ws_connect(url, protocols=protocols, headers=headers, **options) as socket:
        yield SocketClient(socket)


async def events_of(api: Api, stream_id: str) -> list[tuple[str, str, Any]]:
    """Return the offset, name and data of all events of a stream that has ended, as SSE tells them."""
    async with api.follow(stream_id) as reader:
        return [(event.id, event.event, event.json()) for event in await reader.rest()]


def joined(events: Iterable[Sequence[Any]]) -> list[tuple[str, Any]]:
    """Return the offset and data of events, with runs of deltas of one block as one, as a busy relay may tell them."""
    told: list[tuple[str, Any]] = []
    for event in events:
        offset, data = event[0], event[-1]
        if told and data["type"] == told[-1][1]["type"] == "delta" and data["block"] == told[-1][1]["block"]:
            data = data | {"text": told[-1][1]["text"] + data["text"]}
            del told[-1]
        told.append((offset, data))
    return told
