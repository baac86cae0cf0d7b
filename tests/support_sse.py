"""Reading server-sent events as a client does, over aiohttp, with a deadline on every wait and a way to be cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp


@dataclass(frozen=True)
class SseEvent:
    """One dispatched event: the last id seen, the event's name (``message`` if it has none) and its data."""

    id: str
    event: str
    data: str

    def json(self) -> Any:
        """Return the data, decoded."""
        return json.loads(self.data)


class SseReader:
    """One connection to an event stream: ``async with SseReader(session, url) as reader: async for event in reader``.

    A plain reading of the standard: an event counts once its blank line has come; a cut in the middle of one drops
    it. ``last_id`` is what ``Last-Event-ID`` would carry.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, *, method: str = "GET", **request: Any) -> None:
        """Take the session, the URL and whatever else ``session.request`` understands (``json=``, ``headers=``)."""
        self._session, self._method, self._url = session, method, url
        self._request = request
        self._request["headers"] = {"Accept": "text/event-stream", **request.get("headers", {})}
        self._request.setdefault("timeout", aiohttp.ClientTimeout(total=None, sock_connect=5))
        self._unread = b""
        self._fields: dict[str, list[str]] = {}
        self.response: aiohttp.ClientResponse
        self.last_id = ""
        self.retry_ms: int | None = None
        self.comments: list[str] = []
        self.events: list[SseEvent] = []
        """Every event read so far."""

    async def __aenter__(self) -> Self:
        """Connect; returns once the head of the answer is there, whatever its status."""
        self.response = await self._session.request(self._method, self._url, **self._request)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Close the connection."""
        self.response.close()

    def cut(self) -> None:
        """Reset the connection at once, as a phone that leaves its network does."""
        connection = self.response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        self.response.close()

    async def next(self, deadline_s: float = 10.0) -> SseEvent | None:
        """Return the next event, or nothing at the answer's clean end.

        Raises ``AssertionError`` at the deadline, ``aiohttp.ClientError`` if the connection broke.
        """
        try:
            async with asyncio.timeout(deadline_s):
                while (line := await self._line()) is not None:
                    if (event := self._take(line)) is not None:
                        return event
        except TimeoutError:
            message = f"no event within {deadline_s:g} s, after {len(self.events)} from {self._url}"
            raise AssertionError(message) from None
        return None

    async def take(self, count: int, deadline_s: float = 10.0) -> list[SseEvent]:
        """Return the next ``count`` events. Raises ``AssertionError`` if the answer ends before, or at the deadline."""
        taken = await self._until(lambda taken: len(taken) == count, deadline_s)
        assert len(taken) == count, f"the answer ended after {len(taken)} of {count} events"
        return taken

    async def until(self, name: str, deadline_s: float = 10.0) -> list[SseEvent]:
        """Return the next events up to and with the first called ``name``. Raises ``AssertionError`` without one."""
        taken = await self._until(lambda taken: bool(taken) and taken[-1].event == name, deadline_s)
        last = taken[-1].event if taken else ""
        assert last == name, f"the answer ended without {name!r}, after {taken[-1:]}"
        return taken

    async def rest(self, deadline_s: float = 30.0) -> list[SseEvent]:
        """Return every event until the answer's clean end."""
        return await self._until(lambda _taken: False, deadline_s)

    async def _until(self, enough: Callable[[list[SseEvent]], bool], deadline_s: float) -> list[SseEvent]:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + deadline_s
        taken: list[SseEvent] = []
        while not enough(taken) and (event := await self.next(max(ends_at - loop.time(), 0.001))) is not None:
            taken.append(event)
        return taken

    async def __aiter__(self) -> AsyncIterator[SseEvent]:
        """Iterate over the events until the answer's clean end, each within the usual deadline."""
        while (event := await self.next()) is not None:
            yield event

    async def _line(self) -> str | None:
        # StreamReader.readline() refuses lines longer than its buffer, and events may be longer.
        while b"\n" not in self._unread:
            more = await self.response.content.readany()
            if not more:
                return None
            self._unread += more
        line, self._unread = self._unread.split(b"\n", 1)
        return line.removesuffix(b"\r").decode()

    def _take(self, line: str) -> SseEvent | None:
        if line.startswith(":"):
            self.comments.append(line[1:].strip())
        elif line:
            name, _, value = line.partition(":")
            self._fields.setdefault(name, []).append(value.removeprefix(" "))
        else:
            return self._dispatch()
        return None

    def _dispatch(self) -> SseEvent | None:
        fields, self._fields = self._fields, {}
        if "retry" in fields:
            self.retry_ms = int(fields["retry"][-1])
        if "id" in fields:
            self.last_id = fields["id"][-1]
        if "data" not in fields:
            return None
        event = SseEvent(self.last_id, fields.get("event", ["message"])[-1], "\n".join(fields["data"]))
        self.events.append(event)
        return event
