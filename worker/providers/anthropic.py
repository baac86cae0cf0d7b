"""The Anthropic Messages API, and every server that speaks it, through the ``anthropic`` SDK.

The SDK makes the call: address, authentication, connections, errors. The answer's bytes are decoded by us, because
its event objects cost about twenty times as much. It never retries: a retry is a new attempt in the stream's log.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import anthropic
import httpx2

from shared.errors import ProviderError
from shared.events import Event
from worker.llm import Call, Finish
from worker.providers import failures
from worker.providers.body import Read, reader_of
from worker.providers.messages_decoder import MessagesDecoder
from worker.providers.patience import Patience

DEFAULT_URL = "https://api.anthropic.com"

_CONNECT_S = 10.0
_KEEP_IDLE_S = 15.0
"""How long an idle connection is kept for the next call; longer invites the server to close it under a request."""
_LAST_READ_S = 0.05
"""How long the end of the body, which mostly comes with the end of the answer, is waited for to keep the connection."""
_OURS = frozenset(("model", "messages", "max_tokens", "stream"))
"""What every call says, and nobody else may."""
_BROKEN = (httpx2.HTTPError, aiohttp.ClientError, OSError)


@dataclass(frozen=True)
class Limits:
    """How long the provider may take, and how many calls may run at once."""

    first_token_s: float
    """From the call to the first piece of the answer. Pings and the message's head are not pieces of it."""
    idle_s: float
    """Silence afterwards. Here every byte counts, pings too: they are how the provider says that it is at work."""
    calls: int


class AnthropicProvider:
    """One Messages server. Safe for ``limits.calls`` concurrent calls."""

    def __init__(self, *, api_key: str, limits: Limits, base_url: str = DEFAULT_URL) -> None:
        """Take the key and the address. Opens no connection yet."""
        self._limits = limits
        self._headers = {"accept-encoding": "identity"}
        # A kept connection may be closed by the server under the next call, which then fails. That is worth it where
        # connecting takes a TLS handshake; servers of local models close theirs without notice.
        self._keeps_connections = base_url.startswith("https:")
        if not self._keeps_connections:
            self._headers["connection"] = "close"  # which alone does not keep aiohttp from using it again
        kept_s = _KEEP_IDLE_S if self._keeps_connections else 0.0
        # The transport's own pool would queue calls beyond its limit (100 when none is given), unseen.
        pool = httpx2.Limits(max_connections=limits.calls, max_keepalive_connections=None, keepalive_expiry=kept_s)
        timeout = httpx2.Timeout(None, connect=_CONNECT_S)  # the other waits are limited by Patience
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=timeout,
            open_telemetry=False,
            http_client=anthropic.DefaultAioHttpClient(limits=pool, timeout=timeout),
        )

    async def stream(self, call: Call) -> AsyncGenerator[Sequence[Event | Finish], None]:
        """Yield the answer's events as they arrive; see ``Provider``. Leaving early closes the connection at once."""
        decoder = MessagesDecoder(call)
        loop = asyncio.get_running_loop()
        first_by = loop.time() + self._limits.first_token_s
        async with AsyncExitStack() as stack:
            patience = Patience()
            stack.callback(patience.close)
            read = await self._open(call, stack, patience.until(first_by))
            if self._keeps_connections:
                stack.push_async_callback(_read_out, read, patience, decoder)
            while not decoder.finished:
                patience.until(loop.time() + self._limits.idle_s if decoder.begun else first_by)
                try:
                    with patience:
                        chunk = await read()
                except TimeoutError:
                    raise self._silent(begun=decoder.begun) from None
                except _BROKEN as error:
                    raise failures.cut() from error
                if not chunk:
                    raise failures.cut()
                try:
                    batch = decoder.feed(chunk)
                except ProviderError:
                    if last := decoder.rest():
                        yield last
                    raise
                if batch:
                    yield batch

    async def _open(self, call: Call, stack: AsyncExitStack, patience: Patience) -> Read:
        """Send the call and return what reads the body; ``stack`` closes both. Raises ``ProviderError``."""
        try:
            with patience:
                response = await stack.enter_async_context(
                    self._client.messages.with_streaming_response.create(
                        model=call.upstream,
                        messages=call.messages,  # type: ignore[arg-type]  # as the client wrote them
                        max_tokens=call.max_tokens,
                        stream=True,
                        # Not as named parameters: the SDK has none for temperature and top_p, and looks into others.
                        extra_body=_body(call.options),
                        extra_headers=self._headers,
                    )
                )
        except TimeoutError:
            raise self._silent(begun=False) from None
        except anthropic.APIStatusError as error:
            wait_s = retry_after_s(error.response.headers)
            message = error.api_message if isinstance(error.api_message, str) else None
            raise failures.refused(error.status_code, message, error.error_code, wait_s) from None
        except (anthropic.APIConnectionError, *_BROKEN) as error:
            raise failures.unreachable() from error
        except ValueError as error:  # what JSON cannot hold, such as half of a surrogate pair
            raise failures.refused(400, str(error), None, None) from None
        return await reader_of(response.http_response, stack)

    def _silent(self, *, begun: bool) -> ProviderError:
        """Return what it is that nothing came in time."""
        if begun:
            return failures.fell_silent(self._limits.idle_s)
        return failures.never_began(self._limits.first_token_s)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._client.close()


async def _read_out(read: Read, patience: Patience, decoder: MessagesDecoder) -> None:
    """Read the end of a finished answer's body, so that its connection serves the next call."""
    if decoder.finished:
        with suppress(TimeoutError, *_BROKEN), patience.until(asyncio.get_running_loop().time() + _LAST_READ_S):
            await read()


def _body(options: dict[str, Any]) -> dict[str, Any]:
    """Return the request's optional fields under the names the API has for them; ours win over ``provider_options``."""
    named = {"stop_sequences" if name == "stop" else name: value for name, value in options.items()}
    extra = named.pop("provider_options", {})
    return {name: value for name, value in extra.items() if name not in _OURS} | named


def retry_after_s(headers: httpx2.Headers) -> float | None:
    """Return how many seconds the provider asks to wait, from either of the two headers it may use."""
    if (wait_s := _number(headers.get("retry-after-ms"))) is not None:
        return wait_s / 1000
    header = headers.get("retry-after")
    if header is None or (wait_s := _number(header)) is not None:
        return wait_s if header else None
    date = email.utils.parsedate_tz(header)
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())


def _number(text: str | None) -> float | None:
    """Return the non-negative finite number in ``text``, if it is one."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
