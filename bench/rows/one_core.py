"""How many streams one CPU bears: the whole system pinned to it, the provider and the readers to the others."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from bench import names
from bench.cpu import family_cpu_s, pin
from bench.crowd import APART_S, crowd, full_until
from bench.plan import BenchError, Plan
from bench.progress import tell
from bench.row import Family, Findings, Row, Table
from bench.search import most_that_fits
from bench.stand import Stand
from bench.systems import start_systems
from bench.target import TAILRACE, TUTORIAL, Target
from bench.turns import rotated
from bench.window import look

_GAP_MS = 100.0
_DELIVERED = 0.95
"""A system that falls behind delivers less than it is given, however smooth it looks."""
_APART_S = 2 * APART_S
"""Half as many starts in a second as elsewhere: it is not starting that is measured."""
_CALM_S = 1.5
_LOOK = 0.8
"""Part of the usual look: there are many."""
_NEAR = 1.1
"""How near the number found is to the least that did not fit; five rounds tell more than halving on."""
_MOST_STREAMS = 1500
_FIRST = {TUTORIAL.name: 32, TAILRACE.name: 128}
_NARROW = 1.25
"""Later rounds begin where the first one ended, and go from there in smaller steps."""
_IDLE_SHARE, _IDLE_LOOK_S, _IDLE_WITHIN_S = 0.1, 0.5, 60.0
_LIMIT_S = 1800.0


@dataclass(frozen=True)
class Try:
    """A number of streams, tried."""

    system: str
    streams: int
    gap_p99_ms: float
    delivered: float
    """What came of what was due."""
    begun: bool
    """Whether each stream had a token at all."""

    @property
    def fits(self) -> bool:
        """Whether the system bears it."""
        return self.begun and self.gap_p99_ms <= _GAP_MS and self.delivered >= _DELIVERED


async def measure(plan: Plan) -> Findings:
    """Measure. Raises ``BenchError``, also where there is one CPU only."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:  # noqa: PLR2004 - one for the system, one for the rest
        message = f"{names.ONE_CORE} needs a second CPU, for the provider and the readers"
        raise BenchError(message)
    own = {os.getpid()}
    found: dict[str, list[int]] = {TUTORIAL.name: [], TAILRACE.name: []}
    tries: list[Try] = []
    try:
        async with Stand().running() as stand:
            places = await start_systems(stand, (TUTORIAL, TAILRACE), plan.scaled(_MOST_STREAMS))
            pin(own | {stand.pid("provider")}, cpus[:-1])
            for place in places.values():
                pin(place.pids.values(), cpus[-1:])
            for number in range(plan.rounds):
                for name in rotated(list(places), number):
                    most = await _most(places[name], found[name], tries, plan)
                    tell(f"one core, round {number + 1} of {plan.rounds}: {name} bears {most} streams")
                    found[name].append(most)
    finally:
        pin(own, cpus)
    ours, theirs = found[TAILRACE.name], found[TUTORIAL.name]
    ratio = median(our / max(1, their) for our, their in zip(ours, theirs, strict=True))
    what = f"most streams of {plan.rate:g} tokens/s on one core before the gap's p99 passes {_GAP_MS:.0f} ms"
    row = Row(
        names.ONE_CORE, what, median(ours), TUTORIAL.title, median(theirs), "", "ratio", ratio, 6.0, at_least=True
    )
    lines = [(name, ", ".join(map(str, most))) for name, most in found.items()]
    table = Table("Streams that one core bears", ("system", "in each round"), lines)
    return Findings([row], [table], {"most_streams": found, "tries": [vars(one) for one in tries]})


async def _most(place: Target, before: list[int], tries: list[Try], plan: Plan) -> int:
    """Return the most streams that a system bears."""

    async def fits(streams: int) -> bool:
        tries.append(await _try(place, streams, plan))
        return tries[-1].fits

    most = plan.scaled(_MOST_STREAMS)
    if before:
        return await most_that_fits(fits, round(median(before)), factor=_NARROW, near=_NEAR, most=most)
    return await most_that_fits(fits, _FIRST[place.name], near=_NEAR, most=most)


async def _try(place: Target, streams: int, plan: Plan) -> Try:
    """Run so many streams, look at them in full swing, and return once the system has come to rest."""
    lasts_s = plan.window_s * _LOOK
    async with crowd(place, full_until(streams, plan.rate, _CALM_S + lasts_s, _APART_S), plan.rate) as one:
        await asyncio.sleep(streams * _APART_S + _CALM_S)
        window = await look(place.pids, one.readings, lasts_s - 0.2)
        one.abandon()
    await _rest(place.pids)
    delivered = window.tokens / (streams * plan.rate * window.seconds)
    return Try(place.name, streams, window.gap_p99_ms, delivered, all(reading.tokens for reading in one.readings))


async def _rest(pids: Mapping[str, int]) -> None:
    """Return once the system does next to nothing. Raises ``BenchError`` when it does not come to rest."""
    try:
        async with asyncio.timeout(_IDLE_WITHIN_S):
            used_s = math.inf
            while used_s > _IDLE_SHARE * _IDLE_LOOK_S:
                before_s = family_cpu_s(pids.values())
                await asyncio.sleep(_IDLE_LOOK_S)
                used_s = family_cpu_s(pids.values()) - before_s
    except TimeoutError:
        message = f"{', '.join(pids)} did not come to rest within {_IDLE_WITHIN_S:.0f} s"
        raise BenchError(message) from None


def _limit_s(_plan: Plan) -> float:
    return _LIMIT_S


FAMILY = Family("one-core", (names.ONE_CORE,), measure, _limit_s)
