"""What operators and tools ask of a relay: health, metrics and the description of the API."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST
from redis.exceptions import RedisError

from relay.openapi.document import describe
from relay.respond import json_answer
from relay.services import SERVICES
from shared.jobs import Depth
from shared.metrics import QUEUE_AGE, QUEUE_DEPTH
from shared.processes.seat import Seat, exposition

SEAT = web.AppKey("seat", Seat)
"""Set where this relay is one of several processes."""


def add_service_routes(app: web.Application) -> None:
    """Add the routes of this module."""
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics, allow_head=False)
    app.router.add_get("/openapi.json", openapi, allow_head=False)


async def healthz(_request: web.Request) -> web.Response:
    """Answer while the process lives, whatever else does not."""
    return json_answer({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Answer 503 while shutting down, or when Redis has been away for longer than ``ready_grace_s``."""
    services = request.app[SERVICES]
    if services.connections.draining:
        return json_answer({"status": "draining"}, 503, {"Retry-After": "1"})
    if not services.health.ready:
        return json_answer({"status": "redis away"}, 503, {"Retry-After": "1"})
    return json_answer({"status": "ready"})


async def metrics(request: web.Request) -> web.Response:
    """Answer in the Prometheus text format, for all processes of this relay; the queue is looked at on the way.

    503 when the other processes cannot be asked.
    """
    try:
        depth = await request.app[SERVICES].jobs.depth()
    except (RedisError, OSError):
        depth = Depth(jobs=-1, oldest_s=-1)
    QUEUE_DEPTH.set(depth.jobs)
    QUEUE_AGE.set(depth.oldest_s)
    try:
        body = await exposition(request.app.get(SEAT))
    except OSError:
        return json_answer({"status": "the processes cannot be added up"}, 503, {"Retry-After": "1"})
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def openapi(_request: web.Request) -> web.Response:
    """Answer with the OpenAPI description."""
    return json_answer(describe())
