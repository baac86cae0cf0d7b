"""Writing one subscription to one client as server-sent events, until the end, a goodbye or a dead socket."""

from __future__ import annotations

import asyncio
import time

import structlog
from aiohttp import web

from relay import native
from relay.connections import Connection
from relay.first_token import FirstTokenClock
from relay.subscription import Subscription
from shared.errors import GoneError
from shared.metrics import SEND_TIMEOUTS
from shared.settings import Settings

log = structlog.get_logger()

SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
_ALIVE = b": ka\n\n"
_NEARLY = 0.7
"""Of ``heartbeat_s``: a subscription may wake that early, and must not then wait for the next time."""


class SseWriter:
    """One SSE answer. A client that does not read for ``send_timeout_s`` is let go; its offset stays good."""

    def __init__(self, request: web.Request, settings: Settings, headers: dict[str, str]) -> None:
        """Prepare an answer with ``headers`` beside those of every SSE answer."""
        self._request = request
        self._settings = settings
        self._response = web.StreamResponse(headers=SSE_HEADERS | headers)
        self._wrote_s = 0.0

    async def run(
        self, subscription: Subscription, connection: Connection, clock: FirstTokenClock
    ) -> web.StreamResponse:
        """Write until the end event, a goodbye, or until the client has gone; return the finished answer."""
        await self._response.prepare(self._request)
        stream_id = subscription.stream_id
        try:
            try:
                await self._follow(subscription, connection, clock)
            except GoneError as error:
                await self._write(native.error_frame(error))
        except TimeoutError:
            SEND_TIMEOUTS.inc()
            log.info("connection.send_timeout", stream=stream_id, offset=subscription.offset.text(stream_id))
            if self._request.transport is not None:
                self._request.transport.abort()
        except ConnectionError:
            log.debug("connection.lost", stream=stream_id)
        return self._response

    async def _follow(self, subscription: Subscription, connection: Connection, clock: FirstTokenClock) -> None:
        """Write what the subscription brings, and a sign of life where it brings nothing."""
        await self._write(b"retry: %d\n\n: open\n\n" % self._settings.retry_ms)
        while not subscription.ended and not connection.leaving:
            batch = await subscription.read()
            if batch:
                await self._write(native.sse_frames(subscription.stream_id, batch))
                clock.note(batch)
            elif time.monotonic() - self._wrote_s >= self._settings.heartbeat_s * _NEARLY:
                await self._write(_ALIVE)

    async def _write(self, data: bytes) -> None:
        """Send ``data``. Raises ``TimeoutError`` when the client does not read."""
        async with asyncio.timeout(self._settings.send_timeout_s):
            await self._response.write(data)
        self._wrote_s = time.monotonic()
