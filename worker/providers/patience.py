"""A limit on how long reads may wait that costs next to nothing per read."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Patience:
    """Guards the reads of one stream, one after another: ``with patience.until(deadline): await read()``.

    One timer serves all of them and is moved only when it fires: ``asyncio.timeout`` for each read would cost more
    than decoding what the read brings. Time between reads does not count, so a slow reader is never blamed.
    """

    def __init__(self) -> None:
        """Belong to the running loop."""
        self._loop = asyncio.get_running_loop()
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[object] | None = None
        self._task: asyncio.Task[object] | None = None
        """The reader while it waits."""
        self._cancelling = 0
        self._fired = False

    def until(self, deadline: float) -> Self:
        """Set the deadline, in the loop's time, of the read that follows."""
        self._deadline = deadline
        return self

    def __enter__(self) -> None:
        """Start to watch the current task, which must be the same for all reads."""
        if self._reader is None:
            self._reader = asyncio.current_task()
            assert self._reader is not None
        self._task = self._reader
        self._cancelling = self._task.cancelling()
        if self._timer is None or self._timer.when() > self._deadline:
            self._arm()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Stop watching. Raises ``TimeoutError`` in place of the cancellation that the deadline caused."""
        task, self._task = self._task, None
        if self._fired:
            self._fired = False
            assert task is not None
            if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def close(self) -> None:
        """Drop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self.close()
        self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._task is None:
            return  # nobody is waiting; the next read arms the timer again
        if self._loop.time() < self._deadline:
            self._arm()
            return
        self._fired = True
        self._task.cancel()
