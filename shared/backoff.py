"""How long to wait before trying again: exponential backoff with full jitter, which starts over on progress."""

from __future__ import annotations

import random
from collections.abc import Callable

_MOST_DOUBLINGS = 60
"""Beyond this any cap is reached, and a float would soon overflow."""


class Backoff:
    """Delays drawn evenly from 0 to ``min(most_s, first_s * 2 ** failures)``, in seconds.

    Full jitter, because many callers fail together when a server goes away and must not come back together.
    """

    def __init__(self, first_s: float, most_s: float, rng: Callable[[], float] = random.random) -> None:
        """Take the first delay's ceiling, the highest one, and where numbers from 0 to 1 come from.

        Raises ``ValueError`` unless ``0 < first_s <= most_s``.
        """
        if not 0 < first_s <= most_s:
            message = f"a backoff needs 0 < first_s <= most_s, not first_s={first_s} and most_s={most_s}"
            raise ValueError(message)
        self.first_s = first_s
        self.most_s = most_s
        self.failures = 0
        """Failures since the last progress, as far as delays were asked for them."""
        self._rng = rng

    @property
    def ceiling_s(self) -> float:
        """The longest the next delay can be."""
        return min(self.most_s, self.first_s * 2.0 ** min(self.failures, _MOST_DOUBLINGS))

    def next_s(self) -> float:
        """Count a failure and return the delay to wait for it."""
        delay_s = self._rng() * self.ceiling_s
        self.failures += 1
        return delay_s

    def reset(self) -> None:
        """Note progress: the next delay is a first one again."""
        self.failures = 0

    def rebase(self, first_s: float) -> None:
        """Take another first ceiling, as a server may ask for; the cap still holds."""
        self.first_s = min(max(first_s, 0.001), self.most_s)
