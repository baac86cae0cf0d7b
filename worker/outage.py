"""Waiting for Redis: a step that needs it is tried until it works, but no longer than a worker may be cut off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.exceptions import RedisError

from shared.backoff import Backoff
from worker.stream_writer import LostStreamError

T = TypeVar("T")
DETACHED = "detached"


async def outlast(step: Callable[[], Awaitable[T]], detached_s: float) -> T:
    """Return what ``step`` returns, as ``insist`` does.

    Raises ``LostStreamError`` after ``detached_s`` without success: by then others have the stream.
    """
    try:
        return await insist(step, detached_s)
    except (RedisError, OSError):
        raise LostStreamError(DETACHED) from None


async def insist(step: Callable[[], Awaitable[T]], for_s: float) -> T:
    """Return what ``step`` returns, trying again after each ``RedisError``; the step must be idempotent.

    Raises the last error after ``for_s`` without success.
    """
    backoff = Backoff(0.05, 1.0)
    deadline_s = time.monotonic() + for_s
    while True:
        try:
            return await step()
        except (RedisError, OSError):
            if time.monotonic() > deadline_s:
                raise
        await asyncio.sleep(backoff.next_s())
