"""The Anthropic Messages API: ``/v1/messages``, streamed or whole, and a stream's events for who comes back."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from relay.dialects.anthropic_errors import anthropic_error_answer, request_id
from relay.dialects.anthropic_messages import ANTHROPIC
from relay.dialects.anthropic_request import Asked, MessagesBody, canonical_request
from relay.keyless import start_or_find
from relay.parsing import json_body
from relay.reading.following import Reading, Telling, follow_in, telling_of, whole
from relay.respond import ERROR_SHAPES
from relay.services import SERVICES
from relay.state import owned_record
from shared.errors import NotFoundError

_ID_PREFIX = "msg_"


def add_anthropic_routes(app: web.Application) -> None:
    """Add the routes of this module."""
    app.router.add_post("/v1/messages", create)
    app.router.add_get("/v1/messages/{stream_id}/events", resume, allow_head=False)
    app.router.add_post("/v1/messages/count_tokens", count_tokens)
    app[ERROR_SHAPES]["/v1/messages"] = app[ERROR_SHAPES]["anthropic-version"] = anthropic_error_answer


async def create(request: web.Request) -> web.StreamResponse:
    """Start a stream, or find the one this request started before, and answer with it from its start."""
    asked_ms = int(time.time() * 1000)
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    asked = Asked.by(request.headers)
    body = await json_body(request, MessagesBody, services.settings.send_timeout_s)
    _, model = services.starter.model_named(body.model)
    wanted = canonical_request(body, model, asked)
    # Shielded: a client that goes away must not leave the start order half done.
    started = await asyncio.shield(start_or_find(request, tenant, wanted, followed=True))
    reading = Reading(started.stream_id, started.record, asked_ms)
    headers = request_id(started.stream_id)
    if body.stream:
        return await follow_in(request, reading, Telling(ANTHROPIC, headers=headers))
    answer = await whole(request, reading, ANTHROPIC, services.settings.wait_max_s)
    answer.headers.update(headers)
    return answer


async def resume(request: web.Request) -> web.StreamResponse:
    """Answer with the events after the client's offset, live until the end; for the stream's id or its message's.

    Whatever the client accepts: there is no other form, and the SDKs say that they accept JSON.
    """
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    await services.turnstile.enter()
    stream_id = request.match_info["stream_id"].removeprefix(_ID_PREFIX)
    reading = Reading(stream_id, await owned_record(services.log, stream_id, tenant))
    return await follow_in(request, reading, await telling_of(request, stream_id, ANTHROPIC))


async def count_tokens(request: web.Request) -> web.Response:
    """Refuse: only a provider can count its tokens, and a count of ours would be wrong."""
    request.app[SERVICES].authenticator.tenant(request)
    message = "this service counts no tokens before an answer; its usage has what it took"
    raise NotFoundError(message)
