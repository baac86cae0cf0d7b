"""The most that still fits, found by trying: up by a factor, then halving what lies between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


async def most_that_fits(
    fits: Callable[[int], Awaitable[bool]], first: int, *, factor: float = 2.0, near: float = 1.06, most: int = 4000
) -> int:
    """Return the largest number tried that fits, ``near`` of it at most below the first that does not; 0 for none.

    ``first`` is tried first, and then what lies by ``factor`` above, or below where it does not fit, up to ``most``.
    """
    low, high = 0, 0
    number = max(1, min(first, most))
    while not (low and high):
        if await fits(number):
            low = number
            if low == most:
                return low
            number = min(most, max(low + 1, round(low * factor)))
        else:
            high = number
            if high == 1:
                return 0
            number = min(high - 1, round(high / factor)) or 1
        if low and high:
            break
    while high > max(low + 1, low * near):
        middle = (low + high) // 2
        if await fits(middle):
            low = middle
        else:
            high = middle
    return low
