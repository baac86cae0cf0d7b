"""The limit on reads: it strikes the read that is too long, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from tests.support import eventually
from worker.providers.patience import Patience


def now() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


async def wait_for_ever() -> None:
    """Wait for what never comes."""
    await asyncio.get_running_loop().create_future()


async def test_a_read_past_its_deadline_is_a_timeout() -> None:
    """And the task is not left cancelled."""
    patience = Patience()
    with pytest.raises(TimeoutError), patience.until(now() + 0.02):
        await wait_for_ever()
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_reads_in_time_are_left_alone_and_a_later_one_is_still_limited() -> None:
    """One timer serves them all, also when a later deadline is nearer than the first."""
    patience = Patience()
    for limit_s in (60, 0.05, 0.05, 60):
        with patience.until(now() + limit_s):
            await asyncio.sleep(0)
    started = now()
    with pytest.raises(TimeoutError), patience.until(started + 0.05):
        await wait_for_ever()
    assert 0.04 < now() - started < 5
    patience.close()


async def test_the_time_between_reads_does_not_count() -> None:
    """A slow reader is not a silent provider: the timer that fires between two reads strikes neither."""
    patience = Patience()
    with patience.until(now() + 0.01):
        pass
    later = now() + 0.03
    await eventually(lambda: now() > later)
    with patience.until(now() + 0.05):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), patience.until(now() + 0.01):
        await wait_for_ever()


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Also when it comes in the same moment as the deadline."""

    async def read(patience: Patience, deadline: float) -> None:
        with patience.until(deadline):
            await wait_for_ever()

    for limit_s in (60.0, 0.02):
        deadline = now() + limit_s
        task = asyncio.create_task(read(Patience(), deadline))
        asyncio.get_running_loop().call_at(min(deadline, now() + 0.02), task.cancel)
        await asyncio.wait([task])
        assert task.cancelled()


async def test_an_error_of_the_read_itself_passes() -> None:
    """The limit adds nothing to it."""
    with pytest.raises(ConnectionError), Patience().until(now() + 60):
        raise ConnectionError
