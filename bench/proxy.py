"""The bare pass-through: hands the provider's bytes on by aiohttp and does nothing else. No SDK, nothing durable.

``python -m bench.proxy PROVIDER_URL``
"""

from __future__ import annotations

import sys

import aiohttp
import uvloop
from aiohttp import web

from bench.serving import serve_app

_HEADERS = {"content-type": "application/json", "x-api-key": "bench", "anthropic-version": "2023-06-01"}


class Proxy:
    """Hands one provider's answers through."""

    def __init__(self, session: aiohttp.ClientSession, provider_url: str) -> None:
        """Use ``session`` for all calls."""
        self._session = session
        self._url = f"{provider_url}/v1/messages"

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Answer with the bytes that the provider answers with, as they come."""
        async with self._session.post(self._url, data=await request.read(), headers=_HEADERS) as answer:
            content_type = answer.headers["content-type"]
            response = web.StreamResponse(status=answer.status, headers={"content-type": content_type})
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response


async def serve(provider_url: str) -> None:
    """Serve until killed."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(None)) as session:
        app = web.Application()
        app.router.add_post("/v1/messages", Proxy(session, provider_url).messages)
        await serve_app(app)


def main(provider_url: str) -> int:
    """Run the proxy; return the exit code."""
    uvloop.run(serve(provider_url))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
