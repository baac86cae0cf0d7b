"""The one place where the fault suite lets time pass: faults last, clients wait before they come back."""

from __future__ import annotations

import asyncio


async def pause(seconds: float) -> None:
    """Return after ``seconds``. What is waited for elsewhere is a condition with a deadline."""
    await asyncio.sleep(max(seconds, 0.0))
