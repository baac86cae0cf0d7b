"""Credit: how many events of one stream its client takes before it acknowledges some."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class Credit:
    """Counts what is unacknowledged. One that is waited for holds nothing: the subscription behind it reads the log."""

    def __init__(self, most: int | None) -> None:
        """Let ``most`` events be unacknowledged; None: any number, and acknowledgements mean nothing."""
        self._most = most
        self._unacknowledged: list[str] = []
        """Offsets in the order they were told: after a fork they need not ascend."""
        self._waiter: asyncio.Future[None] | None = None

    def room(self, wanted: int) -> int:
        """Return how many of ``wanted`` more events may be told now."""
        return wanted if self._most is None else min(self._most - len(self._unacknowledged), wanted)

    async def wait(self) -> None:
        """Return when there is room, or at a ``poke``."""
        if not self.room(1):
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def spend(self, offsets: Iterable[str]) -> None:
        """Count these events as told. Call before they are sent: the answer may be back before the sender is."""
        if self._most is not None:
            self._unacknowledged.extend(offsets)

    def acknowledge(self, offset: str) -> bool:
        """Count no event up to this one any more; tell whether it was one of them."""
        if offset not in self._unacknowledged:
            return False
        del self._unacknowledged[: self._unacknowledged.index(offset) + 1]
        self.poke()
        return True

    def poke(self) -> None:
        """Wake whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
