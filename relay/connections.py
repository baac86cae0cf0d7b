"""The open event connections of this relay: how many there may be, and how they are ended when it must go."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from relay.subscription import Subscription
from shared.errors import LimitError, OverloadedError
from shared.metrics import CONNECTIONS
from shared.settings import Settings

log = structlog.get_logger()


class Connection:
    """One client's open connection. ``leaving`` is set when it should say goodbye and end, with its offset intact."""

    def __init__(self, subscription: Subscription) -> None:
        """Take the subscription it reads."""
        self.leaving = False
        self._subscription = subscription

    def leave(self) -> None:
        """Ask the connection to end now."""
        self.leaving = True
        self._subscription.poke()


class Connections:
    """All connections of this process."""

    def __init__(self, settings: Settings) -> None:
        """Take the limits."""
        self._settings = settings
        self._open: set[Connection] = set()
        self._by_tenant: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    @contextmanager
    def opened(self, tenant: str, mode: str, subscription: Subscription) -> Iterator[Connection]:
        """Count a connection while it is open. Raises ``LimitError`` or ``OverloadedError`` when there are too many.

        The errors name the stream: it may have been started a moment ago, and is then followed later, not started anew.
        """
        if self.draining or len(self._open) >= self._settings.max_connections:
            message = "this relay takes no more connections; try again, another one will answer"
            raise OverloadedError(message, retry_after_s=1, stream_id=subscription.stream_id)
        if self._by_tenant[tenant] >= self._settings.max_connections_per_tenant:
            message = "this API key has as many open connections as it may have; close some"
            raise LimitError(message, retry_after_s=5, stream_id=subscription.stream_id)
        connection = Connection(subscription)
        told = log.bind(stream=subscription.stream_id, connection=secrets.token_hex(4), mode=mode)
        tell = told.debug if mode == "poll" else told.info  # a poll may come for every few tokens
        tell("connection.opened", offset=subscription.offset.text(subscription.stream_id))
        self._open.add(connection)
        self._empty.clear()
        self._by_tenant[tenant] += 1
        CONNECTIONS.labels(mode).inc()
        try:
            yield connection
        finally:
            self._open.discard(connection)
            if not self._open:
                self._empty.set()
            self._by_tenant[tenant] -= 1
            if not self._by_tenant[tenant]:
                del self._by_tenant[tenant]
            CONNECTIONS.labels(mode).dec()
            offset = subscription.offset.text(subscription.stream_id)
            tell("connection.closed", offset=offset, ended=subscription.ended, drained=connection.leaving)

    async def drain(self, budget_s: float) -> None:
        """Take no more connections and end those that are open, at random times spread over ``budget_s``.

        The spread keeps the clients from coming back to the other relays all at once.
        """
        self.draining = True
        loop = asyncio.get_running_loop()
        goodbyes = [loop.call_later(random.uniform(0, budget_s * 0.9), one.leave) for one in self._open]  # noqa: S311
        try:
            async with asyncio.timeout(budget_s):
                await self._empty.wait()
        except TimeoutError:
            pass
        finally:
            for goodbye in goodbyes:
                goodbye.cancel()
