"""The Gemini API through the ``google-genai`` SDK.

The SDK makes the call: address, authentication, errors. Its objects cost about thirty times what decoding does, and
it gives no bytes; but it sends through a client of ours if it is given one. So ours hands it an answer without a body,
and keeps the real one. It never retries.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp
import httpx2
from google import genai
from google.genai import errors, types

from shared.events import Event
from shared.expressible import unsupported
from worker.llm import Call, Finish
from worker.providers import failures
from worker.providers.body import Body, body_of
from worker.providers.genai_call import genai_body
from worker.providers.genai_decoder import GenaiDecoder
from worker.providers.transport import ANSWER, Transport
from worker.providers.upstream import BROKEN, Limits, Upstream, retry_after_s
from worker.sweep import Swept

DEFAULT_URL = "https://generativelanguage.googleapis.com"

_OK = 200
_kept: ContextVar[list[aiohttp.ClientResponse]] = ContextVar("kept answers")


class GeminiProvider:
    """One server. Safe for ``limits.calls`` concurrent calls."""

    def __init__(self, *, api_key: str, limits: Limits, base_url: str = DEFAULT_URL) -> None:
        """Take the key and the address. Opens no connection yet."""
        self._upstream = Upstream(base_url, limits)
        self._http = httpx2.AsyncClient(transport=_Headless(self._upstream.transport), timeout=None)
        self._client = genai.Client(
            vertexai=False,
            api_key=api_key,
            http_options=types.HttpOptions(base_url=base_url, httpx_async_client=self._http),
        )

    def stream(self, call: Call, swept: Swept | None = None, /) -> AsyncGenerator[Sequence[Event | Finish], None]:
        """Yield the answer's events as they arrive; see ``Provider``. Leaving early closes the connection at once."""
        return self._upstream.answer(GenaiDecoder(call), partial(self._send, call), swept)

    async def _send(self, call: Call, stack: AsyncExitStack) -> Body:
        """Send the call and return its answer's body; ``stack`` closes both. Raises ``ProviderError``."""
        if problems := unsupported(call.model, call.messages, call.options):
            raise failures.unsupported(problems)
        body = genai_body(call)
        by_sdk = partial(self._by_sdk, call.upstream, body, stack)
        try:
            return await self._upstream.heads.send(call.upstream, body, stack, by_sdk)
        except errors.APIError as error:
            raise failures.refused(error.code, _words(error), _reason(error), _wait_s(error)) from None
        except BROKEN as error:
            raise failures.unreachable() from error
        except ValueError as error:  # what JSON cannot hold, or a model's name that is none
            raise failures.refused(400, str(error), None, None) from None

    async def _by_sdk(self, model: str, body: dict[str, Any], stack: AsyncExitStack) -> Body:
        """Have the SDK send the call, and return its answer's body.

        The body that is sent is ours, so the contents that the SDK insists on are replaced by it.
        """
        kept: list[aiohttp.ClientResponse] = []
        stack.callback(_close, kept)
        config = types.GenerateContentConfig(
            http_options=types.HttpOptions(extra_body=body),
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            automatic_continuation=False,
        )
        token = _kept.set(kept)
        try:
            async for _ in await self._client.aio.models.generate_content_stream(
                model=model, contents="replaced", config=config
            ):
                pass  # the answer it is given has no body
        finally:
            _kept.reset(token)
        return body_of(kept[0])

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._http.aclose()
        self._client.close()


class _Headless(httpx2.AsyncBaseTransport):
    """Of an answer that is a stream the SDK sees the head, and ``_kept`` has the rest."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send, and return the answer: without its body if it is a stream."""
        response = await self._transport.handle_async_request(request)
        if response.status_code != _OK:
            return response
        _kept.get().append(response.extensions[ANSWER])
        return httpx2.Response(_OK, request=request)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._transport.aclose()


def _close(answers: list[aiohttp.ClientResponse]) -> None:
    """Close the connections of answers that have not come to their end."""
    for answer in answers:
        answer.close()


def _words(error: errors.APIError) -> str | None:
    return error.message if isinstance(error.message, str) else None


def _details(error: errors.APIError) -> list[dict[str, Any]]:
    """Return what the error has of details, of whatever kind."""
    body = error.details.get("error", error.details) if isinstance(error.details, dict) else {}
    details = body.get("details", []) if isinstance(body, dict) else []
    return [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []


def _reason(error: errors.APIError) -> str | None:
    """Return the reason that is more exact than the status."""
    return next((one["reason"] for one in _details(error) if isinstance(one.get("reason"), str)), None)


def _wait_s(error: errors.APIError) -> float | None:
    """Return how many seconds the provider asks to wait: by a header, or by a detail as ``"17.5s"``."""
    for one in _details(error):
        delay = one.get("retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            return retry_after_s({"retry-after": delay[:-1]})
    headers = getattr(error.response, "headers", None)
    return None if headers is None else retry_after_s(headers)
