"""CPU per delivered token, and the gap between tokens: paced loads of every system, one after the other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench import names
from bench.cpu import own_cpu_s, rss_bytes
from bench.crowd import APART_S, SETTLED_S, crowd, even
from bench.percentile import percentile
from bench.plan import BenchError, Plan
from bench.progress import tell
from bench.redis_info import info
from bench.row import Family, Findings, Row, Table
from bench.stand import Stand
from bench.systems import start_systems
from bench.target import AS_MESSAGES, OURS, PROXY, SDK_SERVER, TAILRACE, TUTORIAL, Target
from bench.turns import rotated
from bench.window import Window, cpu_by_part, cpu_since, look

_TUTORIAL_STREAMS = 50
_SDK_STREAMS = 150
_STREAMS = 200
_MANY_STREAMS = 400
_AFTERWARDS_S = 0.3
"""What a system still does right after the last byte is its price too."""
_LINGER_S = 5.5
"""The same of Tailrace, whose worker looks at an ended stream's log once more after ``linger_s``."""
_STEADY_LEAST_S = 0.3
_START_S, _SLOWNESS = 120.0, 4


@dataclass(frozen=True)
class Load:
    """A number of paced streams, all read from one system."""

    target: Target
    streams: int


@dataclass(frozen=True)
class Result:
    """One load, once, from its first request until just after its last byte. CPU is in seconds."""

    load: Load
    tokens: int
    received_bytes: int
    parts_cpu_s: dict[str, float]
    helpers_cpu_s: float
    """What the provider and the load generator used meanwhile, which no system is charged with."""
    gap_p99_ms: float
    full: Window | None
    """The time in which all streams ran and none started or ended; None where there was hardly any."""
    more: dict[str, float]
    """Redis traffic and memory, for Tailrace."""

    @property
    def us_per_token(self) -> float:
        """Microseconds of CPU for each token delivered, all processes of the system together."""
        return sum(self.parts_cpu_s.values()) / self.tokens * 1e6

    @property
    def full_gap_p99_ms(self) -> float:
        """The 99th percentile of the gaps while all streams ran, or of all gaps where that was too short."""
        return self.gap_p99_ms if self.full is None else self.full.gap_p99_ms

    def told(self, number: int) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "target": self.load.target.name,
            "streams": self.load.streams,
            "round": number,
            "tokens": self.tokens,
            "received_bytes": self.received_bytes,
            "us_per_token": self.us_per_token,
            "part_us": {name: used_s / self.tokens * 1e6 for name, used_s in self.parts_cpu_s.items()},
            "helpers_us": self.helpers_cpu_s / self.tokens * 1e6,
            "gap_p99_ms": self.gap_p99_ms,
            "full": self.full and self.full.told(),
        } | self.more


def loads_of(plan: Plan) -> list[Load]:
    """Return the loads that the wanted rows compare, each once."""
    tutorial, sdk, streams, many = map(plan.scaled, (_TUTORIAL_STREAMS, _SDK_STREAMS, _STREAMS, _MANY_STREAMS))
    by_row = {
        names.CPU_TUTORIAL: [Load(TUTORIAL, tutorial), Load(TAILRACE, streams)],
        names.CPU_SDK: [Load(SDK_SERVER, sdk), Load(TAILRACE, sdk)],
        names.CPU_PROXY: [Load(PROXY, sdk), Load(TAILRACE, sdk), Load(PROXY, many), Load(TAILRACE, many)],
        names.CPU_DIALECT: [Load(AS_MESSAGES, sdk), Load(TAILRACE, sdk)],
        names.GAP: [Load(PROXY, streams), Load(TAILRACE, streams)],
    }
    return list(dict.fromkeys(load for name, loads in by_row.items() if name in plan.only for load in loads))


async def measure(plan: Plan) -> Findings:
    """Measure the rows that are wanted. Raises ``BenchError``."""
    loads = loads_of(plan)
    results: dict[Load, list[Result]] = {load: [] for load in loads}
    targets = list(dict.fromkeys(load.target for load in loads))
    async with Stand().running() as stand:
        places = await start_systems(stand, targets, max(load.streams for load in loads))
        for number in range(plan.rounds):
            for load in rotated(loads, number):
                tell(f"loads, round {number + 1} of {plan.rounds}: {load.streams} streams, {load.target.name}")
                results[load].append(await run_load(stand, places[load.target.name], load, plan))
    told = [one.told(number) for rounds in results.values() for number, one in enumerate(rounds, 1)]
    return Findings(_rows(results, plan), [_table(results)], {"loads": told})


async def run_load(stand: Stand, place: Target, load: Load, plan: Plan) -> Result:
    """Run a load and return what it cost."""
    ours = load.target in OURS
    helpers = (stand.pid("provider"), os.getpid())
    before_s, helpers_before_s = cpu_by_part(place.pids), sum(map(own_cpu_s, helpers))
    redis_before = await info(stand.redis_ports["redis"]) if ours else {}
    # Half a look in full swing at least, also where starting takes long.
    seconds = max(plan.seconds, load.streams * APART_S + SETTLED_S + plan.window_s / 2)
    full_s = seconds - SETTLED_S - load.streams * APART_S
    async with crowd(place, even(load.streams, plan.rate, seconds), plan.rate) as one:
        full = None
        if full_s >= _STEADY_LEAST_S:
            await asyncio.sleep(load.streams * APART_S + SETTLED_S)
            full = await look(place.pids, one.readings, full_s - _STEADY_LEAST_S / 2)
    helpers_s = sum(map(own_cpu_s, helpers)) - helpers_before_s
    await asyncio.sleep(_LINGER_S if ours else _AFTERWARDS_S)
    parts_s = cpu_since(place.pids, before_s)
    if sum(parts_s.values()) <= 0:
        message = f"{place.title} used less CPU than the kernel counts: give it a larger --scale or more --seconds"
        raise BenchError(message)
    tokens = sum(reading.tokens for reading in one.readings)
    more: dict[str, float] = {}
    if ours:
        redis_after = await info(stand.redis_ports["redis"])
        for name in ("total_net_input_bytes", "total_net_output_bytes", "total_commands_processed"):
            more[f"redis_{name}_per_token"] = (redis_after[name] - redis_before[name]) / tokens
        more |= {f"{name}_rss_bytes": float(rss_bytes(pid)) for name, pid in place.pids.items()}
    gap_p99_ms = percentile([gap for reading in one.readings for gap in reading.gaps_s], 0.99) * 1000
    received = sum(reading.received_bytes for reading in one.readings)
    return Result(load, tokens, received, parts_s, helpers_s, gap_p99_ms, full, more)


def _rows(results: dict[Load, list[Result]], plan: Plan) -> list[Row]:
    tutorial, sdk, streams, many = map(plan.scaled, (_TUTORIAL_STREAMS, _SDK_STREAMS, _STREAMS, _MANY_STREAMS))
    rows: list[Row] = []
    if names.CPU_TUTORIAL in plan.only:
        ours, theirs = results[Load(TAILRACE, streams)], results[Load(TUTORIAL, tutorial)]
        rows.append(_cpu_row(names.CPU_TUTORIAL, ours, theirs, 0.3))
    if names.CPU_SDK in plan.only:
        rows.append(_cpu_row(names.CPU_SDK, results[Load(TAILRACE, sdk)], results[Load(SDK_SERVER, sdk)], 0.8))
    if names.CPU_PROXY in plan.only:
        rows.append(_cpu_row(names.CPU_PROXY, results[Load(TAILRACE, sdk)], results[Load(PROXY, sdk)], 1.2))
        rows.append(_cpu_row(names.CPU_PROXY, results[Load(TAILRACE, many)], results[Load(PROXY, many)], None))
    if names.CPU_DIALECT in plan.only:
        ours, theirs = results[Load(AS_MESSAGES, sdk)], results[Load(TAILRACE, sdk)]
        rows.append(_cpu_row(names.CPU_DIALECT, ours, theirs, None))
    if names.GAP in plan.only:
        rows.append(_gap_row(results[Load(TAILRACE, streams)], results[Load(PROXY, streams)]))
    return rows


def _cpu_row(name: str, ours: Sequence[Result], theirs: Sequence[Result], target: float | None) -> Row:
    """Return what a token costs us beside what it costs the other: the median of the ratios of each round.

    The ratio is taken within a round, since whatever else the machine does changes from round to round.
    """
    ratio = median(our.us_per_token / their.us_per_token for our, their in zip(ours, theirs, strict=True))
    our_us, their_us = (median(one.us_per_token for one in results) for results in (ours, theirs))
    load = ours[0].load
    what = f"CPU per token, {load.streams} streams{', Messages' if load.target == AS_MESSAGES else ''}"
    against = f"{theirs[0].load.target.title}, {theirs[0].load.streams} streams"
    return Row(name, what, our_us, against, their_us, "us", "ratio", ratio, target)


def _gap_row(ours: Sequence[Result], theirs: Sequence[Result]) -> Row:
    added = median(our.full_gap_p99_ms - their.full_gap_p99_ms for our, their in zip(ours, theirs, strict=True))
    our_ms, their_ms = (median(one.full_gap_p99_ms for one in results) for results in (ours, theirs))
    what = f"gap between tokens, p99, {ours[0].load.streams} streams"
    return Row(names.GAP, what, our_ms, PROXY.title, their_ms, "ms", "added", added, 15.0)


def _table(results: dict[Load, list[Result]]) -> Table:
    head = ("load", "CPU per token, us (least-most)", "of it", "in full swing", "of it")
    more = ("gap p99 in full swing", "overall", "not counted, us")
    return Table("What the loads cost", (*head, *more), [_line(load, rounds) for load, rounds in results.items()])


def _line(load: Load, rounds: Sequence[Result]) -> tuple[str, ...]:
    us = [one.us_per_token for one in rounds]
    full = [one.full for one in rounds if one.full is not None]
    whole_parts = {
        name: median(one.parts_cpu_s[name] / one.tokens * 1e6 for one in rounds) for name in rounds[0].parts_cpu_s
    }
    full_parts = {name: median(one.part_us()[name] for one in full) for name in whole_parts} if full else {}
    return (
        f"{load.target.name}, {load.streams} streams",
        f"{median(us):.0f} ({min(us):.0f}-{max(us):.0f})",
        _parts(whole_parts),
        f"{median(one.us_per_token for one in full):.0f}" if full else "",
        _parts(full_parts),
        f"{median(one.full_gap_p99_ms for one in rounds):.0f} ms",
        f"{median(one.gap_p99_ms for one in rounds):.0f} ms",
        f"{median(one.helpers_cpu_s / one.tokens * 1e6 for one in rounds):.0f}",
    )


def _parts(part_us: dict[str, float]) -> str:
    return ", ".join(f"{name} {us:.0f}" for name, us in part_us.items()) if len(part_us) > 1 else ""


def _limit_s(plan: Plan) -> float:
    loads = loads_of(plan)
    once_s = sum(max(plan.seconds, plan.window_s) + 2 * load.streams * APART_S + _LINGER_S for load in loads)
    return _START_S + _SLOWNESS * plan.rounds * once_s


_NAMES = (names.CPU_TUTORIAL, names.CPU_SDK, names.CPU_PROXY, names.CPU_DIALECT, names.GAP)
FAMILY = Family("loads", _NAMES, measure, _limit_s)
