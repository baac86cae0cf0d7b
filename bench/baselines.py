"""What Tailrace is measured against, each a process of its own: ``python -m bench.baselines NAME PROVIDER_URL``.

``tutorial`` is the server that every guide shows: FastAPI, one process, the SDK's ``messages.stream()``.
``proxy`` hands the provider's bytes through and does nothing else: aiohttp, no SDK, nothing durable.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import anthropic
import uvicorn
import uvloop
from aiohttp import web
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from bench.provider import listen


class Question(BaseModel):
    """The body of the tutorial's one route."""

    message: str


async def serve_tutorial(provider_url: str) -> None:
    """Serve the tutorial, on uvicorn with uvloop and httptools and without its access log, so at its best."""
    client = anthropic.AsyncAnthropic(api_key="bench", base_url=provider_url)
    app = FastAPI()

    async def told(message: str) -> AsyncIterator[str]:
        async with client.messages.stream(
            model="bench", max_tokens=32_000, messages=[{"role": "user", "content": message}]
        ) as stream:
            async for text in stream.text_stream:
                yield f"data: {json.dumps({'text': text})}\n\n"
        yield "data: [DONE]\n\n"

    @app.post("/chat")
    async def chat(question: Question) -> StreamingResponse:
        return StreamingResponse(told(question.message), media_type="text/event-stream")

    config = uvicorn.Config(app, http="httptools", log_level="warning", access_log=False)
    await uvicorn.Server(config).serve(sockets=[listen()])


class Proxy:
    """Hands one provider's answers through."""

    def __init__(self, session: aiohttp.ClientSession, provider_url: str) -> None:
        """Use ``session`` for all calls."""
        self._session = session
        self._url = f"{provider_url}/v1/messages"

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Answer with the bytes that the provider answers with, as they come."""
        headers = {"content-type": "application/json", "x-api-key": "bench", "anthropic-version": "2023-06-01"}
        async with self._session.post(self._url, data=await request.read(), headers=headers) as answer:
            content_type = answer.headers["content-type"]
            response = web.StreamResponse(status=answer.status, headers={"content-type": content_type})
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response


async def serve_proxy(provider_url: str) -> None:
    """Serve the bare pass-through."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(None)) as session:
        app = web.Application()
        app.router.add_post("/v1/messages", Proxy(session, provider_url).messages)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listen()).start()
        await asyncio.Event().wait()


BASELINES: dict[str, Callable[[str], Awaitable[None]]] = {"tutorial": serve_tutorial, "proxy": serve_proxy}


async def serve(name: str, provider_url: str) -> None:
    """Serve the baseline of that name until killed."""
    await BASELINES[name](provider_url)


def main(name: str, provider_url: str) -> int:
    """Run one baseline; return the exit code."""
    uvloop.run(serve(name, provider_url))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
