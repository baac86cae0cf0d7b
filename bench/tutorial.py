"""The server that every guide shows: FastAPI in one process, the SDK's ``messages.stream()``, nothing durable.

``python -m bench.tutorial PROVIDER_URL`` runs it at its best: uvicorn with uvloop and httptools, no access log.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator

import anthropic
import uvicorn
import uvloop
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from bench.provider import listen


class Question(BaseModel):
    """The body of its one route."""

    message: str


def make_app(client: anthropic.AsyncAnthropic) -> FastAPI:
    """Return the application, as guides write it."""
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

    return app


async def serve(provider_url: str) -> None:
    """Serve until killed."""
    app = make_app(anthropic.AsyncAnthropic(api_key="bench", base_url=provider_url))
    config = uvicorn.Config(app, http="httptools", log_level="warning", access_log=False)
    await uvicorn.Server(config).serve(sockets=[listen()])


def main(provider_url: str) -> int:
    """Run the tutorial; return the exit code."""
    uvloop.run(serve(provider_url))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
