"""The time to the first token: of an idle system, and while 200 streams run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from statistics import median

from bench import names
from bench.crowd import APART_S, SETTLED_S, crowd, full_until
from bench.percentile import percentile
from bench.plan import Plan
from bench.progress import tell
from bench.reader import read_answer
from bench.row import Family, Findings, Row, Table
from bench.stand import Stand
from bench.systems import start_systems
from bench.target import DIRECT, PROXY, TAILRACE, TUTORIAL, Target
from bench.turns import rotated

_STREAMS = 200
_TOKENS, _RATE = 2, 200.0
"""Of an answer that is asked for its first token: over soon."""
_PATIENCE_S = 20.0
_SHARES = (0.5, 0.99)
_START_S, _SLOWNESS = 120.0, 5

Rounds = dict[str, list[list[float]]]
"""Milliseconds, by system and round."""


async def measure_idle(plan: Plan) -> Findings:
    """Measure one answer at a time, the systems taking turns, a new connection for each. Raises ``BenchError``."""
    targets = (DIRECT, PROXY, TUTORIAL, TAILRACE)
    waits: Rounds = {target.name: [] for target in targets}
    async with Stand().running() as stand:
        places = await start_systems(stand, targets, 0)
        for number in range(plan.rounds):
            tell(f"first token, round {number + 1} of {plan.rounds}: {plan.samples} answers of each system")
            for rounds in waits.values():
                rounds.append([])
            for sample in range(plan.samples):
                for target in rotated(targets, sample):
                    waits[target.name][-1].append(await _ask(places[target.name]))
    rows = _rows(names.FIRST_TOKEN, "first token, idle", waits, (4.0, 12.0))
    return Findings(rows, [_table("First token, idle", waits)], {"first_token_ms": waits})


async def measure_loaded(plan: Plan) -> Findings:
    """Measure one answer at a time beside 200 streams of the same system. Raises ``BenchError``."""
    targets = (PROXY, TAILRACE)
    waits: Rounds = {target.name: [] for target in targets}
    streams = plan.scaled(_STREAMS)
    async with Stand().running() as stand:
        places = await start_systems(stand, targets, streams)
        for number in range(plan.rounds):
            for target in rotated(targets, number):
                tell(f"first token beside {streams} streams, round {number + 1} of {plan.rounds}: {target.name}")
                waits[target.name].append(await _beside(places[target.name], streams, plan))
    title = f"first token, {streams} streams"
    rows = _rows(names.FIRST_TOKEN_LOADED, title, waits, (8.0, 30.0))
    return Findings(rows, [_table(title.capitalize(), waits)], {"first_token_loaded_ms": waits})


async def _beside(place: Target, streams: int, plan: Plan) -> list[float]:
    """Return the waits for as many first tokens as can be asked for while so many streams run."""
    waits_ms = []
    async with crowd(place, full_until(streams, plan.rate, plan.seconds + SETTLED_S), plan.rate):
        await asyncio.sleep(streams * APART_S + SETTLED_S)
        until_s = time.perf_counter() + plan.seconds
        while time.perf_counter() < until_s:
            waits_ms.append(await _ask(place))
    return waits_ms


async def _ask(place: Target) -> float:
    return (await read_answer(place, _TOKENS, _RATE, _PATIENCE_S)).first_token_ms


def _rows(name: str, what: str, waits: Rounds, limits_ms: Sequence[float]) -> list[Row]:
    """Return how much later than the pass-through's our first token comes: the median of what each round says."""
    rows = []
    for share, limit_ms in zip(_SHARES, limits_ms, strict=True):
        ours, theirs = ([percentile(one, share) for one in waits[of.name]] for of in (TAILRACE, PROXY))
        added = median(our - their for our, their in zip(ours, theirs, strict=True))
        title = f"{what}, p{share * 100:.0f}"
        rows.append(Row(name, title, median(ours), PROXY.title, median(theirs), "ms", "added", added, limit_ms))
    return rows


def _table(title: str, waits: Rounds) -> Table:
    lines = []
    for name, rounds in waits.items():
        shown = [median(percentile(one, share) for one in rounds) for share in _SHARES] + [max(map(max, rounds))]
        lines.append((name, *(f"{wait_ms:.1f} ms" for wait_ms in shown), str(sum(map(len, rounds)))))
    return Table(title, ("system", "p50", "p99", "slowest", "answers"), lines)


def _idle_limit_s(plan: Plan) -> float:
    return _START_S + _SLOWNESS * plan.rounds * plan.samples * 4 * _TOKENS / _RATE * 2


def _loaded_limit_s(plan: Plan) -> float:
    return _START_S + _SLOWNESS * plan.rounds * 2 * (plan.scaled(_STREAMS) * APART_S + plan.seconds + 1)


IDLE = Family("first-token", (names.FIRST_TOKEN,), measure_idle, _idle_limit_s)
LOADED = Family("first-token-loaded", (names.FIRST_TOKEN_LOADED,), measure_loaded, _loaded_limit_s)
