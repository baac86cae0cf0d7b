"""Starting, looking at, listing, cancelling and deleting streams: ``/v1/streams``."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from aiohttp import web

from relay.listing import list_streams
from relay.parsing import accepts_sse, json_body, number
from relay.respond import json_answer, stream_headers
from relay.routes.events import Reading, follow_sse
from relay.services import SERVICES, Services
from relay.state import fold_log, owned_record, state
from relay.subscription import Subscription
from shared.errors import UnavailableError
from shared.offset import START
from shared.record import Record
from shared.request import StreamRequest


def add_stream_routes(app: web.Application) -> None:
    """Add the routes of this module."""
    app.router.add_post("/v1/streams", start)
    app.router.add_get("/v1/streams", listing, allow_head=False)
    app.router.add_get("/v1/streams/{stream_id}", look, allow_head=False)
    app.router.add_post("/v1/streams/{stream_id}/cancel", cancel)
    app.router.add_delete("/v1/streams/{stream_id}", delete)


async def start(request: web.Request) -> web.StreamResponse:
    """Start a stream and answer with its events, its state, or, with ``?wait=``, the finished answer."""
    asked_ms = int(time.time() * 1000)
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    wait_s = number(request, "wait", most=services.settings.wait_max_s)
    wanted = await json_body(request, StreamRequest, services.settings.send_timeout_s)
    key = request.headers.get("Idempotency-Key")
    # Shielded: a client that goes away must not leave the start order half done.
    started = await asyncio.shield(services.starter.start(tenant, wanted, key))
    stream_id = started.stream_id
    record = started.record or await services.log.record(stream_id)
    if record is None:
        message = "the stream was started but cannot be read yet; follow it with GET"
        raise UnavailableError(message, retry_after_s=1, stream_id=stream_id)
    if accepts_sse(request):
        return await follow_sse(request, record, Reading(stream_id, START, asked_ms))
    if wait_s is not None:
        return await _finished(services, stream_id, record, wait_s)
    body = await _state_of(services, stream_id, tenant)
    return json_answer(body, 200 if started.attached else 201, stream_headers(stream_id))


async def look(request: web.Request) -> web.Response:
    """Answer with the stream's state."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    stream_id = request.match_info["stream_id"]
    return json_answer(await _state_of(services, stream_id, tenant), headers=stream_headers(stream_id))


async def listing(request: web.Request) -> web.Response:
    """Answer with a page of the tenant's streams, newest first."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    return json_answer(await list_streams(services, tenant, request))


async def cancel(request: web.Request) -> web.Response:
    """End the stream and answer with its state."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    stream_id = request.match_info["stream_id"]
    record = await owned_record(services.log, stream_id, tenant)
    if not record.ended_ms:
        await asyncio.shield(services.canceller.cancel(stream_id, record))
    return json_answer(await _state_of(services, stream_id, tenant), headers=stream_headers(stream_id))


async def delete(request: web.Request) -> web.Response:
    """End the stream if it runs, erase it, and leave a tombstone."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    stream_id = request.match_info["stream_id"]
    record = await owned_record(services.log, stream_id, tenant)
    await asyncio.shield(services.canceller.delete(stream_id, record))
    return web.Response(status=204, headers=stream_headers(stream_id))


async def _state_of(services: Services, stream_id: str, tenant: str) -> dict[str, Any]:
    """Return the state of a tenant's stream as JSON."""
    record = await owned_record(services.log, stream_id, tenant)
    return state(stream_id, record, await fold_log(services.log, stream_id))


async def _finished(services: Services, stream_id: str, record: Record, wait_s: float) -> web.Response:
    """Answer with the finished answer, or with 202 and the state so far when ``wait_s`` has passed."""
    page_entries = services.settings.page_entries
    async with Subscription(services.hub, services.log, stream_id, START, page_entries) as subscription:
        with services.connections.opened(record.tenant, "wait", subscription) as connection:
            async with services.viewers.watching(stream_id, record):
                try:
                    async with asyncio.timeout(wait_s):
                        while not (subscription.ended or connection.leaving):
                            await subscription.read()
                except TimeoutError:
                    pass
    body = await _state_of(services, stream_id, record.tenant)
    done = body["status"] not in ("queued", "running")
    headers = stream_headers(stream_id) | ({} if done else {"Retry-After": str(math.ceil(min(wait_s, 5)) or 1)})
    return json_answer(body, 200 if done else 202, headers)
