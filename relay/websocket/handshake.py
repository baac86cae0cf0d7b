"""Who may open a socket, and as what: the subprotocol, the page's origin, and the key or link that is shown.

A browser can send no headers of its own with a WebSocket, only subprotocols: so a key or a link may be one of those it
offers. None of these is ever logged or sent back; the one that is agreed on is always ``tailrace.v1``.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from binascii import Error
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from relay.links import Reader
from relay.services import Services
from shared.errors import ForbiddenError, InvalidRequestError

PROTOCOL = "tailrace.v1"
_KEY = "tailrace.key."
_LINK = re.compile(r"tailrace\.link\.([a-z2-7]{26})\.(.+)")
_VERSION = "13"
_NONCE = re.compile(r"[A-Za-z0-9+/]{22}==")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Access(NamedTuple):
    """What a socket may do: all that its tenant may, or, opened with a link, to read one stream."""

    tenant: str
    link: Reader | None = None
    stream_id: str = ""
    """The link's."""


def check(request: web.Request, services: Services) -> list[str]:
    """Return the subprotocols that the client offers. Raises ``InvalidRequestError`` or ``ForbiddenError``."""
    headers = request.headers
    upgrades = headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"
    upgrades = upgrades and "upgrade" in headers.get(hdrs.CONNECTION, "").lower()
    well_formed = headers.get(hdrs.SEC_WEBSOCKET_VERSION) == _VERSION
    well_formed = well_formed and _NONCE.fullmatch(headers.get(hdrs.SEC_WEBSOCKET_KEY, "")) is not None
    if not (upgrades and well_formed):
        message = f"this route is a WebSocket (version {_VERSION}); connect with a WebSocket client"
        raise InvalidRequestError(message)
    _check_origin(request, services.settings.cors_origins)
    offered = [one.strip() for line in headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, ()) for one in line.split(",")]
    if PROTOCOL not in offered:
        message = f"offer the subprotocol {PROTOCOL}"
        raise InvalidRequestError(message)
    return offered


def _check_origin(request: web.Request, allowed: list[str]) -> None:
    """Refuse pages of other sites: browsers ask no leave for a WebSocket, and where there are no keys anybody may.

    Raises ``ForbiddenError``. Who sends no origin is no browser.
    """
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or origin in allowed or _host_of(origin) == request.headers.get(hdrs.HOST, "").lower():
        return
    message = "pages of this origin may not connect; name it in TAILRACE_CORS_ORIGINS"
    raise ForbiddenError(message)


def _host_of(origin: str) -> str | None:
    """Return host and port of an origin as a browser sends them in ``Host``; None for what is no site's."""
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return None
    default = _DEFAULT_PORTS.get(parts.scheme)
    return None if default is None else parts.netloc.removesuffix(default)


async def admit(request: web.Request, services: Services, offered: list[str]) -> Access:
    """Return what the client may do: by a link among what it offers, else by key, in a header or offered.

    Raises ``UnauthorizedError``.
    """
    for one in offered:
        if found := _LINK.fullmatch(one):
            link = await services.links.holder(found[2], found[1])
            return Access(link.tenant, link, found[1])
    for one in offered:
        if one.startswith(_KEY):
            return Access(services.authenticator.holder(_decoded(one.removeprefix(_KEY))))
    return Access(services.authenticator.tenant(request))


def _decoded(text: str) -> str:
    """Return the key in base64url, which has no character that a subprotocol may not have; empty for none."""
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (Error, ValueError):
        return ""


def clean_request(request: web.Request, deflate: str) -> web.Request:
    """Return the request as aiohttp is to see it, after ``check``: with the offer that we accept, and without secrets.

    It looks at what is left alone, so nothing of what a client has sent besides can make it fail, or get into its logs.
    """
    headers = {
        hdrs.UPGRADE: "websocket",
        hdrs.CONNECTION: "upgrade",
        hdrs.SEC_WEBSOCKET_VERSION: _VERSION,
        hdrs.SEC_WEBSOCKET_KEY: request.headers[hdrs.SEC_WEBSOCKET_KEY],
        hdrs.SEC_WEBSOCKET_PROTOCOL: PROTOCOL,
    }
    if deflate:
        headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] = deflate
    return request.clone(headers=headers)
