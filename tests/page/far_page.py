"""A page of another origin than the relay's: an empty one, from a server of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def far_page() -> AsyncIterator[str]:
    """Serve the page and give its origin."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>far</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
