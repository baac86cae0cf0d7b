"""The open event connections of this relay: how many there may be, and how they are ended when it must go."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from relay.reading.subscription import Subscription
from shared.errors import LimitError, OverloadedError
from shared.metrics import CONNECTIONS
from shared.settings import Settings

log = structlog.get_logger()


class Connection:
    """One client's open connection. ``leaving`` is set when it should say goodbye and end, with its offset intact."""

    __slots__ = ("_limit", "_task", "_wake", "leaving")

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


class Answering:
    """How many requests are being answered. A block under it is one; any number of them may share it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._count = 0
        self.idle = asyncio.Event()
        """Set while there is none."""
        self.idle.set()

    def __enter__(self) -> None:
        """Count one more."""
        self._count += 1
        self.idle.clear()

    def __exit__(self, *_error: object) -> None:
        """Count one less."""
        self._count -= 1
        if not self._count:
            self.idle.set()


class Connections:
    """All connections of this process."""

    def __init__(self, settings: Settings) -> None:
        """Take the limits."""
        self._settings = settings
        self._open: set[Connection] = set()
        self._count = 0
        self._by_tenant: Counter[str] = Counter()
        self.answering = Answering()
        """Requests of any kind: a drain waits for their answers."""
        self._drained_by_s: float | None = None
        self._goodbyes: list[asyncio.TimerHandle] = []
        self.draining = False
        """Whether this relay is about to go: it is not ready, and keeps no HTTP connection for another request."""

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def opened(self, tenant: str, mode: str, subscription: Subscription) -> _Opened:
        """Count a connection that reads one stream while it is open. Raises as ``counted`` does.

        A client that comes while others are sent away is served until its own goodbye: after a 503 some never return.
        """
        return _Opened(self, self.counted(tenant, mode, subscription.stream_id), mode, subscription)

    @contextmanager
    def socket(self, tenant: str, wake: Callable[[], None]) -> Iterator[Connection]:
        """Count a WebSocket, without the streams that it follows, while it is open. Raises as ``counted`` does."""
        with self.counted(tenant, "socket"):
            connection = self.hold(wake)
            try:
                yield connection
            finally:
                self.let_go(connection)

    def counted(self, tenant: str, mode: str, stream_id: str | None = None) -> _Counted:
        """Count one against the limits. Raises ``LimitError`` or ``OverloadedError`` when there are too many.

        The errors name the stream: it may have been started a moment ago, and is then followed later, not started anew.
        """
        return _Counted(self, tenant, mode, stream_id)

    def take(self, tenant: str, mode: str, stream_id: str | None) -> None:
        """Count one more. Raises as ``counted`` does."""
        if self._count >= self._settings.max_connections:
            message = "this relay takes no more connections; try again, another one will answer"
            raise OverloadedError(message, retry_after_s=1, stream_id=stream_id)
        if self._by_tenant[tenant] >= self._settings.max_connections_per_tenant:
            message = "this API key has as many open connections as it may have; close some"
            raise LimitError(message, retry_after_s=5, stream_id=stream_id)
        self._count += 1
        self._by_tenant[tenant] += 1
        CONNECTIONS.labels(mode).inc()

    def give_back(self, tenant: str, mode: str) -> None:
        """Count one less."""
        self._count -= 1
        self._by_tenant[tenant] -= 1
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]
        CONNECTIONS.labels(mode).dec()

    def hold(self, wake: Callable[[], None]) -> Connection:
        """Return a connection that a drain says goodbye to, until ``let_go``."""
        connection = Connection(wake)
        self._open.add(connection)
        if self._drained_by_s is not None:
            self._say_goodbye_to(connection, self._drained_by_s)
        return connection

    def let_go(self, connection: Connection) -> None:
        """Say no goodbye to a connection that has ended by itself."""
        connection.closed()
        self._open.discard(connection)

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
                await self.answering.idle.wait()
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


# Classes, not generators: of these there is one to each open reader, for which two generators would be a kilobyte.


class _Counted:
    """One that counts against the limits while its block runs."""

    __slots__ = ("_connections", "_mode", "_stream_id", "_tenant")

    def __init__(self, connections: Connections, tenant: str, mode: str, stream_id: str | None) -> None:
        self._connections = connections
        self._tenant = tenant
        self._mode = mode
        self._stream_id = stream_id

    def __enter__(self) -> None:
        self._connections.take(self._tenant, self._mode, self._stream_id)

    def __exit__(self, *_error: object) -> None:
        self._connections.give_back(self._tenant, self._mode)


class _Opened:
    """A connection that reads one stream while its block runs, and the two log lines of that."""

    __slots__ = ("_connection", "_connections", "_counted", "_mode", "_name", "_subscription")

    def __init__(self, connections: Connections, counted: _Counted, mode: str, subscription: Subscription) -> None:
        self._connections = connections
        self._counted = counted
        self._mode = mode
        self._subscription = subscription
        self._name = secrets.token_hex(4)
        self._connection: Connection

    def __enter__(self) -> Connection:
        self._counted.__enter__()
        self._connection = self._connections.hold(self._subscription.poke)
        self._tell("connection.opened")
        return self._connection

    def __exit__(self, *_error: object) -> None:
        self._tell("connection.closed", ended=self._subscription.ended, drained=self._connection.leaving)
        self._connections.let_go(self._connection)
        self._counted.__exit__()

    def _tell(self, event: str, **more: bool) -> None:
        stream_id = self._subscription.stream_id
        told = log.bind(stream=stream_id, connection=self._name, mode=self._mode)
        tell = told.debug if self._mode == "poll" else told.info  # a poll may come for every few tokens
        tell(event, offset=self._subscription.offset.text(stream_id), **more)
