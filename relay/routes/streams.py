"""Starting, looking at, listing, cancelling and deleting streams: ``/v1/streams``."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from aiohttp import web

from relay.dialects.registry import dialect_named
from relay.listing import list_streams
from relay.parsing import accepts_sse, json_body, number
from relay.reading.following import Reading, follow, wait_for_end, whole
from relay.respond import json_answer, stream_headers
from relay.services import SERVICES, Services
from relay.state import fold_log, owned_record, state
from shared.errors import InvalidRequestError
from shared.offset import START
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
    followed = accepts_sse(request) or wait_s is not None
    started = await asyncio.shield(services.starter.start(tenant, wanted, key, followed=followed))
    reading = Reading(started.stream_id, started.record, asked_ms)
    if accepts_sse(request):
        return await follow(request, reading, START)
    if wait_s is not None:
        return await _finished(request, reading, wait_s)
    body = await _state_of(services, started.stream_id, tenant)
    return json_answer(body, 200 if started.attached else 201, stream_headers(started.stream_id))


async def look(request: web.Request) -> web.Response:
    """Answer with the stream's state, or, with ``?format=``, with the answer as that dialect has it, once it ended."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    stream_id = request.match_info["stream_id"]
    if request.query.get("format", "native") != "native":
        dialect = dialect_named(request.query["format"])
        if dialect.whole is None:
            message = f"format {dialect.name!r} has no form for a whole answer; leave format away, or follow the events"
            raise InvalidRequestError(message)
        wait_s = number(request, "wait", most=services.settings.wait_max_s)
        reading = Reading(stream_id, await owned_record(services.log, stream_id, tenant))
        return await whole(request, reading, dialect, wait_s or 0.0)
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
    services.kept_logs.drop(stream_id)  # now, when nobody can have it kept again
    return web.Response(status=204, headers=stream_headers(stream_id))


async def _state_of(services: Services, stream_id: str, tenant: str) -> dict[str, Any]:
    """Return the state of a tenant's stream as JSON."""
    record = await owned_record(services.log, stream_id, tenant)
    return state(stream_id, record, await fold_log(services.log, stream_id))


async def _finished(request: web.Request, reading: Reading, wait_s: float) -> web.Response:
    """Answer with the finished answer, or with 202 and the state so far when ``wait_s`` has passed."""
    await wait_for_end(request, reading, wait_s)
    body = await _state_of(request.app[SERVICES], reading.stream_id, reading.record.tenant)
    done = body["status"] not in ("queued", "running")
    headers = stream_headers(reading.stream_id) | ({} if done else {"Retry-After": str(math.ceil(min(wait_s, 5)) or 1)})
    return json_answer(body, 200 if done else 202, headers)
