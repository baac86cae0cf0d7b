"""What every provider's calls have in common: how long they may take, their connections, and how an answer is read."""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import aiohttp
import httpx2

from shared.errors import ProviderError
from shared.events import Event
from worker.llm import Finish
from worker.providers import failures
from worker.providers.body import Body
from worker.providers.decoder import Decoder
from worker.providers.heads import Heads
from worker.providers.patience import Patience
from worker.providers.sleeper import SleepingReader
from worker.providers.transport import Transport
from worker.sweep import Swept

BROKEN = (httpx2.HTTPError, aiohttp.ClientError, OSError)
"""What a connection that fails raises, whichever transport it is of."""
_LAST_READ_S = 0.05
"""How long the end of the body, which mostly comes with the end of the answer, is waited for to keep the connection."""


@dataclass(frozen=True)
class Limits:
    """How long the provider may take, and how many calls may run at once."""

    first_token_s: float
    """From the call to the first piece of the answer. Pings and the message's head are not pieces of it."""
    idle_s: float
    """Silence afterwards. Here every byte counts, pings too: they are how the provider says that it is at work."""
    calls: int


Open = Callable[[AsyncExitStack], Awaitable[Body]]
"""Sends the call and returns its answer's body; the stack closes both. Raises ``ProviderError``."""


class Upstream:
    """One server's address, as far as calls to it share something."""

    def __init__(self, base_url: str, limits: Limits) -> None:
        """Take the address and the limits of its calls."""
        self.limits = limits
        self.transport = Transport(base_url, limits.calls)
        self.heads = Heads(self.transport)

    async def answer(
        self, decoder: Decoder, send: Open, swept: Swept | None = None
    ) -> AsyncGenerator[Sequence[Event | Finish], None]:
        """Yield the answer's events as they arrive; see ``Provider``. Leaving early closes the connection at once."""
        first_by = asyncio.get_running_loop().time() + self.limits.first_token_s
        async with AsyncExitStack() as stack:
            patience = Patience()
            stack.callback(patience.close)
            try:
                with patience.until(first_by):
                    body = await send(stack)
            except TimeoutError:
                raise self._silent(begun=False) from None
            stack.push_async_callback(_read_out, body, patience, decoder)
            sleeper = None
            if swept is not None and body.response is not None:
                sleeper = SleepingReader(body.response, decoder, patience, self.limits.idle_s, swept)
            while not decoder.finished:
                try:
                    batch = await self._next(body, decoder, patience, first_by, sleeper)
                except TimeoutError:
                    raise self._silent(begun=decoder.begun) from None
                except ProviderError:
                    if last := decoder.rest():
                        yield last
                    raise
                if batch:
                    yield batch

    async def _next(
        self, body: Body, decoder: Decoder, patience: Patience, first_by: float, sleeper: SleepingReader | None
    ) -> Sequence[Event | Finish]:
        """Return what comes next, asleep as long as others read. Raises what ``_read`` does."""
        if sleeper is not None and sleeper.may_sleep and (batch := await sleeper.sleep()):
            return batch
        batch = await self._read(body, decoder, patience, first_by)
        if sleeper is not None:
            sleeper.note(batch)
        return batch

    async def _read(
        self, body: Body, decoder: Decoder, patience: Patience, first_by: float
    ) -> Sequence[Event | Finish]:
        """Return what the next bytes come to. Raises ``ProviderError``, and ``TimeoutError`` where none came."""
        idle_by = asyncio.get_running_loop().time() + self.limits.idle_s
        try:
            with patience.until(idle_by if decoder.begun else first_by):
                chunk = await body.read()
        except TimeoutError:  # before BROKEN, of which it is one
            raise
        except BROKEN as error:
            raise failures.cut() from error
        batch = decoder.feed(chunk) if chunk else decoder.at_end()
        if not chunk and not decoder.finished:
            raise failures.cut()
        return batch

    def _silent(self, *, begun: bool) -> ProviderError:
        """Return what it is that nothing came in time."""
        if begun:
            return failures.fell_silent(self.limits.idle_s)
        return failures.never_began(self.limits.first_token_s)


async def _read_out(body: Body, patience: Patience, decoder: Decoder) -> None:
    """Read the end of a finished answer's body, so that its connection serves the next call."""
    if decoder.finished:
        with suppress(TimeoutError, *BROKEN), patience.until(asyncio.get_running_loop().time() + _LAST_READ_S):
            await body.read()


def retry_after_s(headers: Mapping[str, str]) -> float | None:
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
