"""The two measurements: the time to the first token of an idle system, and the CPU that a load of streams costs."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass, field

from bench.cpu import family_cpu_s, own_cpu_s
from bench.percentile import percentile
from bench.plan import BenchError, Plan
from bench.reader import Reading, read_answer
from bench.stand import Stand
from bench.target import PROXY, TAILRACE, TARGETS, TUTORIAL, Target

_GOLDEN = 0.618
"""Streams start this part of a token's time apart, which spreads their tokens evenly over it: neither in step, which
would let a system write many at once, nor by chance, which no two rounds would share."""
_WARM_UP_ANSWERS = 20
_SAMPLE_TOKENS = 2
_AFTERWARDS_S = 0.3
"""What a system still does right after the last byte is its price too."""
_SETTLED_S = 0.3
_STEADY_LEAST_S = 1.0
_PATIENCE = 5
"""A stream may take this many times as long as it would on an idle machine."""
_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Load:
    """A number of paced streams, all read from one target."""

    target: str
    streams: int


@dataclass(frozen=True)
class LoadResult:
    """One load, once. CPU is in seconds."""

    load: Load
    tokens: int
    parts_cpu_s: dict[str, float]
    """By process of the system that was asked."""
    helpers_cpu_s: float
    """What the provider and the load generator used meanwhile, which no system is charged with."""
    gap_p99_ms: float
    steady_us_per_token: float | None = None
    """The same as ``us_per_token`` while all streams run, none starts and none ends; None where that time is short."""

    @property
    def us_per_token(self) -> float:
        """Microseconds of CPU for each token delivered, all processes of the system together."""
        return sum(self.parts_cpu_s.values()) / self.tokens * 1e6


@dataclass
class Measured:
    """All that was measured: samples by target, and every round's results by load."""

    first_token_ms: dict[str, list[float]] = field(default_factory=dict)
    loads: dict[Load, list[LoadResult]] = field(default_factory=dict)


def loads_of(plan: Plan) -> list[Load]:
    """Return the loads of one round."""
    wanted = [
        Load(TUTORIAL.name, plan.few_streams),
        Load(TAILRACE.name, plan.few_streams),
        Load(PROXY.name, plan.streams),
        Load(TAILRACE.name, plan.streams),
    ]
    return list(dict.fromkeys(wanted))


async def measure(stand: Stand, plan: Plan) -> Measured:
    """Measure all of a plan. Raises ``BenchError`` when an answer was not whole or a part has ended."""
    measured = Measured()
    try:
        await _warm_up(stand, plan)
        measured.first_token_ms = await first_tokens(stand, plan)
        loads = loads_of(plan)
        for number in range(plan.rounds):
            # Each round begins with another load, so that no system always runs after the same one.
            for load in loads[number % len(loads) :] + loads[: number % len(loads)]:
                _tell(f"round {number + 1} of {plan.rounds}: {load.streams} streams, {load.target}")
                measured.loads.setdefault(load, []).append(await run_load(stand, load, plan))
    except BenchError:
        await stand.check()
        raise
    await stand.check()
    return measured


async def first_tokens(stand: Stand, plan: Plan) -> dict[str, list[float]]:
    """Return the milliseconds to the first token, by target; one answer at a time, the targets taking turns."""
    _tell(f"first token: {plan.samples} answers of each system, one at a time")
    samples: dict[str, list[float]] = {target.name: [] for target in TARGETS}
    names = list(samples)
    for number in range(plan.samples):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            reading = await read_answer(stand.targets[name], _SAMPLE_TOKENS, plan.rate, _PATIENCE_S)
            samples[name].append(reading.first_token_ms)
    return samples


async def run_load(stand: Stand, load: Load, plan: Plan) -> LoadResult:
    """Run a load from its first request until just after its last byte, and return what it cost."""
    target = stand.targets[load.target]
    helpers = (stand.pid("provider"), os.getpid())
    before_s, helpers_before_s = _cpu_by_part(target), sum(map(own_cpu_s, helpers))
    readings = [Reading() for _stream in range(load.streams)]
    steady_us = await _read_all(target, readings, plan)
    await asyncio.sleep(_AFTERWARDS_S)
    parts_s = {name: total_s - before_s[name] for name, total_s in _cpu_by_part(target).items()}
    helpers_s = sum(map(own_cpu_s, helpers)) - helpers_before_s
    if sum(parts_s.values()) <= 0:
        message = f"{target.title} used less CPU than the kernel counts: give it more --streams or --seconds"
        raise BenchError(message)
    gaps_s = [gap_s for reading in readings for gap_s in reading.gaps_s]
    tokens = sum(reading.tokens for reading in readings)
    return LoadResult(load, tokens, parts_s, helpers_s, percentile(gaps_s, 0.99) * 1000, steady_us)


def _cpu_by_part(target: Target) -> dict[str, float]:
    return {name: family_cpu_s([pid]) for name, pid in target.pids.items()}


async def _steady_us(target: Target, readings: list[Reading], plan: Plan) -> float | None:
    """Return the microseconds of CPU per token between the last stream's start and the first one's end."""
    begin_s = len(readings) * _GOLDEN / plan.rate + _SETTLED_S
    lasts_s = plan.seconds - _SETTLED_S - begin_s
    if lasts_s < _STEADY_LEAST_S:
        return None
    await asyncio.sleep(begin_s)
    before_s, before = family_cpu_s(target.pids.values()), sum(reading.tokens for reading in readings)
    await asyncio.sleep(lasts_s)
    used_s, after = family_cpu_s(target.pids.values()) - before_s, sum(reading.tokens for reading in readings)
    return used_s / (after - before) * 1e6 if after > before else None


async def _read_all(target: Target, readings: list[Reading], plan: Plan) -> float | None:
    """Read as many streams at once as there are readings, each started when its turn has come.

    Returns what a token costs in the middle of it; see ``LoadResult.steady_us_per_token``.
    """
    apart_s = _GOLDEN / plan.rate
    try:
        async with asyncio.TaskGroup() as group:
            steady = group.create_task(_steady_us(target, readings, plan), name="bench.steady")
            for number, reading in enumerate(readings):
                group.create_task(_read_later(target, number * apart_s, plan, reading))
    except* BenchError as errors:
        raise BenchError(str(errors.exceptions[0])) from None
    return steady.result()


async def _read_later(target: Target, delay_s: float, plan: Plan, reading: Reading) -> None:
    await asyncio.sleep(delay_s)
    await read_answer(target, plan.tokens, plan.rate, plan.seconds * _PATIENCE + _PATIENCE_S, reading)


async def _warm_up(stand: Stand, plan: Plan) -> None:
    """Have every system answer a little, so that none is measured while it imports or connects."""
    _tell("warming up")
    for target in stand.targets.values():
        for _answer in range(min(_WARM_UP_ANSWERS, plan.samples)):
            await read_answer(target, _SAMPLE_TOKENS, plan.rate, _PATIENCE_S)


def _tell(text: str) -> None:
    """Say how far the run is, where the result is not."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
