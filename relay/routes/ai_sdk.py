"""Vercel's AI SDK: ``/api/chat`` for ``useChat`` and ``/api/workflow`` for ``WorkflowChatTransport``.

The same under ``/api/v7`` for version 7 of the SDK, which may be sent what would break version 6.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass

from aiohttp import web

from relay.dialects.dialect import Dialect
from relay.dialects.place import Had
from relay.dialects.ui_messages import AI_SDK_V6, AI_SDK_V7, WORKFLOW_V6, WORKFLOW_V7
from relay.dialects.ui_request import StopRequest, UiRequest, canonical
from relay.dialects.ui_tail import Tail
from relay.parsing import checked, json_body
from relay.reading.following import Reading, Telling, follow_in, survey
from relay.respond import ERROR_SHAPES, error_headers, json_answer, stream_headers
from relay.services import SERVICES, Services
from relay.start import Started
from relay.state import log_pages
from shared.errors import GoneError, InvalidRequestError, NotFoundError, TailraceError
from shared.offset import is_stream_id
from shared.record import Record
from shared.request import StreamRequest

_INDEX = re.compile(r"-?[0-9]{1,7}")


def add_ai_sdk_routes(app: web.Application) -> None:
    """Add the routes of this module, and the shape of their errors."""
    app[ERROR_SHAPES]["/api/"] = sentence_answer
    for prefix, chat, workflow in (("/api", AI_SDK_V6, WORKFLOW_V6), ("/api/v7", AI_SDK_V7, WORKFLOW_V7)):
        routes = _Routes(chat, workflow)
        app.router.add_post(f"{prefix}/chat", routes.start)
        app.router.add_get(f"{prefix}/chat/{{chat_id}}/stream", routes.resume, allow_head=False)
        app.router.add_post(f"{prefix}/chat/{{chat_id}}/stop", stop)
        app.router.add_post(f"{prefix}/workflow", routes.start_run)
        app.router.add_get(f"{prefix}/workflow/{{run_id}}/stream", routes.resume_run, allow_head=False)


def sentence_answer(error: TailraceError) -> web.Response:
    """Return the answer for an error: its sentence alone, since the client shows the whole body to its user."""
    safe = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(text=error.message, status=error.status, headers=safe | error_headers(error))


@dataclass(frozen=True)
class _Routes:
    """The routes for one version of the SDK."""

    chat: Dialect
    workflow: Dialect

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Start the answer to a chat's messages, and answer with its chunks."""
        asked_ms = int(time.time() * 1000)
        started = await _start(request, ("application/json",))
        reading = Reading(started.stream_id, started.record, asked_ms)
        return await follow_in(request, reading, Telling(self.chat))

    async def resume(self, request: web.Request) -> web.StreamResponse:
        """Answer with the chat's newest stream from its start; 204 when none is running."""
        services = request.app[SERVICES]
        tenant = services.authenticator.tenant(request)
        await services.turnstile.enter()
        stream_id, record = await _newest(services, tenant, request.match_info["chat_id"])
        nothing = web.Response(status=204, headers={"Cache-Control": "no-store"})
        if record is None:
            return nothing
        past = None
        if record.ended_ms:
            if request.query.get("ended") != "replay":
                return nothing
            past = await survey(services.log, stream_id, self.chat)
            if past.end is None:  # its log has expired
                return nothing
        return await follow_in(request, Reading(stream_id, record), Telling(self.chat, past=past))

    async def start_run(self, request: web.Request) -> web.StreamResponse:
        """Start an answer whose reader comes back with its id and a count of chunks."""
        asked_ms = int(time.time() * 1000)
        started = await _start(request, _body_types(request))
        reading = Reading(started.stream_id, started.record, asked_ms)
        return await follow_in(request, reading, Telling(self.workflow, headers=_run_headers(started.stream_id)))

    async def resume_run(self, request: web.Request) -> web.StreamResponse:
        """Answer with an answer's chunks from number ``startIndex`` on; a negative one counts from the last."""
        services = request.app[SERVICES]
        tenant = services.authenticator.tenant(request)
        await services.turnstile.enter()
        index = _start_index(request)
        reading = await _run(services, tenant, request.match_info["run_id"])
        headers = _run_headers(reading.stream_id)
        if index < 0:
            return await follow_in(request, reading, await self._last(services, reading, -index))
        past = None
        if reading.record.ended_ms:
            past = await survey(services.log, reading.stream_id, self.workflow)
            if past.end is None:
                message = "the run's log has expired or was deleted; send the messages again"
                raise GoneError(message, stream_id=reading.stream_id)
            if index >= past.total:
                # A stream of nothing would have the client come back at once, for ever; after this it gives up.
                return web.Response(status=204, headers=headers | stream_headers(reading.stream_id))
        return await follow_in(request, reading, Telling(self.workflow, Had(total=index), past, headers))

    async def _last(self, services: Services, reading: Reading, last: int) -> Telling:
        """Return how the last chunks are told, with what encloses them.

        The client reckons the number of the first chunk it gets from the header and its own negative index, so the
        header is such that it comes to the chunk that it is sent.
        """
        tail = Tail(reading.stream_id, self.workflow, last)
        async for page in log_pages(services.log, reading.stream_id):
            tail.read(page)
        past = await survey(services.log, reading.stream_id, self.workflow)
        first = tail.first
        for reset in reversed(past.resets):
            # Never from within what was discarded: who has a part of it only could not be put right.
            if reset.first is not None and reset.first.number < first <= reset.at.number:
                first = reset.first.number
        headers = {"x-workflow-stream-tail-index": str(min(tail.total, first + last) - 1)}
        return Telling(self.workflow, Had(total=first), past, _run_headers(reading.stream_id) | headers)


async def stop(request: web.Request) -> web.Response:
    """Cancel the chat's newest stream, if it is the one that the client means; its other viewers are told."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    wanted = StopRequest()
    if request.can_read_body:
        wanted = await json_body(request, StopRequest, services.settings.send_timeout_s)
    chat_id = request.match_info["chat_id"]
    stream_id, record = await _newest(services, tenant, chat_id)
    if record is not None and wanted.activeStreamId in (None, stream_id):
        await asyncio.shield(_stop(services, chat_id, stream_id, record))
    return json_answer({"success": True})


async def _stop(services: Services, chat_id: str, stream_id: str, record: Record) -> None:
    """Cancel a stream and have its chat forget it."""
    if not record.ended_ms:
        await services.canceller.cancel(stream_id, record)
    await services.chats.forget(record.tenant, chat_id, stream_id)


async def _start(request: web.Request, types: tuple[str, ...]) -> Started:
    """Start, or attach to, the stream that the request asks for."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    body = await json_body(request, UiRequest, services.settings.send_timeout_s, types)
    wanted = checked(StreamRequest, canonical(body))
    key = request.headers.get("Idempotency-Key")
    # Shielded: a client that goes away must not leave the start order half done.
    return await asyncio.shield(_start_in_chat(services, tenant, body.id, wanted, key))


async def _start_in_chat(
    services: Services, tenant: str, chat_id: str | None, wanted: StreamRequest, key: str | None
) -> Started:
    """Start a stream and make it the chat's newest."""
    if chat_id is None:
        return await services.starter.start(tenant, wanted, key, followed=True)
    before = await services.chats.newest(tenant, chat_id)
    started = await services.starter.start(tenant, wanted, key, followed=True)
    await services.chats.point(chat_id, started.stream_id, started.record, None if started.attached else before)
    return started


async def _newest(services: Services, tenant: str, chat_id: str) -> tuple[str, Record | None]:
    """Return the chat's newest stream, with None where there is none that can be read."""
    stream_id = (await services.chats.newest(tenant, chat_id)).stream_id
    record = await services.log.record(stream_id) if stream_id else None
    return stream_id, record if record is not None and record.tenant == tenant else None


async def _run(services: Services, tenant: str, run_id: str) -> Reading:
    """Return the stream of that id, or the newest of the chat of that id, which a reloaded page asks for.

    Raises ``NotFoundError``.
    """
    record = await services.log.record(run_id) if is_stream_id(run_id) else None
    if record is not None and record.tenant == tenant:
        return Reading(run_id, record)
    stream_id, record = await _newest(services, tenant, run_id)
    if record is None:
        message = "there is no such run; check its id and the API key it was started with"
        raise NotFoundError(message)
    return Reading(stream_id, record)


def _run_headers(stream_id: str) -> dict[str, str]:
    """Return what tells the client how to come back."""
    return {"x-workflow-run-id": stream_id}


def _start_index(request: web.Request) -> int:
    """Return ``?startIndex=``. Raises ``InvalidRequestError``."""
    text = request.query.get("startIndex", "0")
    if not _INDEX.fullmatch(text):
        message = "startIndex must be a whole number: how many chunks you have, or -N for the last N"
        raise InvalidRequestError(message, field="startIndex")
    return int(text)


def _body_types(request: web.Request) -> tuple[str, ...]:
    """Return the media types that a run's request may be told to have.

    ``WorkflowChatTransport`` names none, so ``fetch`` calls it text. Browsers send such a request for any page without
    asking first, so from a page of another origin it must be JSON, which they do ask for.
    """
    origin = request.headers.get("Origin")
    ours = (None, f"https://{request.host}", f"http://{request.host}", *request.app[SERVICES].settings.cors_origins)
    return ("application/json", "text/plain") if origin in ours else ("application/json",)
