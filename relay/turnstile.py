"""The pace at which readers are let in, so that a relay that has just come up is not run over by all that return."""

from __future__ import annotations

import asyncio
import random

from shared.errors import OverloadedError
from shared.metrics import LINED_UP

_BURST_S = 0.1
"""As many as are let in within this time may come at one moment."""
_LINE_S = 5.0
"""The longest wait in line. A browser's EventSource waits, but never comes back after a 503."""
_COME_BACK_S = 5.0


class Turnstile:
    """Lets in ``per_s`` readers a second, in the order they came; costs nothing while fewer come."""

    def __init__(self, per_s: int) -> None:
        """Take the pace."""
        self._apart_s = 1 / per_s
        self._next_s = 0.0
        """When the next turn is, on the loop's clock."""

    async def enter(self) -> None:
        """Return when it is the caller's turn; a caller that is cancelled leaves its turn unused.

        Raises ``OverloadedError`` when the line is full, with a time to come back that differs from caller to caller.
        """
        now_s = asyncio.get_running_loop().time()
        turn_s = max(self._next_s, now_s - _BURST_S)
        wait_s = turn_s - now_s
        if wait_s > _LINE_S:
            message = "too many readers come to this relay at once; try again, from the same offset"
            raise OverloadedError(message, retry_after_s=random.uniform(1, _COME_BACK_S))  # noqa: S311
        self._next_s = turn_s + self._apart_s
        if wait_s > 0:
            LINED_UP.inc()
            await asyncio.sleep(wait_s)
