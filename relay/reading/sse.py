"""Writing one subscription to one client as server-sent events, until the end, a goodbye or a dead socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import structlog
from aiohttp import web
from aiohttp.http import StreamWriter

from relay.connections import Connection
from relay.reading.batch import Batch
from relay.reading.direct import DirectWriter, Outlet
from relay.reading.first_token import FirstTokenClock
from relay.reading.subscription import Subscription
from relay.reading.voice import Voice
from relay.unreadable import UNREADABLE, unreadable
from shared.entry import Entry
from shared.errors import GoneError
from shared.metrics import SEND_TIMEOUTS
from shared.settings import Settings
from shared.tasks import end_tasks

log = structlog.get_logger()

SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
_NEARLY = 0.7
"""Of ``heartbeat_s``: a subscription may wake that early, and must not then wait for the next time."""
_SLICE_BYTES = 4096
"""What is written at once; a client that has stopped reading leaves one such slice in the transport."""
_MOST_SLICE_BYTES = 65_536
"""The same for one that has just taken half as much at once: mostly all that there is to write."""


class _Answer(web.StreamResponse):
    """An answer whose head goes out with the first write, which is made at once."""

    _send_headers_immediately = False


class SseWriter:
    """One SSE answer. A client that does not read for ``send_timeout_s`` is let go; its offset stays good."""

    __slots__ = (
        "_clock",
        "_direct",
        "_request",
        "_response",
        "_settings",
        "_slice_bytes",
        "_subscription",
        "_voice",
        "_writer",
        "_wrote_s",
    )

    def __init__(self, request: web.Request, settings: Settings, headers: Mapping[str, str], voice: Voice) -> None:
        """Prepare an answer in ``voice``, with ``headers`` beside those of every SSE answer."""
        self._request = request
        self._settings = settings
        self._response = _Answer(headers={**SSE_HEADERS, **headers})
        self._voice = voice
        self._subscription: Subscription
        self._writer: StreamWriter
        self._slice_bytes = _SLICE_BYTES
        self._wrote_s = 0.0
        self._clock: FirstTokenClock
        self._direct: DirectWriter | None = None

    async def run(
        self, subscription: Subscription, connection: Connection, clock: FirstTokenClock
    ) -> web.StreamResponse:
        """Write until the end event, a goodbye, or until the client has gone; return the finished answer."""
        self._subscription = subscription
        writer = await self._response.prepare(self._request)
        assert isinstance(writer, StreamWriter)
        self._response.headers.clear()  # as they are on their way: kept, they would be a kilobyte of each open reader
        self._writer, self._clock = writer, clock
        hold_little(self._request)
        stream_id = subscription.stream_id
        try:
            try:
                await self._follow(subscription, connection)
            except GoneError as error:
                await self._write(self._voice.error(error))
            except UNREADABLE as error:
                await self._write(self._voice.error(unreadable(stream_id, error)))
            await self._finish(connection)
        except TimeoutError:
            SEND_TIMEOUTS.inc()
            log.info("connection.send_timeout", stream=stream_id, offset=subscription.offset.text(stream_id))
            self._abort()
        except asyncio.CancelledError:
            self._abort()  # an answer without its end must not look like one that is only slow
            raise
        except ConnectionError:
            log.debug("connection.lost", stream=stream_id)
        return self._response

    async def _follow(self, subscription: Subscription, connection: Connection) -> None:
        """Write what the subscription brings, and a sign of life where it brings nothing."""
        await self._write(self._voice.opening(self._settings.retry_ms))
        self._go_direct(subscription)
        while not self._voice.ended and not connection.leaving:
            # Only what is still to be written is kept meanwhile, and no entries: the client may take its time.
            subscription.pace(await self._write(self._frames(await subscription.read())))
            if self._unsent_bytes():  # of what was written directly
                await self._drain()
            elif time.monotonic() - self._last_write_s() >= self._silent_s:
                await self._write(self._voice.alive)

    def _frames(self, batch: Batch) -> bytes:
        """Return the frames of a batch. Raises what a direct write has failed by."""
        if self._direct is not None:
            self._direct.check()
        self._clock.note(batch)
        return self._voice.frames(batch)

    def _go_direct(self, subscription: Subscription) -> None:
        """Have live entries written without this task, which from now on only writes what is not plain."""
        transport = self._request.transport
        if transport is not None:
            outbox = subscription.deliver_directly(self._write_directly)
            outlet = Outlet(outbox, transport, self._writer.chunked)
            self._direct = DirectWriter(self._voice, outlet, subscription.poke, silent_s=self._silent_s)

    def _write_directly(self, entry: Entry) -> bool:
        """Tell a live entry, if that can be done at once, and note whether it has the first token. Never raises."""
        told = self._direct is not None and self._direct.write(entry)
        if told and not self._clock.done:
            self._clock.note_entry(entry)
        return told

    @property
    def _silent_s(self) -> float:
        """For how long nothing is written before there is a sign of life."""
        return self._settings.heartbeat_s * _NEARLY

    def _last_write_s(self) -> float:
        """Return when anything was last written, on the monotonic clock."""
        return self._wrote_s if self._direct is None else self._direct.wrote_s

    async def _finish(self, connection: Connection) -> None:
        """End the answer. Raises ``TimeoutError`` when the client does not read."""
        if connection.leaving:
            self._response.force_close()  # a client that kept the connection would come back to this very relay
            if self._voice.cut and not self._voice.ended and self._request.transport is not None:
                self._request.transport.close()  # without the body's end, which the client would take for the answer's
                return
        async with asyncio.timeout(self._settings.send_timeout_s):
            await self._response.write_eof()

    async def _write(self, data: bytes) -> int:
        """Send ``data``, of which the transport holds little; return its size if the kernel took it at once, else 0.

        Raises ``TimeoutError`` when the client does not read.
        """
        if not data:
            return 0
        at, size, at_once_bytes = 0, self._slice_bytes, len(data)
        while at < len(data):
            piece = memoryview(data)[at : at + size] if at or len(data) > size else data
            await self._writer.write(piece, drain=False)
            at, size = at + size, min(max(size, len(piece) * 2), _MOST_SLICE_BYTES)
            if self._unsent_bytes():
                del piece
                data, at, size, at_once_bytes = data[at:], 0, _SLICE_BYTES, 0
                self._subscription.shed()
                await self._drain()
        self._slice_bytes = size
        self._wrote_s = time.monotonic()
        if self._direct is not None:
            self._direct.wrote_s = self._wrote_s
        return at_once_bytes

    async def _drain(self) -> None:
        """Return when the kernel has all that was written. Raises ``TimeoutError`` once it takes nothing any more."""
        # One task for the whole wait: aiohttp's drain cannot be awaited again after it was cancelled.
        drained = asyncio.ensure_future(self._writer.drain())
        try:
            unsent_bytes = self._unsent_bytes()
            while not (await asyncio.wait([drained], timeout=self._settings.send_timeout_s))[0]:
                before_bytes, unsent_bytes = unsent_bytes, self._unsent_bytes()
                if unsent_bytes >= before_bytes:
                    raise TimeoutError
        finally:
            await end_tasks([drained])
        drained.result()

    def _abort(self) -> None:
        """Cut the connection, whatever is still unsent."""
        if self._request.transport is not None:
            self._request.transport.abort()

    def _unsent_bytes(self) -> int:
        """Return how much of what was written waits here for the client."""
        transport = self._request.transport
        return 0 if transport is None else transport.get_write_buffer_size()


def hold_little(request: web.Request) -> None:
    """Have nothing held here for a client that does not read: whoever writes waits until the kernel has all of it."""
    if request.transport is not None:
        request.transport.set_write_buffer_limits(high=0)
