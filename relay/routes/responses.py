"""The OpenAI Responses API: ``/v1/responses``, streamed, whole or in the background, and a response by its id."""

from __future__ import annotations

import asyncio
import re
import time

from aiohttp import web

from relay.dialects.dialect import Body
from relay.dialects.openai_errors import openai_error_answer
from relay.dialects.place import Had
from relay.dialects.responses import responses_dialect
from relay.dialects.responses_body import ResponsesBody
from relay.dialects.responses_object import Asked, input_items, response_id, response_object, stream_of
from relay.dialects.responses_request import asked_of, canonical_request, kept
from relay.earlier_responses import asked_of_stream, conversation_of, with_references
from relay.keyless import start_or_find
from relay.parsing import count, json_body, refuse
from relay.reading.following import Reading, Telling, follow_in, telling_of, whole
from relay.respond import ERROR_SHAPES, json_answer, stream_headers
from relay.services import SERVICES
from relay.state import fold_log, owned_record
from shared.errors import NotFoundError
from shared.settings import Settings

_NUMBER = re.compile(r"[0-9]{1,9}")
_INCLUDABLE = frozenset(("reasoning.encrypted_content",))
_PATH = "/v1/responses/{response_id}"


def add_responses_routes(app: web.Application) -> None:
    """Add the routes of this module."""
    app.router.add_post("/v1/responses", create)
    app.router.add_get(_PATH, retrieve, allow_head=False)
    app.router.add_delete(_PATH, delete)
    app.router.add_post(f"{_PATH}/cancel", cancel)
    app.router.add_get(f"{_PATH}/input_items", list_input_items, allow_head=False)
    app[ERROR_SHAPES]["/v1/responses"] = openai_error_answer


async def create(request: web.Request) -> web.StreamResponse:
    """Start a stream, or find the one this request started before, and answer with it as the body asks."""
    asked_ms = int(time.time() * 1000)
    services = request.app[SERVICES]
    settings = services.settings
    tenant = services.authenticator.tenant(request)
    body = await json_body(request, ResponsesBody, settings.send_timeout_s)
    _, model = services.starter.model_named(body.model)
    body = await with_references(services, tenant, body)
    earlier = await conversation_of(services, tenant, body.previous_response_id)
    wanted = canonical_request(body, model, min(model.max_tokens, settings.max_tokens_cap), earlier)
    asked = asked_of(body, earlier)
    # Shielded: a client that goes away must not leave the start order half done.
    kept = _to_keep(body, asked, settings)
    started = await asyncio.shield(start_or_find(request, tenant, wanted, kept, followed=not body.background))
    reading = Reading(started.stream_id, started.record, asked_ms)
    if body.stream:
        return await follow_in(request, reading, Telling(responses_dialect(asked)))
    if body.background:
        return await _answer(request, started.stream_id, asked)
    return await whole(request, reading, responses_dialect(asked), settings.wait_max_s)


async def retrieve(request: web.Request) -> web.StreamResponse:
    """Answer with a response as it stands, or with ``?stream=true`` with its events, live until the end."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    streamed = _asks_for_stream(request)
    if streamed:
        await services.turnstile.enter()
    stream_id = stream_of(request.match_info["response_id"])
    reading = Reading(stream_id, await owned_record(services.log, stream_id, tenant))
    asked = await asked_of_stream(services, stream_id)
    if not streamed:
        return await _answer(request, stream_id, asked)
    after = request.query.get("starting_after")
    dialect = responses_dialect(asked)
    if after is None:
        return await follow_in(request, reading, await telling_of(request, stream_id, dialect))
    if _NUMBER.fullmatch(after) is None:
        refuse("must be the sequence_number of an event", "starting_after")
    return await follow_in(request, reading, Telling(dialect, Had(total=int(after) + 1)))


async def cancel(request: web.Request) -> web.Response:
    """End a response and answer with it; one that had ended is answered with how it did."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    stream_id = stream_of(request.match_info["response_id"])
    record = await owned_record(services.log, stream_id, tenant)
    if not record.ended_ms:
        await asyncio.shield(services.canceller.cancel(stream_id, record))
    return await _answer(request, stream_id, await asked_of_stream(services, stream_id))


async def delete(request: web.Request) -> web.Response:
    """Erase a response, ending it if need be, and say so."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    stream_id = stream_of(request.match_info["response_id"])
    record = await owned_record(services.log, stream_id, tenant)
    await asyncio.shield(services.canceller.delete(stream_id, record))
    body: Body = {"id": response_id(stream_id), "object": "response", "deleted": True}
    return json_answer(body, headers=stream_headers(stream_id))


async def list_input_items(request: web.Request) -> web.Response:
    """Answer with a page of what was said before a response, newest first unless ``?order=asc``."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    stream_id = stream_of(request.match_info["response_id"])
    await owned_record(services.log, stream_id, tenant)
    most = count(request, "limit", default=20, most=100)
    order = request.query.get("order", "desc")
    if order not in ("asc", "desc"):
        refuse("must be asc or desc", "order")
    items = input_items(stream_id, await asked_of_stream(services, stream_id))
    if not items:
        message = "nothing is kept of this response's input: its store was false, or its time has passed"
        raise NotFoundError(message)
    items = items if order == "asc" else items[::-1]
    page = items[_place_after(request.query.get("after"), [str(item["id"]) for item in items]) :]
    shown = page[:most]
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    body: Body = {"object": "list", "data": shown, "has_more": len(page) > most, **ends}
    return json_answer(body, headers=stream_headers(stream_id))


async def _answer(request: web.Request, stream_id: str, asked: Asked) -> web.Response:
    """Answer with a response as it stands. Raises ``GoneError`` when its log is no longer there."""
    answer = await fold_log(request.app[SERVICES].log, stream_id)
    return json_answer(response_object(stream_id, answer, asked), headers=stream_headers(stream_id))


def _to_keep(body: ResponsesBody, asked: Asked, settings: Settings) -> bytes | None:
    """Return what is kept of the request. Raises ``InvalidRequestError`` for a conversation that has grown too long."""
    if body.store is False:
        return None
    found = kept(asked)
    if body.previous_response_id is not None and len(found) > settings.max_body_bytes:
        refuse(
            f"the conversation has grown over {settings.max_body_bytes} bytes; go on with a shorter one as input",
            "previous_response_id",
        )
    return found


def _asks_for_stream(request: web.Request) -> bool:
    """Tell whether the query asks for events. Raises ``InvalidRequestError`` for what cannot be had."""
    stream = request.query.get("stream", "false").lower()
    if stream not in ("true", "false"):
        refuse("must be true or false", "stream")
    if "starting_after" in request.query and stream == "false":
        refuse("is for stream=true", "starting_after")
    if request.query.get("include_obfuscation", "false").lower() != "false":
        refuse("is not done here", "include_obfuscation")
    for name in ("include", "include[]"):
        if not _INCLUDABLE.issuperset(request.query.getall(name, ())):
            refuse(f"must be {', '.join(_INCLUDABLE)}, which is told always", "include")
    return stream == "true"


def _place_after(after: str | None, ids: list[str]) -> int:
    """Return where a page begins that follows an item. Raises ``InvalidRequestError``."""
    if after is None:
        return 0
    if after not in ids:
        refuse("must be the id of an item of this response's input", "after")
    return ids.index(after) + 1
