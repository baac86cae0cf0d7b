"""A crowd of paced streams, all read from one system: started one after the other, read to their ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.plan import BenchError
from bench.reader import Reading, read_answer
from bench.target import Target

APART_S = 0.618 / 50
"""Streams start this far apart: 81 in a second. At 50 tokens per second it is the golden part of a token's time, at
other rates another part that fits into none, which spreads the tokens evenly over it: neither in step, which would let
a system write many at once, nor by chance, which no two rounds would share."""
SETTLED_S = 0.5
"""After the last start, until a crowd counts as being in full swing."""
_PATIENCE = 5
"""A stream may take this many times as long as it would on an idle machine."""
_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Turn:
    """One stream of a crowd: when it starts, and its length."""

    delay_s: float
    tokens: int


@dataclass
class Crowd:
    """The streams of a crowd that is being read."""

    readings: list[Reading]
    tasks: list[asyncio.Task[None]]

    def abandon(self) -> None:
        """Leave all streams that have not ended."""
        for task in self.tasks:
            task.cancel()


def even(streams: int, rate: float, seconds: float) -> list[Turn]:
    """Return turns of streams that all last as long."""
    tokens = max(2, round(rate * seconds))
    return [Turn(number * APART_S, tokens) for number in range(streams)]


def full_until(streams: int, rate: float, lasts_s: float, apart_s: float = APART_S) -> list[Turn]:
    """Return turns of streams that all run from the last one's start on, for ``lasts_s`` seconds, and then end."""
    end_s = streams * apart_s + lasts_s
    return [Turn(at_s, round(rate * (end_s - at_s))) for at_s in (number * apart_s for number in range(streams))]


@asynccontextmanager
async def crowd(target: Target, turns: Sequence[Turn], rate: float) -> AsyncIterator[Crowd]:
    """Read a crowd; the block may look at it meanwhile, and is left once all have come to their ends.

    Raises ``BenchError`` when a stream was not whole, cutting the block short.
    """
    try:
        async with asyncio.TaskGroup() as group:
            readings = [Reading() for _turn in turns]
            tasks = [
                group.create_task(_read(target, turn, rate, reading))
                for turn, reading in zip(turns, readings, strict=True)
            ]
            yield Crowd(readings, tasks)
    except* BenchError as errors:
        raise BenchError(str(_first(errors))) from None


async def _read(target: Target, turn: Turn, rate: float, reading: Reading) -> None:
    await asyncio.sleep(turn.delay_s)
    await read_answer(target, turn.tokens, rate, turn.tokens / rate * _PATIENCE + _PATIENCE_S, reading)


def _first(error: BaseException) -> BaseException:
    """Return the first error of a group of them, which may hold groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
