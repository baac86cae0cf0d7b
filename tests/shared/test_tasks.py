"""Ending tasks: also those that lose a cancellation on the way."""

from __future__ import annotations

import asyncio

from shared.tasks import end_tasks


async def test_tasks_that_swallow_a_cancellation_are_ended_all_the_same() -> None:
    """A task that loses its first two cancellations is cancelled a third time."""
    lost = 0

    async def forgetful() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lost == 2:
                    raise
                lost += 1

    task = asyncio.create_task(forgetful())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end_tasks([task])
    assert (lost, task.cancelled()) == (2, True)


async def test_tasks_that_have_ended_are_no_trouble() -> None:
    """A task that is done, and one that has failed, are left as they are."""

    async def fail() -> None:
        raise ValueError

    done, failed = asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(fail())
    await asyncio.wait([done, failed])
    await end_tasks([done, failed])
    assert isinstance(failed.exception(), ValueError)
