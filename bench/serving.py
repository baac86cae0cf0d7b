"""How the baselines that are aiohttp applications are served: on a free port that the bench is told, until killed."""

from __future__ import annotations

import asyncio

from aiohttp import web

from bench.provider import listen


async def serve_app(app: web.Application) -> None:
    """Serve ``app`` without access log, and say where; returns only by being cancelled."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listen()).start()
    await asyncio.Event().wait()
