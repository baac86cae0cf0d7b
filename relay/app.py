"""One relay process: starts in order, serves, and shuts down in order within its drain budget."""

from __future__ import annotations

import asyncio
import signal

import structlog
from aiohttp import web

from relay.cors import add_cors
from relay.listening import limit_sending
from relay.respond import ERROR_SHAPES, Handler, errors_as_json, refuse_expectations
from relay.routes.ai_sdk import add_ai_sdk_routes
from relay.routes.anthropic import add_anthropic_routes
from relay.routes.chat import add_chat_routes
from relay.routes.events import add_event_routes
from relay.routes.links import add_link_routes
from relay.routes.models import add_model_routes
from relay.routes.page import add_page_routes
from relay.routes.responses import add_responses_routes
from relay.routes.service import SEAT, add_service_routes
from relay.routes.streams import add_stream_routes
from relay.routes.websocket import add_websocket_routes
from relay.services import SERVICES, Services
from shared.collector import tune_collector
from shared.errors import ConfigurationError
from shared.processes.seat import Seat
from shared.redis_check import check_redis
from shared.settings import Settings
from shared.tasks import end_tasks

log = structlog.get_logger()

_LAST_REQUESTS_S = 5.0
"""What plain answers have after the drain to be made and sent: as long as Redis may take for one answer."""


def make_app(services: Services) -> web.Application:
    """Return the application with all its routes."""
    app = web.Application(middlewares=[_count, errors_as_json], client_max_size=services.settings.max_body_bytes)
    app[SERVICES] = services
    app[ERROR_SHAPES] = {}
    add_cors(app, services.settings)
    app.on_response_prepare.append(_close_when_draining)
    add_stream_routes(app)
    add_event_routes(app)
    add_anthropic_routes(app)
    add_chat_routes(app)
    add_responses_routes(app)
    add_link_routes(app)
    add_ai_sdk_routes(app)
    add_model_routes(app)
    add_websocket_routes(app)
    add_service_routes(app)
    add_page_routes(app)
    return app


@web.middleware
async def _count(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Have a drain wait for the answer: once the server closes, aiohttp reads no body to its end any more."""
    with request.app[SERVICES].connections.answering:
        return await handler(request)


async def _close_when_draining(request: web.Request, response: web.StreamResponse) -> None:
    """Let no client, and no balancer, keep a connection to a relay that is about to go."""
    upgraded = isinstance(response, web.WebSocketResponse)  # whose own goodbye it gets, and this header is taken
    if request.app[SERVICES].connections.draining and not upgraded:
        response.headers["Connection"] = "close"
        response.force_close()


class Relay:
    """A running relay. ``start`` and ``stop`` once each; ``serve`` does both around a signal."""

    def __init__(self, settings: Settings, seat: Seat | None = None) -> None:
        """Make the parts; opens nothing yet. One of several processes has a ``seat``. Raises ``ConfigurationError``."""
        self.settings = settings
        self.services = Services.make(settings)
        self.url = ""
        self._seat = seat
        app = make_app(self.services)
        if seat is not None:
            app[SEAT] = seat
        # Cancelling the handler is how a relay learns at once, not at the next heartbeat, that a client has gone.
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,  # compressed requests are refused: a small one may unfold without end
            shutdown_timeout=_LAST_REQUESTS_S,
        )
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen. Raises ``ConfigurationError`` when Redis or the port cannot be had."""
        for server in (self.services.queue, self.services.streams):
            warning = await check_redis(server)
            if warning:
                log.warning("relay.redis_settings", warning=warning)
        self._background = [
            asyncio.create_task(self.services.hub.run(), name="relay.hub"),
            asyncio.create_task(self.services.viewers.run(), name="relay.viewers"),
            asyncio.create_task(self.services.health.run(), name="relay.health"),
        ]
        await self._runner.setup()
        refuse_expectations(self._runner)
        port, shared = (self.settings.port, False) if self._seat is None else (self._seat.port, True)
        site = web.TCPSite(self._runner, self.settings.host, port, backlog=1024, reuse_port=shared)
        try:
            await site.start()
        except OSError as error:
            await self.stop()
            message = f"port {port} on {self.settings.host} cannot be listened on: {error.strerror}"
            raise ConfigurationError(message) from None
        limit_sending(site, self.settings.send_timeout_s)
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        log.info("relay.listening", url=self.url, loopback_only=not self.settings.api_keys)
        if self._seat is not None:
            self._seat.ready()

    async def stop(self) -> None:
        """Turn readiness off, go on accepting for ``relay_notice_s``, say goodbye within ``relay_drain_s``, and close.

        Plain requests are answered to their end.
        """
        if self._runner.addresses:
            log.info("relay.draining", connections=len(self.services.connections))
            self.services.connections.draining = True
            await asyncio.sleep(self.settings.relay_notice_s)
            for site in list(self._runner.sites):
                await site.stop()
            self.services.viewers.drain()
            await self.services.connections.drain(self.settings.relay_drain_s)
        await self._runner.cleanup()
        await end_tasks(self._background)
        await self.services.aclose()
        log.info("relay.stopped")

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, or until a part of it fails for good, which is raised."""
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, stopped.set)
        await self.start()
        tune_collector()
        waiting = asyncio.create_task(stopped.wait(), name="relay.signal")
        try:
            done, _ = await asyncio.wait([waiting, *self._background], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                task.result()
        finally:
            waiting.cancel()
            await self.stop()
