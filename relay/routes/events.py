"""Following a stream: ``GET /v1/streams/{id}/events`` as SSE or long-poll."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from aiohttp import web

from relay import native
from relay.first_token import FirstTokenClock
from relay.parsing import number, offset_of, require_sse
from relay.respond import json_answer, stream_headers
from relay.services import SERVICES, Services
from relay.sse import SseWriter
from relay.state import owned_record
from relay.subscription import Subscription
from shared.errors import GoneError, InvalidRequestError
from shared.metrics import RESUMES
from shared.offset import START, Offset
from shared.record import Record

_POLL_WAIT_S = 20.0


def add_event_routes(app: web.Application) -> None:
    """Add the routes of this module."""
    app.router.add_get("/v1/streams/{stream_id}/events", follow, allow_head=False)


async def follow(request: web.Request) -> web.StreamResponse:
    """Answer with the events after the client's offset, live until the end."""
    asked_ms = int(time.time() * 1000)
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    stream_id = request.match_info["stream_id"]
    mode = request.query.get("mode", "sse")
    if mode == "sse":
        await services.turnstile.enter()
    record = await owned_record(services.log, stream_id, tenant)
    offset = offset_of(request, stream_id)
    if mode == "poll":
        return await _poll(request, record, tenant, offset)
    if mode != "sse":
        message = "mode must be sse or poll"
        raise InvalidRequestError(message)
    require_sse(request)
    return await follow_sse(request, record, Reading(stream_id, offset, asked_ms))


@dataclass(frozen=True)
class Reading:
    """What a client asked to read, from which offset (None: from now), and when it asked, in Unix milliseconds."""

    stream_id: str
    offset: Offset | None
    asked_ms: int


async def follow_sse(request: web.Request, record: Record, reading: Reading) -> web.StreamResponse:
    """Answer with SSE; 204 to a reader that has the end already."""
    services = request.app[SERVICES]
    stream_id = reading.stream_id
    headers = stream_headers(stream_id)
    async with _subscription(services, stream_id, reading.offset) as subscription:
        if reading.offset is None:
            await subscription.skip_to_now()
        if record.ended_ms and await _nothing_left(subscription):
            return web.Response(status=204, headers=headers)
        if reading.offset != START:
            RESUMES.inc()
        with services.connections.opened(record.tenant, "sse", subscription) as connection:
            async with services.viewers.watching(stream_id, record):
                clock = FirstTokenClock(record.created_ms, reading.asked_ms)
                return await SseWriter(request, services.settings, headers).run(subscription, connection, clock)


async def _poll(request: web.Request, record: Record, tenant: str, offset: Offset | None) -> web.Response:
    """Answer with the next events as JSON, waiting for some up to ``?wait=`` seconds."""
    services = request.app[SERVICES]
    stream_id = request.match_info["stream_id"]
    wait_s = number(request, "wait", most=services.settings.wait_max_s)
    wait_s = min(_POLL_WAIT_S, services.settings.wait_max_s) if wait_s is None else wait_s
    events: list[dict[str, object]] = []
    async with _subscription(services, stream_id, offset) as subscription:
        if offset is None:
            await subscription.skip_to_now()
        done = bool(record.ended_ms) and await _nothing_left(subscription)
        if not done:  # what the log has already does not count as waiting, not even under ?wait=0
            events, done = await _next(subscription)
        with services.connections.opened(tenant, "poll", subscription) as connection:
            async with services.viewers.watching(stream_id, record, lasting=False):
                try:
                    async with asyncio.timeout(wait_s):
                        while not (events or done or connection.leaving):
                            events, done = await _next(subscription)
                except TimeoutError:
                    pass
        body = {"events": events, "offset": subscription.offset.text(stream_id), "done": done or subscription.ended}
    return json_answer(body, headers=stream_headers(stream_id))


async def _next(subscription: Subscription) -> tuple[list[dict[str, object]], bool]:
    """Return the next events and whether the end is among them."""
    events = native.json_events(subscription.stream_id, await subscription.read())
    return events, subscription.ended


def _subscription(services: Services, stream_id: str, offset: Offset | None) -> Subscription:
    """Return a subscription of this process."""
    return Subscription(services.hub, services.log, stream_id, offset or START, services.settings.page_entries)


async def _nothing_left(subscription: Subscription) -> bool:
    """Tell whether an ended stream has nothing after the offset. Raises ``GoneError`` when its log has gone."""
    if await subscription.at_end():
        return True
    tail = await subscription.tail()
    if tail.seq == 0:
        message = "the stream's log has expired or was deleted; start a new stream"
        raise GoneError(message, stream_id=subscription.stream_id)
    return False
