"""The bytes of an HTTP answer as they arrive, without the layers that an SDK's client puts between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

import aiohttp
import httpx2

from worker.providers.transport import ANSWER


@dataclass(frozen=True)
class Body:
    """The body of an answer that has begun."""

    read: Callable[[], Awaitable[bytes]]
    """Returns what has come, at least one byte, or nothing at the body's end. Safe to cancel."""
    response: aiohttp.ClientResponse | None = None
    """Whose it is, where it can be read without waiting while nobody waits in ``read``."""


def body_of(response: aiohttp.ClientResponse) -> Body:
    """Return the body of aiohttp's own answer. Errors are ``aiohttp``'s, after all that came before them."""
    content = response.content

    async def read() -> bytes:
        if content.exception() is not None and (left := content._read_nowait(-1)):  # noqa: SLF001
            return left  # aiohttp's own reads refuse what nobody had read when the connection failed
        return await content.readany()

    return Body(read, response)


async def sdk_body(response: httpx2.Response, stack: AsyncExitStack) -> Body:
    """Return the body of an SDK's answer that has come by our transport; ``stack`` closes what it needs.

    Errors are ``httpx2``'s or ``aiohttp``'s. aiohttp's own reader is used: the generators above it do nothing for a
    body that is not compressed, and cost more per token than decoding what they pass on.
    """
    if response.headers.get("content-encoding", "identity") == "identity":
        return body_of(response.extensions[ANSWER])
    chunks = await stack.enter_async_context(aclosing(response.aiter_bytes()))

    async def read() -> bytes:
        return await anext(chunks, b"")

    return Body(read)
