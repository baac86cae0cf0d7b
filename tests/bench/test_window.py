"""bench/window.py: what is seen of a load while it is looked at."""

from __future__ import annotations

import asyncio
import time

import pytest

from bench.reader import Reading
from bench.window import look


async def test_only_what_comes_meanwhile_counts() -> None:
    """Tokens and gaps from before are somebody else's."""
    now_s = time.perf_counter()
    reading = Reading(asked_s=now_s)
    reading.note(5, now_s)
    looking = asyncio.create_task(look({}, [reading], 0.1))
    await asyncio.sleep(0)
    reading.note(3, now_s + 0.01)
    reading.whole = True
    window = await looking
    assert window.tokens == 3
    assert window.gap_p99_ms == pytest.approx(10, abs=1)
    assert window.parts_cpu_s == {}


async def test_a_stream_that_has_stalled_shows() -> None:
    """It gives no gap, since its next token never comes: what it has waited so far counts."""
    reading = Reading(asked_s=time.perf_counter() - 5)
    window = await look({}, [reading], 0.01)
    assert window.gap_p99_ms > 5000
    assert window.tokens == 0
