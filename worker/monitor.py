"""The worker's small HTTP side: health for probes, and metrics."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from shared.processes.seat import Seat, exposition
from worker.supervisor import Supervisor


def make_monitor(supervisor: Supervisor, seat: Seat | None = None) -> web.Application:
    """Return an application with ``/healthz``, ``/readyz`` (503 while draining) and ``/metrics``.

    Of several processes, each with its ``seat`` and behind the same port, the one that a probe happens to reach answers
    for itself: those that die or hang are their parent's to find. The metrics are those of all.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        draining = supervisor.draining
        return web.json_response({"status": "draining" if draining else "ready"}, status=503 if draining else 200)

    async def metrics(_request: web.Request) -> web.Response:
        try:
            body = await exposition(seat)
        except OSError:
            return web.json_response({"status": "the processes cannot be added up"}, status=503)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app
