"""OpenAI, and every server that speaks one of its APIs (vLLM, llama.cpp, Ollama), through the ``openai`` SDK.

Of the two APIs, Chat Completions and Responses, the model says which. As with Anthropic's, the SDK makes the call and
we decode the bytes; it never retries.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

import httpx2
import openai

from shared.events import Event
from shared.expressible import unsupported
from worker.llm import Call, Finish
from worker.providers import failures
from worker.providers.body import Body, sdk_body
from worker.providers.chat_call import chat_body
from worker.providers.chat_decoder import ChatDecoder
from worker.providers.responses_call import responses_body
from worker.providers.responses_decoder import ResponsesDecoder
from worker.providers.upstream import BROKEN, Limits, Upstream, retry_after_s
from worker.sweep import Swept

DEFAULT_URL = "https://api.openai.com/v1"


class OpenAIProvider:
    """One server. Safe for ``limits.calls`` concurrent calls."""

    def __init__(self, *, api_key: str, limits: Limits, base_url: str = DEFAULT_URL) -> None:
        """Take the key and the address, which ends with the API's version. Opens no connection yet."""
        self._upstream = Upstream(base_url, limits)
        self._client = openai.AsyncOpenAI(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=None,
            http_client=httpx2.AsyncClient(transport=self._upstream.transport),
        )

    def stream(self, call: Call, swept: Swept | None = None, /) -> AsyncGenerator[Sequence[Event | Finish], None]:
        """Yield the answer's events as they arrive; see ``Provider``. Leaving early closes the connection at once."""
        decoder = ChatDecoder(call) if call.model.api == "chat" else ResponsesDecoder(call)
        return self._upstream.answer(decoder, partial(self._send, call), swept)

    async def _send(self, call: Call, stack: AsyncExitStack) -> Body:
        """Send the call and return its answer's body; ``stack`` closes both. Raises ``ProviderError``."""
        if problems := unsupported(call.model, call.messages, call.options):
            raise failures.unsupported(problems)
        body = responses_body(call) if call.model.api == "responses" else chat_body(call)
        by_sdk = partial(self._by_sdk, call, body, stack)
        try:
            return await self._upstream.heads.send(call.model.api, body, stack, by_sdk)
        except openai.APIStatusError as error:
            wait_s = retry_after_s(error.response.headers)
            raise failures.refused(error.status_code, _words(error), error.code, wait_s) from None
        except (openai.APIConnectionError, *BROKEN) as error:
            raise failures.unreachable() from error
        except ValueError as error:  # what JSON cannot hold, such as half of a surrogate pair
            raise failures.refused(400, str(error), None, None) from None

    async def _by_sdk(self, call: Call, body: dict[str, Any], stack: AsyncExitStack) -> Body:
        """Have the SDK send the call, and return its answer's body. What the SDK has no names for is its extra body."""
        response = await stack.enter_async_context(self._opened(call, body))
        return await sdk_body(response.http_response, stack)

    def _opened(self, call: Call, body: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
        """Return what has the SDK send the call when it is entered."""
        if call.model.api == "responses":
            responses = self._client.responses.with_streaming_response
            return responses.create(model=call.upstream, stream=True, extra_body=body)
        chat = self._client.chat.completions.with_streaming_response
        return chat.create(model=call.upstream, messages=body["messages"], stream=True, extra_body=body)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._client.close()


def _words(error: openai.APIStatusError) -> str | None:
    """Return what the server says is wrong, in whichever of the usual shapes it says it."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        said = inner.get("message") if isinstance(inner, dict) else inner
        return said if isinstance(said, str) else None
    return body if isinstance(body, str) else None
