"""The open event connections of this relay: how many there may be, and how they are ended when it must go."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from relay.subscription import Subscription
from shared.errors import LimitError, OverloadedError
from shared.metrics import CONNECTIONS
from shared.settings import Settings

log = structlog.get_logger()


class Connection:
    """One client's open connection. ``leaving`` is set when it should say goodbye and end, with its offset intact."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Take what has it look at ``leaving``. To be made by the task that serves the connection."""
        self.leaving = False
        self._wake = wake
        self._task = asyncio.current_task()
        self._limit: asyncio.TimerHandle | None = None

    def leave(self) -> None:
        """Ask the connection to end now."""
        self.leaving = True
        self._wake()

    def leave_after(self, most_s: float | None) -> None:
        """Ask the connection to end in so many seconds, when its client may no longer read; None: never."""
        if most_s is not None:
            self._limit = asyncio.get_running_loop().call_later(most_s, self.leave)

    def closed(self) -> None:
        """Ask for nothing any more."""
        if self._limit is not None:
            self._limit.cancel()

    def cut(self) -> None:
        """End the connection without a goodbye, for which its client does not listen."""
        if self._task is not None:
            self._task.cancel()


class Connections:
    """All connections of this process."""

    def __init__(self, settings: Settings) -> None:
        """Take the limits."""
        self._settings = settings
        self._open: set[Connection] = set()
        self._count = 0
        self._by_tenant: Counter[str] = Counter()
        self._answering = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._drained_by_s: float | None = None
        self._goodbyes: list[asyncio.TimerHandle] = []
        self.draining = False
        """Whether this relay is about to go: it is not ready, and keeps no HTTP connection for another request."""

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    @contextmanager
    def opened(self, tenant: str, mode: str, subscription: Subscription) -> Iterator[Connection]:
        """Count a connection that reads one stream while it is open. Raises as ``counted`` does.

        A client that comes while others are sent away is served until its own goodbye: after a 503 some never return.
        """
        stream_id = subscription.stream_id
        with self.counted(tenant, mode, stream_id), self._drainable(subscription.poke) as connection:
            told = log.bind(stream=stream_id, connection=secrets.token_hex(4), mode=mode)
            tell = told.debug if mode == "poll" else told.info  # a poll may come for every few tokens
            tell("connection.opened", offset=subscription.offset.text(stream_id))
            try:
                yield connection
            finally:
                offset = subscription.offset.text(stream_id)
                tell("connection.closed", offset=offset, ended=subscription.ended, drained=connection.leaving)

    @contextmanager
    def socket(self, tenant: str, wake: Callable[[], None]) -> Iterator[Connection]:
        """Count a WebSocket, without the streams that it follows, while it is open. Raises as ``counted`` does."""
        with self.counted(tenant, "socket"), self._drainable(wake) as connection:
            yield connection

    @contextmanager
    def counted(self, tenant: str, mode: str, stream_id: str | None = None) -> Iterator[None]:
        """Count one against the limits. Raises ``LimitError`` or ``OverloadedError`` when there are too many.

        The errors name the stream: it may have been started a moment ago, and is then followed later, not started anew.
        """
        if self._count >= self._settings.max_connections:
            message = "this relay takes no more connections; try again, another one will answer"
            raise OverloadedError(message, retry_after_s=1, stream_id=stream_id)
        if self._by_tenant[tenant] >= self._settings.max_connections_per_tenant:
            message = "this API key has as many open connections as it may have; close some"
            raise LimitError(message, retry_after_s=5, stream_id=stream_id)
        self._count += 1
        self._by_tenant[tenant] += 1
        CONNECTIONS.labels(mode).inc()
        try:
            yield
        finally:
            self._count -= 1
            self._by_tenant[tenant] -= 1
            if not self._by_tenant[tenant]:
                del self._by_tenant[tenant]
            CONNECTIONS.labels(mode).dec()

    @contextmanager
    def _drainable(self, wake: Callable[[], None]) -> Iterator[Connection]:
        """Have a drain say goodbye to the connection."""
        connection = Connection(wake)
        self._open.add(connection)
        if self._drained_by_s is not None:
            self._say_goodbye_to(connection, self._drained_by_s)
        try:
            yield connection
        finally:
            connection.closed()
            self._open.discard(connection)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request of any kind until its answer has been made, so that a drain waits for it."""
        self._answering += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._answering -= 1
            if not self._answering:
                self._idle.set()

    async def drain(self, budget_s: float) -> None:
        """End all connections, at random times spread over ``budget_s``, and cut those that will not end.

        Returns once all requests are answered, plain ones too, and at the latest when the budget is spent. The spread
        keeps the clients from coming back to the other relays all at once.
        """
        self.draining = True
        self._drained_by_s = asyncio.get_running_loop().time() + budget_s
        for one in self._open:
            self._say_goodbye_to(one, self._drained_by_s)
        try:
            async with asyncio.timeout_at(self._drained_by_s):
                await self._idle.wait()
        except TimeoutError:
            log.info("relay.cut", connections=len(self._open))
            for one in self._open:
                one.cut()
        finally:
            for goodbye in self._goodbyes:
                goodbye.cancel()

    def _say_goodbye_to(self, connection: Connection, drained_by_s: float) -> None:
        """Have the connection leave at a random time in what is left of the budget, which some of it must outlast."""
        loop = asyncio.get_running_loop()
        left_s = max(drained_by_s - loop.time(), 0.0)
        self._goodbyes.append(loop.call_later(random.uniform(0, left_s * 0.9), connection.leave))  # noqa: S311
