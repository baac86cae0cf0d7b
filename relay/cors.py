"""Cross-origin requests: answered for the origins that the settings name, and for no other."""

from __future__ import annotations

from aiohttp import web

from relay.respond import Handler
from shared.settings import Settings

_ALLOWED = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    # The SDKs of other APIs send a dozen headers of their own. The wildcard does not stand for Authorization.
    "Access-Control-Allow-Headers": "*, Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Api-Key",
    "Access-Control-Max-Age": "600",
}
_EXPOSED = "Location, Retry-After, X-Should-Retry, X-Stream-Id, X-Workflow-Run-Id, X-Workflow-Stream-Tail-Index"


def add_cors(app: web.Application, settings: Settings) -> None:
    """Let browsers on ``settings.cors_origins`` call this relay; without any, do nothing."""
    origins = frozenset(settings.cors_origins)
    if not origins:
        return

    @web.middleware
    async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
        asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return web.Response(status=204, headers=_ALLOWED) if asks else await handler(request)

    async def name_origin(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Vary"] = "Origin"
        origin = request.headers.get("Origin")
        if origin in origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED

    app.middlewares.append(preflight)
    app.on_response_prepare.append(name_origin)
