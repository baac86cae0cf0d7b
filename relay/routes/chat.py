"""OpenAI Chat Completions: ``POST /v1/chat/completions``, streamed or whole."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from relay.dialects.chat_body import ChatBody
from relay.dialects.chat_completions import CHAT, CHAT_WITH_USAGE
from relay.dialects.chat_request import canonical_request
from relay.dialects.openai_errors import openai_error_answer
from relay.keyless import start_or_find
from relay.parsing import json_body
from relay.reading.following import Reading, Telling, follow_in, whole
from relay.respond import ERROR_SHAPES
from relay.services import SERVICES


def add_chat_routes(app: web.Application) -> None:
    """Add the routes of this module."""
    app.router.add_post("/v1/chat/completions", create)
    app[ERROR_SHAPES]["/v1/chat/"] = openai_error_answer


async def create(request: web.Request) -> web.StreamResponse:
    """Start a stream, or find the one this request started before, and answer with it from its start."""
    asked_ms = int(time.time() * 1000)
    services = request.app[SERVICES]
    settings = services.settings
    tenant = services.authenticator.tenant(request)
    body = await json_body(request, ChatBody, settings.send_timeout_s)
    _, model = services.starter.model_named(body.model)
    wanted = canonical_request(body, model, min(model.max_tokens, settings.max_tokens_cap))
    # Shielded: a client that goes away must not leave the start order half done.
    started = await asyncio.shield(start_or_find(request, tenant, wanted, followed=True))
    reading = Reading(started.stream_id, started.record, asked_ms)
    if body.stream:
        return await follow_in(request, reading, Telling(CHAT_WITH_USAGE if body.include_usage else CHAT))
    return await whole(request, reading, CHAT, settings.wait_max_s)
