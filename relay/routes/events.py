"""Following a stream: ``GET /v1/streams/{id}/events`` as SSE or long-poll, in the native dialect or another one."""

from __future__ import annotations

from aiohttp import web

from relay.dialects.registry import dialect_named
from relay.parsing import number, offset_of, require_sse
from relay.reading.following import Reading, follow, follow_in, poll, poll_in, telling_of
from relay.services import SERVICES
from relay.state import owned_record
from shared.errors import InvalidRequestError

_POLL_WAIT_S = 20.0


def add_event_routes(app: web.Application) -> None:
    """Add the routes of this module."""
    app.router.add_get("/v1/streams/{stream_id}/events", events, allow_head=False)


async def events(request: web.Request) -> web.StreamResponse:
    """Answer with the events after the client's offset, live until the end."""
    services = request.app[SERVICES]
    stream_id = request.match_info["stream_id"]
    reader = await services.links.reader(request, stream_id)
    mode = request.query.get("mode", "sse")
    if mode == "sse":
        await services.turnstile.enter()
    elif mode != "poll":
        message = "mode must be sse or poll"
        raise InvalidRequestError(message)
    reading = Reading(stream_id, await owned_record(services.log, stream_id, reader.tenant), most_s=reader.left_s())
    wait_s = number(request, "wait", most=services.settings.wait_max_s)
    wait_s = min(_POLL_WAIT_S, services.settings.wait_max_s) if wait_s is None else wait_s
    if request.query.get("format", "native") != "native":
        telling = await telling_of(request, stream_id, dialect_named(request.query["format"]))
        if mode == "poll":
            return await poll_in(request, reading, telling, wait_s)
        # Whatever it says it accepts: the SDKs of OpenAI and Anthropic say JSON alone, and mean their streams too.
        return await follow_in(request, reading, telling)
    offset = offset_of(request, stream_id)
    if mode == "poll":
        return await poll(request, reading, offset, wait_s)
    require_sse(request)
    return await follow(request, reading, offset)
