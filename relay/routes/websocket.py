"""The WebSocket: ``/v1/ws``."""

from __future__ import annotations

import secrets
from contextlib import suppress

import structlog
from aiohttp import WSMsgType, hdrs, web

from relay.reading.sse import hold_little
from relay.services import SERVICES
from relay.websocket.closing import close_code_of
from relay.websocket.handshake import PROTOCOL, admit, check, clean_request
from relay.websocket.sender import Sender
from relay.websocket.session import Session
from relay.websocket.words import say_error
from shared.errors import TailraceError
from shared.metrics import HTTP_ERRORS

log = structlog.get_logger()

_CLOSE_S = 2.0
"""How long a client has to answer a close frame."""
_LEAST_BYTES = 4096
"""What a client may say that is not listened to."""


def add_websocket_routes(app: web.Application) -> None:
    """Add the routes of this module."""
    app.router.add_get("/v1/ws", websocket, allow_head=False)


async def websocket(request: web.Request) -> web.StreamResponse:
    """Serve a socket until either side closes it.

    What stands against it is answered as to any request; but a page could not tell that from a dead network, so a
    browser's socket is opened, told, and closed by the code of the error.
    """
    services = request.app[SERVICES]
    offered = check(request, services)
    try:
        access = await admit(request, services, offered)
        await services.turnstile.enter()
        told = log.bind(connection=secrets.token_hex(4), tenant=access.tenant)
        session = Session(services, access, told)
        with services.connections.socket(access.tenant, session.leave):
            return await _serve(request, session)
    except TailraceError as error:
        if hdrs.ORIGIN not in request.headers:
            raise
        HTTP_ERRORS.labels(error.code).inc()
        return await _refuse(request, error)


async def _serve(request: web.Request, session: Session) -> web.StreamResponse:
    """Open the socket and serve it to its end."""
    services = request.app[SERVICES]
    settings = services.settings
    with services.deflate.agreed(request.headers.get(hdrs.SEC_WEBSOCKET_EXTENSIONS, "")) as deflate:
        socket = web.WebSocketResponse(
            timeout=_CLOSE_S,
            heartbeat=settings.socket_ping_s,
            protocols=(PROTOCOL,),
            compress=bool(deflate),
            max_msg_size=settings.max_body_bytes,
            writer_limit=0,
        )
        await socket.prepare(clean_request(request, deflate))
        hold_little(request)
        transport = request.transport
        assert transport is not None
        session.log.info("socket.opened", link=session.access.link is not None, deflate=bool(deflate))
        try:
            await session.run(socket, Sender(socket, transport, settings.send_timeout_s, session.log))
        finally:
            # What has not been closed by now is broken, and what its client has not read by now is never read.
            transport.abort()
            session.log.info("socket.closed", code=socket.close_code, drained=session.leaving)
    return socket


async def _refuse(request: web.Request, error: TailraceError) -> web.StreamResponse:
    """Open a socket to say why there is none."""
    socket = web.WebSocketResponse(timeout=_CLOSE_S, protocols=(PROTOCOL,), compress=False, max_msg_size=_LEAST_BYTES)
    await socket.prepare(clean_request(request, ""))
    with suppress(ConnectionError):
        await socket.send_frame(say_error(error), WSMsgType.TEXT)
        await socket.close(code=close_code_of(error))
    return socket
