"""Sending on one socket: the streams on it take turns, and answers to the client's own messages go between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import structlog
from aiohttp import WSMsgType, web

from shared.metrics import SEND_TIMEOUTS

_MOST_ANSWERS = 256
"""Unsent. A client that asks on and reads nothing is cut off."""


class ClientGoneError(Exception):
    """Nothing can be sent any more."""


class Sender:
    """The one writer of a socket.

    Each stream brings one batch at a time and waits for its turn in a fair line: so none of them, however much it has
    to say, holds up another by more than a batch, and a client that does not read makes the relay hold one batch each.
    Every message is written whole, whatever is cancelled.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        send_timeout_s: float,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        """Write to ``socket``, and let its client go when it takes nothing for ``send_timeout_s``."""
        self._socket = socket
        self._transport = transport
        self._send_timeout_s = send_timeout_s
        self._log = log
        self._turn = asyncio.Lock()  # first come, first served: that is what makes the streams take turns
        self._answers: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._written = 0

    async def send_answers(self) -> None:
        """Send the answers that wait, or those that come next; return at a ``poke`` too. Raises ``ClientGoneError``."""
        if not self._answers:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        await self.tell(())

    def poke(self) -> None:
        """Make a waiting ``send_answers`` return."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def answer(self, message: bytes) -> None:
        """Send a message before any stream's next batch. Never waits."""
        if len(self._answers) >= _MOST_ANSWERS:
            self._log.info("socket.flooded", unsent=len(self._answers))
            self._transport.abort()
            return
        self._answers.append(message)
        self.poke()

    async def tell(self, messages: Sequence[bytes]) -> None:
        """Return when the messages are on their way, in order and together. Raises ``ClientGoneError``."""
        async with self._turn:
            try:
                with _Patience(self):
                    while self._answers:
                        await self._write(self._answers.pop(0))
                    for message in messages:
                        await self._write(message)
            except ConnectionError:
                raise ClientGoneError from None

    async def close(self, code: int, last: bytes | None = None) -> None:
        """Send what waits to be sent, ``last`` after it, and close; nothing is sent after that."""
        if last is not None:
            self._answers.append(last)
        try:
            await self.tell(())
            async with self._turn:
                with _Patience(self):
                    await self._socket.close(code=code)
        except ClientGoneError:
            self._transport.abort()

    def progress(self) -> tuple[int, int]:
        """Return what grows while the client takes anything."""
        return self._written, -self._transport.get_write_buffer_size()

    def give_up(self) -> None:
        """Cut off a client that takes nothing."""
        SEND_TIMEOUTS.inc()
        self._log.info("socket.send_timeout")
        self._transport.abort()

    @property
    def patience_s(self) -> float:
        """How long a client may take nothing."""
        return self._send_timeout_s

    async def _write(self, message: bytes) -> None:
        """Send one message; return once the kernel has it."""
        await self._socket.send_frame(message, WSMsgType.TEXT)
        self._written += 1


class _Patience:
    """Watches a sender while it sends. A timer, not a task: there is one for every batch."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def _wait(self) -> None:
        """Look again later."""
        self._before = self._sender.progress()
        self._timer = self._loop.call_later(self._sender.patience_s, self._look)

    def _look(self) -> None:
        """Give up when the client has taken nothing since."""
        if self._sender.progress() <= self._before:
            self._sender.give_up()
        else:
            self._wait()
