"""Signed links for what can send no headers: ``/v1/streams/{id}/links``."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from relay.parsing import json_body
from relay.respond import json_answer, stream_headers
from relay.services import SERVICES
from shared.errors import InvalidRequestError


class LinkRequest(BaseModel):
    """What may be said of a link."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    lasts_s: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="For how long it is good; at most what the relay allows."
    )


def add_link_routes(app: web.Application) -> None:
    """Add the routes of this module."""
    app.on_response_prepare.append(_keep_the_token)
    app.router.add_post("/v1/streams/{stream_id}/links", make)
    app.router.add_delete("/v1/streams/{stream_id}/links", revoke)


async def make(request: web.Request) -> web.Response:
    """Answer with a new link to the stream's events."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    stream_id = request.match_info["stream_id"]
    settings = services.settings
    wanted = LinkRequest()
    if request.can_read_body:
        wanted = await json_body(request, LinkRequest, settings.send_timeout_s)
    lasts_s = settings.link_s if wanted.lasts_s is None else wanted.lasts_s
    if lasts_s > settings.link_max_s:
        message = f"lasts_s: a link may be good for at most {settings.link_max_s:g} s"
        raise InvalidRequestError(message)
    link = await services.links.make(stream_id, tenant, lasts_s)
    url = f"/v1/streams/{stream_id}/events?token={link.token}"
    body = {"url": url, "token": link.token, "expires_ms": link.expires_ms}
    return json_answer(body, 201, stream_headers(stream_id) | {"Referrer-Policy": "no-referrer"})


async def revoke(request: web.Request) -> web.Response:
    """Revoke all links to the stream."""
    services = request.app[SERVICES]
    tenant = services.authenticator.tenant(request)
    stream_id = request.match_info["stream_id"]
    await services.links.revoke(stream_id, tenant)
    return web.Response(status=204, headers=stream_headers(stream_id))


async def _keep_the_token(request: web.Request, response: web.StreamResponse) -> None:
    """Have no browser tell another site the address of an answer that a token is part of."""
    if "token" in request.query:
        response.headers["Referrer-Policy"] = "no-referrer"
