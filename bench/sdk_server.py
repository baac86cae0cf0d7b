"""The least that one can do with the SDK: ``create(stream=True)`` behind an aiohttp server, each event sent as SSE.

On the SDK's aiohttp transport, which is its fastest. Nothing durable. ``python -m bench.sdk_server PROVIDER_URL``
"""

from __future__ import annotations

import sys

import anthropic
import httpx2
import uvloop
from aiohttp import web

from bench.serving import serve_app


class SdkServer:
    """Answers each request by a call of the SDK."""

    def __init__(self, client: anthropic.AsyncAnthropic) -> None:
        """Use ``client`` for all calls."""
        self._client = client

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Answer with the events of the SDK, each as soon as it comes."""
        body = await request.json()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        async with await self._client.messages.create(
            model=body["model"], max_tokens=body["max_tokens"], messages=body["messages"], stream=True
        ) as events:
            async for event in events:
                await response.write(f"event: {event.type}\ndata: {event.model_dump_json()}\n\n".encode())
        await response.write_eof()
        return response


async def serve(provider_url: str) -> None:
    """Serve until killed."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    transport = anthropic.DefaultAioHttpClient(limits=limits)
    async with anthropic.AsyncAnthropic(api_key="bench", base_url=provider_url, http_client=transport) as client:
        app = web.Application()
        app.router.add_post("/v1/messages", SdkServer(client).messages)
        await serve_app(app)


def main(provider_url: str) -> int:
    """Run the server; return the exit code."""
    uvloop.run(serve(provider_url))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
