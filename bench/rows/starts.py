"""What a stream's start and end cost, and how much of that falls on the queue: answers that are all but empty.

The queue has a Redis of its own here, as it has in a large system; docs/capacity.md needs the two apart. No target.
"""

from __future__ import annotations

import asyncio
from statistics import median

from bench import names
from bench.crowd import Turn, crowd
from bench.plan import Plan
from bench.progress import tell
from bench.row import Family, Findings, Row, Table
from bench.stand import Stand
from bench.systems import warm_up
from bench.target import TAILRACE
from bench.window import cpu_by_part, cpu_since

_STREAMS = 200
_PER_SECOND = 40.0
"""Starts: far from what two cores bear."""
_TOKENS, _RATE = 2, 100.0
_LINGER_S = 5.5
"""Until the worker has looked at the last log once more, after ``linger_s``."""
_START_S, _SLOWNESS = 120.0, 5


async def measure(plan: Plan) -> Findings:
    """Measure. Raises ``BenchError``."""
    streams = plan.scaled(_STREAMS)
    rounds: list[dict[str, float]] = []
    async with Stand().running() as stand:
        await stand.provider()
        await stand.redis("queue")
        await stand.redis("streams", "TAILRACE_STREAMS_URL")
        await stand.worker()
        port = await stand.relay()
        pids = stand.pids("relay", "worker", "queue", "streams")
        place = TAILRACE.at(port, pids)
        await warm_up(place)
        await asyncio.sleep(_LINGER_S)
        turns = [Turn(number / _PER_SECOND, _TOKENS) for number in range(streams)]
        for number in range(plan.rounds):
            tell(f"starts, round {number + 1} of {plan.rounds}: {streams} streams")
            before_s = cpu_by_part(pids)
            async with crowd(place, turns, _RATE):
                pass
            await asyncio.sleep(_LINGER_S)
            rounds.append({name: used_s / streams * 1e3 for name, used_s in cpu_since(pids, before_s).items()})
    ms = {name: median(one[name] for one in rounds) for name in pids}
    total_ms = median(sum(one.values()) for one in rounds)
    what = f"CPU of a stream's start and end, with {_TOKENS} tokens"
    row = Row(names.STARTS, what, total_ms, "", None, "ms", "amount", total_ms)
    table = Table(
        "Where the CPU of a start and an end goes",
        ("process", "ms per stream"),
        [(name, f"{part_ms:.2f}") for name, part_ms in ms.items()],
    )
    return Findings([row], [table], {"start_ms": rounds})


def _limit_s(plan: Plan) -> float:
    return _START_S + _SLOWNESS * (plan.rounds + 1) * (plan.scaled(_STREAMS) / _PER_SECOND + _LINGER_S)


FAMILY = Family("starts", (names.STARTS,), measure, _limit_s)
