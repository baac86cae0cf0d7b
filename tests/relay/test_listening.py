"""What the kernel does with a client that takes nothing is set once, where its connection is accepted."""

from __future__ import annotations

import socket

import aiohttp
import pytest
from aiohttp import web

from relay.listening import limit_sending


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux alone has it")
async def test_a_connection_has_the_limits_of_its_listener() -> None:
    """Whatever is answered on it."""

    async def tell(request: web.Request) -> web.Response:
        connection = request.get_extra_info("socket")
        options = (socket.TCP_USER_TIMEOUT, socket.TCP_NOTSENT_LOWAT)
        return web.json_response([connection.getsockopt(socket.IPPROTO_TCP, option) for option in options])

    app = web.Application()
    app.router.add_get("/", tell)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        limit_sending(site, 1.5)
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert await response.json() == [3000, 16_384]
    finally:
        await runner.cleanup()
