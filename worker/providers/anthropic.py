"""The Anthropic Messages API, and every server that speaks it, through the ``anthropic`` SDK.

The SDK makes the call: address, authentication, connections, errors. The answer's bytes are decoded by us, because
its event objects cost about twenty times as much. It never retries: a retry is a new attempt in the stream's log.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import anthropic
import httpx2

from shared.events import Event
from worker.llm import Call, Finish
from worker.providers import failures
from worker.providers.body import Body, sdk_body
from worker.providers.messages_decoder import MessagesDecoder
from worker.providers.upstream import BROKEN, Limits, Upstream, retry_after_s
from worker.sweep import Swept

DEFAULT_URL = "https://api.anthropic.com"

_OURS = frozenset(("model", "messages", "max_tokens", "stream", "betas", "anthropic_version"))
"""What every call says, and nobody else may; and what is said by headers."""
_SAMPLING = ("temperature", "top_p", "top_k")
_SAMPLING_VERSION = "2023-06-01"


class AnthropicProvider:
    """One Messages server. Safe for ``limits.calls`` concurrent calls."""

    def __init__(self, *, api_key: str, limits: Limits, base_url: str = DEFAULT_URL) -> None:
        """Take the key and the address. Opens no connection yet."""
        self._upstream = Upstream(base_url, limits)
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=None,
            open_telemetry=False,
            http_client=httpx2.AsyncClient(transport=self._upstream.transport),
        )

    def stream(self, call: Call, swept: Swept | None = None, /) -> AsyncGenerator[Sequence[Event | Finish], None]:
        """Yield the answer's events as they arrive; see ``Provider``. Leaving early closes the connection at once."""
        return self._upstream.answer(MessagesDecoder(call), partial(self._send, call), swept)

    async def _send(self, call: Call, stack: AsyncExitStack) -> Body:
        """Send the call and return its answer's body; ``stack`` closes both. Raises ``ProviderError``."""
        fields, headers = _fields(call.options), _headers(call.options)
        named = {"model": call.upstream, "messages": call.messages, "max_tokens": call.max_tokens, "stream": True}
        by_sdk = partial(self._by_sdk, named, fields, headers, stack)
        try:
            return await self._upstream.heads.send(tuple(headers.items()), named | fields, stack, by_sdk)
        except anthropic.APIStatusError as error:
            wait_s = retry_after_s(error.response.headers)
            message = error.api_message if isinstance(error.api_message, str) else None
            raise failures.refused(error.status_code, message, error.error_code, wait_s) from None
        except (anthropic.APIConnectionError, *BROKEN) as error:
            raise failures.unreachable() from error
        except ValueError as error:  # what JSON cannot hold, such as half of a surrogate pair
            raise failures.refused(400, str(error), None, None) from None

    async def _by_sdk(
        self, named: dict[str, Any], fields: dict[str, Any], headers: dict[str, str], stack: AsyncExitStack
    ) -> Body:
        """Have the SDK send the call, and return its answer's body."""
        # Not all as named parameters: the SDK has none for temperature and top_p, and looks into others.
        opened = self._client.messages.with_streaming_response.create(**named, extra_body=fields, extra_headers=headers)
        response = await stack.enter_async_context(opened)
        return await sdk_body(response.http_response, stack)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._client.close()


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    """Return the request's optional fields under the names the API has for them; ours win over ``provider_options``."""
    named = {"stop_sequences" if name == "stop" else name: value for name, value in options.items()}
    extra = named.pop("provider_options", {})
    return {name: value for name, value in extra.items() if name not in _OURS} | named


def _headers(options: dict[str, Any]) -> dict[str, str]:
    """Return the headers that a request's options come to: beta features, and the version of the API.

    The SDK's own version takes no ``temperature``, ``top_p`` or ``top_k``; the one before it does, for models that do.
    """
    extra = options.get("provider_options", {})
    told = {"anthropic-beta": ",".join(extra["betas"])} if extra.get("betas") else {}
    samples = any(name in options or name in extra for name in _SAMPLING)
    version = _SAMPLING_VERSION if samples else extra.get("anthropic_version")
    return told | ({"anthropic-version": version} if version else {})
