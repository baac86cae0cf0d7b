"""Very many readers that only count what comes: raw protocols that parse nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

from bench.plan import BenchError
from bench.provider import TOKEN_MARK

_PER_S = 480
"""Connections opened in a second: just below what a relay lets in by default."""
_AT_ONCE = 24
_ADDRESSES = 16
"""Source addresses they are spread over, 127.0.0.1 and up, since each has only so many ports."""
_LOOK_S = 0.05
_OK = b"HTTP/1.1 200 "


class Listener(asyncio.Protocol):
    """One reader."""

    __slots__ = ("_request", "gone", "received_bytes", "refusal", "tokens", "transport")

    def __init__(self, request: bytes) -> None:
        """Take the request to send."""
        self._request = request
        self.transport: asyncio.Transport | None = None
        self.received_bytes = 0
        self.tokens = 0
        self.refusal = b""
        self.gone = asyncio.Event()

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self.gone.is_set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count."""
        if not self.received_bytes and not data.startswith(_OK):
            self.refusal = data[:200]
        self.received_bytes += len(data)
        self.tokens += data.count(TOKEN_MARK)

    def connection_lost(self, _error: Exception | None) -> None:
        """Note it."""
        self.gone.set()


class Listeners:
    """All of them."""

    def __init__(self) -> None:
        """Begin with none."""
        self.all: list[Listener] = []

    @property
    def tokens(self) -> int:
        """Tokens that have come to all of them together."""
        return sum(one.tokens for one in self.all)

    async def open(self, port: int, request: Callable[[int], bytes], count: int) -> None:
        """Open ``count`` of them at a pace that a relay lets in, each with its own request. Raises ``BenchError``."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            for first in range(0, count, _AT_ONCE):
                numbers = range(first, min(first + _AT_ONCE, count))
                opened = await asyncio.gather(*(self._open_one(port, request(number), number) for number in numbers))
                self.all += opened
                await asyncio.sleep(began_s + (first + _AT_ONCE) / _PER_S - loop.time())
        except OSError as error:
            message = f"reader {len(self.all)} of {count} could not connect: {error}"
            raise BenchError(message) from None

    async def _open_one(self, port: int, request: bytes, number: int) -> Listener:
        loop = asyncio.get_running_loop()
        source = (f"127.0.0.{1 + number % _ADDRESSES}", 0)
        _, listener = await loop.create_connection(lambda: Listener(request), "127.0.0.1", port, local_addr=source)
        return listener

    async def until(self, heard: Callable[[Listener], bool], within_s: float, what: str) -> None:
        """Return once it is true of all of them. Raises ``BenchError``, also when one was refused or left."""
        until_s = time.perf_counter() + within_s
        while waiting := [one for one in self.all if not heard(one)]:
            for one in waiting:
                if one.refusal or one.lost:
                    message = f"a reader was refused or cut off: {one.refusal.decode(errors='replace') or 'closed'}"
                    raise BenchError(" ".join(message.split()))
            if time.perf_counter() > until_s:
                message = f"{len(waiting)} of {len(self.all)} readers {what} within {within_s:.0f} s"
                raise BenchError(message)
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """Cut all connections, and let the loop see it."""
        for one in self.all:
            if one.transport is not None:
                one.transport.abort()
        for one in self.all:
            await one.gone.wait()
        self.all = []
