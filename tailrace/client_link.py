"""The way to one stream: starts it, connects to it, and comes back to it after whatever cut the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from shared.errors import NotFoundError, TailraceError
from shared.events import ResetEvent, encode_event
from shared.sse import SseEvent
from tailrace.client_connection import EventConnection
from tailrace.client_errors import ForeignAnswerError
from tailrace.client_http import SSE, Call, Http, stream_path
from tailrace.client_retry import Recovery, Timeouts

_SOON_S = 60.0
"""Within this time of its start a stream that is not found is started again, under the same idempotency key."""
_LOST = SseEvent("reset", encode_event(ResetEvent(keep_blocks=0, reason="stream_lost")), None, None)


class Link:
    """At most one connection at a time. Holds no frames: what was not taken is asked for again by offset."""

    def __init__(self, http: Http, timeouts: Timeouts, start: Call | None, stream_id: str | None) -> None:
        """Take the request that starts the stream, or the id of one that exists."""
        self.id = stream_id
        self._http = http
        self._timeouts = timeouts
        self._start = start
        self._started_at = 0.0
        self._start_again = False
        self._began = False
        self._connection: EventConnection | None = None
        self._recovery: Recovery | None = None

    @property
    def connected(self) -> bool:
        """Whether a connection is open, as far as is known."""
        return self._connection is not None

    def close(self) -> None:
        """Close the connection; the stream goes on. Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def progress(self) -> None:
        """Note that an event was new to the reader: the next failure is a first one again."""
        if self._recovery is not None:
            self._recovery.progress()

    async def step(self, offset: str | None) -> list[SseEvent] | None:
        """Do one thing towards the events after ``offset``: connect, read once, or wait out a failure.

        Returns the frames this brought, often none, and ``None`` when there is nothing left to tell. A frame of a
        reset without an id says that the stream was lost and another one took its place. Raises what cannot be
        recovered from, or not within the timeouts.
        """
        if self._recovery is None:
            total_s = self._timeouts.total_s
            deadline = None if total_s is None else asyncio.get_running_loop().time() + total_s
            self._recovery = Recovery(self._timeouts.start_s, deadline, self._http.notify)
        try:
            if self._connection is not None:
                return await self._read(self._connection, self._recovery)
            if self._start is not None and self._start_again:
                return await self._restart(self._start, offset, self._recovery)
            return await self._connect(offset, self._recovery)
        except TailraceError as error:
            self.close()
            self._recovery.limit_s(0.0)  # a wait that the deadline cut short is the deadline's error
            await self._recovery.pause(error, stream_id=self.id, hopeful=self._knows_better(error))
            return []

    async def _read(self, connection: EventConnection, recovery: Recovery) -> list[SseEvent]:
        """Return the frames of one network read."""
        try:
            frames = await connection.read(recovery.limit_s(self._timeouts.idle_s))
        finally:
            recovery.lived(connection.lifetime_s)
        for frame in frames:
            if frame.retry is not None:
                recovery.told(frame.retry)
        return frames

    async def _connect(self, offset: str | None, recovery: Recovery) -> list[SseEvent] | None:
        """Open a connection: by the start itself while there is no id, else at the offset."""
        wait_s = recovery.limit_s(self._timeouts.first_byte_s)
        starts = self.id is None
        response = await self._http.events(self._start if starts and self._start else self._resume(offset), wait_s)
        self._began = True
        recovery.budget_s = self._timeouts.lost_s
        if response is None:
            return None
        if starts:
            self._started_at = asyncio.get_running_loop().time()
            self.id = response.headers.get("X-Stream-Id")
        self._connection = EventConnection(response)
        return []

    def _resume(self, offset: str | None) -> Call:
        """Return the request for the events after the offset."""
        assert self.id is not None
        place = {} if offset is None else {"Last-Event-ID": offset}
        return Call("GET", stream_path(self.id) + "/events", headers={"Accept": SSE, **place})

    async def _restart(self, start: Call, offset: str | None, recovery: Recovery) -> list[SseEvent]:
        """Start again under the same key and say so to a reader who has read of a stream that is no more."""
        # As JSON: should it be the same stream after all, it is then read from the offset, not from its start.
        call = Call("POST", start.path, start.body, {**start.headers, "Accept": "application/json"})
        state: Mapping[str, Any] = await self._http.once(call, recovery.limit_s(self._timeouts.first_byte_s))
        self._start_again = False
        known, self.id = self.id, str(state["id"])
        return [_LOST] if self.id != known and offset is not None else []

    def _knows_better(self, error: TailraceError) -> bool:
        """Tell whether another try may work although the error itself says it will not."""
        if isinstance(error, NotFoundError):
            age_s = asyncio.get_running_loop().time() - self._started_at
            self._start_again = self._start is not None and self.id is not None and age_s < _SOON_S
            return self._start_again
        # A stream that has been read from exists: what does not know it stands in between, for the time of a deploy.
        return self._began and isinstance(error, ForeignAnswerError)
