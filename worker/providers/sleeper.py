"""An answer that is read while its task sleeps: in the worker's sweep, without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp

from shared.errors import ProviderError
from shared.events import DeltaEvent, Event
from worker.llm import Finish
from worker.providers.decoder import Decoder
from worker.providers.hushed_socket import HushedSocket
from worker.providers.patience import Patience
from worker.sweep import Swept

_DEFECTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a defect might raise. It is for the answer's own task to fail by, and not for all that are read beside it."""


class SleepingReader:
    """Reads the body of one answer while its task waits in ``sleep``. Part of a ``Sweep`` for as long."""

    def __init__(
        self, response: aiohttp.ClientResponse, decoder: Decoder, patience: Patience, idle_s: float, swept: Swept
    ) -> None:
        """Read the body of ``response``, where silence of ``idle_s`` is what ``patience`` ends."""
        self._response = response
        self._content = response.content
        self._decoder = decoder
        self._patience = patience
        self._idle_s = idle_s
        self._swept = swept
        self._has_token = False
        self._seen_bytes = 0
        self._socket: HushedSocket | None = None
        self._woken: asyncio.Future[None] | None = None
        self._batch: Sequence[Event | Finish] = ()
        self._error: Exception | None = None
        self._content.on_eof(self._leave_connection)

    @property
    def may_sleep(self) -> bool:
        """Whether there is a sweep that would read meanwhile, and a first token: nothing waits before it."""
        return self._swept.sweep.on and self._has_token

    def note(self, batch: Sequence[Event | Finish]) -> None:
        """Note what the task has read by itself."""
        self._has_token = self._has_token or any(isinstance(event, DeltaEvent) for event in batch)

    async def sleep(self) -> Sequence[Event | Finish]:
        """Wait until the task is needed; return a batch that nobody has taken, or nothing: it must read by itself.

        Raises what reading meanwhile has raised, and ``TimeoutError`` after too long a silence.
        """
        loop = asyncio.get_running_loop()
        self._woken, self._batch, self._error, self._seen_bytes = loop.create_future(), (), None, -1
        self._swept.sweep.join(self)
        self._socket = HushedSocket.of(self._response.connection)
        try:
            with self._patience.until(loop.time() + self._idle_s):
                await self._woken
        except TimeoutError:
            self.receive()
            self._take()
            if self._content.total_bytes == self._seen_bytes:
                raise
            # The silence was ours: the sweep did not come by, for a Redis that did not answer.
        finally:
            self._swept.sweep.leave(self)
            if self._socket is not None:
                self._socket.close()
        if self._error is not None:
            raise self._error
        return self._batch

    def receive(self) -> None:
        """Receive what has come, for ``read``."""
        if self._socket is not None:
            self._socket.receive()

    def read(self, now_s: float, /) -> None:
        """Tell what was received, and wake the task for whatever else than plain events there is."""
        content = self._content
        try:
            self._take()
            if self._woken is None or self._woken.done():
                return
            if content.is_eof() or content.exception() is not None:
                self.wake()
                return
            if content.total_bytes == self._seen_bytes:
                return
            self._seen_bytes = content.total_bytes
            self._patience.until(now_s + self._idle_s)
            batch = self._decoder.feed(content.read_nowait())
            if batch and not self._swept.take(batch):
                self._batch = batch
                self.wake()
        except (ProviderError, *_DEFECTS) as error:
            self._error = error
            self.wake()

    def _take(self) -> None:
        """See that what was received is in ``content``."""
        if self._socket is not None:
            self._socket.take()

    def _leave_connection(self) -> None:
        """Let the next call have the connection as it was: at its body's end it goes back to those that are kept."""
        if self._socket is not None:
            self._socket.close()
        self.wake()

    def wake(self) -> None:
        """Let the task read by itself again. Idempotent."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
