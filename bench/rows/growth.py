"""What a token costs as streams grow: 50, then 200, then 800 run at once, and none has ended meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median

from bench import names
from bench.crowd import APART_S, Turn, crowd
from bench.plan import Plan
from bench.progress import tell
from bench.row import Family, Findings, Row, Table
from bench.stand import Stand
from bench.systems import start_systems
from bench.target import TAILRACE, Target
from bench.window import Window, look

_SIZES = (50, 200, 800)
_RATE = 10.0
"""Tokens per second of each stream: two cores, of which the provider and the readers use one, bear 800 such streams
and are not full, so that all sizes run at the same pace."""
_APART_S = 2 * APART_S
_CALM_S = 1.5
"""After the last start of a size, until starting costs nothing any more."""
_START_S, _SLOWNESS = 120.0, 5


async def measure(plan: Plan) -> Findings:
    """Measure. Raises ``BenchError``."""
    sizes = list(dict.fromkeys(map(plan.scaled, _SIZES)))
    rounds: list[list[Window]] = []
    async with Stand().running() as stand:
        places = await start_systems(stand, (TAILRACE,), sizes[-1])
        for number in range(plan.rounds):
            tell(f"growth, round {number + 1} of {plan.rounds}: {', '.join(map(str, sizes))} streams")
            rounds.append(await _grow(places[TAILRACE.name], sizes, plan))
    us = [median(one[at].us_per_token for one in rounds) for at in range(len(sizes))]
    # The step within a round, since whatever else the machine does changes from round to round.
    steps = [median(one[at].us_per_token / one[at - 1].us_per_token for one in rounds) for at in range(1, len(sizes))]
    what = f"CPU per token, {' to '.join(map(str, sizes))} streams of {_RATE:g} tokens/s: the least favourable step"
    row = Row(names.GROWTH, what, us[-1], f"itself at {sizes[0]}", us[0], "us", "ratio", max(steps), 1.0)
    lines = [
        _line(sizes[at], [one[at] for one in rounds], ["", *(f"{step:.2f}x" for step in steps)][at])
        for at in range(len(sizes))
    ]
    head = ("streams", "CPU per token, us", "of it", "by the size before")
    title = f"CPU per token as streams grow, {_RATE:g} tokens per second each, in full swing"
    data = {"sizes": sizes, "growth": [[window.told() for window in one] for one in rounds]}
    return Findings([row], [Table(title, head, lines)], data)


async def _grow(place: Target, sizes: Sequence[int], plan: Plan) -> list[Window]:
    """Return a look at each size: streams are added until it is reached, and all end together after the last look."""
    lasts_s = _CALM_S + plan.window_s
    starts_s = [rank * lasts_s + number * _APART_S for number, rank in enumerate(_ranks(sizes))]
    looks_s = [rank * lasts_s + size * _APART_S + _CALM_S for rank, size in enumerate(sizes)]
    end_s = looks_s[-1] + plan.window_s
    turns = [Turn(at_s, max(2, round(_RATE * (end_s - at_s)))) for at_s in starts_s]
    windows = []
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    async with crowd(place, turns, _RATE) as one:
        for at_s in looks_s:
            await asyncio.sleep(began_s + at_s - loop.time())
            windows.append(await look(place.pids, one.readings, plan.window_s * 0.9))
    return windows


def _ranks(sizes: Sequence[int]) -> list[int]:
    """Return for each stream with which of the sizes it comes."""
    return [rank for rank, size in enumerate(sizes) for _stream in range(size - (sizes[rank - 1] if rank else 0))]


def _line(size: int, windows: Sequence[Window], step: str) -> tuple[str, ...]:
    parts = {name: median(window.part_us()[name] for window in windows) for name in windows[0].parts_cpu_s}
    of_it = ", ".join(f"{name} {part_us:.0f}" for name, part_us in parts.items())
    return str(size), f"{median(window.us_per_token for window in windows):.0f}", of_it, step


def _limit_s(plan: Plan) -> float:
    once_s = plan.scaled(_SIZES[-1]) * _APART_S + len(_SIZES) * (_CALM_S + plan.window_s)
    return _START_S + _SLOWNESS * plan.rounds * once_s


FAMILY = Family("growth", (names.GROWTH,), measure, _limit_s)
