"""The pace at which a relay lets readers in."""

from __future__ import annotations

import asyncio

import pytest

from relay.turnstile import Turnstile
from shared.errors import OverloadedError
from shared.tasks import end_tasks
from tests.relay.api import script
from tests.relay.conftest import MakeApi
from tests.support import eventually
from tests.support_sse import SseReader


async def test_readers_that_come_together_are_let_in_at_the_pace(make_api: MakeApi) -> None:
    """Sixty at once, forty a second: all are served, and never more than the pace and a burst within any time."""
    api = await make_api(accept_per_s=40)
    stream_id = await api.start(messages=script(tokens=1))
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    async def served() -> float:
        async with api.follow(stream_id) as reader:
            assert reader.response.status == 200
            return loop.time() - began_s

    let_in_s = sorted(await asyncio.gather(*(served() for _ in range(60))))
    for number, at_s in enumerate(let_in_s):
        assert number <= 40 * (at_s + 0.1) + 1


async def test_few_readers_do_not_wait() -> None:
    """A burst within the pace passes without giving up its turn on the loop."""
    turnstile = Turnstile(1000)
    for _ in range(100):
        turn = turnstile.enter()
        with pytest.raises(StopIteration):
            turn.send(None)


async def test_who_finds_the_line_full_is_told_to_come_back_at_different_times(make_api: MakeApi) -> None:
    """Beyond five seconds of waiting it is 503; each is told its own time, so that not all are back at once."""
    api = await make_api(accept_per_s=1)
    stream_id = await api.start()
    readers = [api.follow(stream_id) for _ in range(30)]

    async def turned_away(reader: SseReader) -> int | None:
        async with reader:
            return int(reader.response.headers["Retry-After"]) if reader.response.status == 503 else None

    asked = [asyncio.create_task(turned_away(reader)) for reader in readers]
    await eventually(lambda: sum(task.done() for task in asked) >= 20)
    done = [task for task in asked if task.done()]
    await end_tasks([task for task in asked if not task.done()])
    delays_s = [delay_s for task in done if (delay_s := task.result()) is not None]
    assert len(delays_s) >= 15
    assert len(set(delays_s)) > 1
    assert all(1 <= delay_s <= 5 for delay_s in delays_s)


async def test_who_is_turned_away_takes_no_turn() -> None:
    """Two a second and five seconds of line: eleven of forty wait, however many were turned away."""
    turnstile = Turnstile(2)
    turns = [asyncio.create_task(turnstile.enter()) for _ in range(40)]
    done, _ = await asyncio.wait(turns, timeout=0.05)
    await end_tasks(turns)
    assert sum(isinstance(task.exception(), OverloadedError) for task in done) == 40 - 11
