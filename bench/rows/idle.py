"""What an idle system asks of Redis: commands per second of each worker and of each relay."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from bench import names
from bench.cpu import rss_bytes
from bench.plan import Plan
from bench.progress import tell
from bench.redis_info import info
from bench.row import Family, Findings, Row, Table
from bench.stand import Stand

_MORE = 2
"""Workers, and then relays, that are added to a system of one each: what all of them ask for more is theirs."""
_SETTLED_S = 2.0
_LEAST_S = 2.0
"""The shortest look: some commands come every two seconds."""
_LIMIT_PER_S = 10.0
_START_S, _SLOWNESS = 180.0, 5


async def measure(plan: Plan) -> Findings:
    """Measure one of each, then with more workers, then with more relays too. Raises ``BenchError``."""
    async with Stand().running() as stand:
        await stand.provider()
        await stand.redis()
        await stand.worker()
        await stand.relay()
        alone = await _per_second(stand, plan, "1 worker, 1 relay")
        rss = {f"idle_{name}_rss_bytes": float(rss_bytes(stand.pid(name))) for name in ("redis", "relay", "worker")}
        for number in range(_MORE):
            await stand.worker(f"worker{number}")
        workers = await _per_second(stand, plan, f"{1 + _MORE} workers, 1 relay")
        for number in range(_MORE):
            await stand.relay(f"relay{number}")
        both = await _per_second(stand, plan, f"{1 + _MORE} workers, {1 + _MORE} relays")
    per_worker = median((more - few) / _MORE for more, few in zip(workers, alone, strict=True))
    per_relay = median((more - few) / _MORE for more, few in zip(both, workers, strict=True))
    rows = [_row(kind, reached) for kind, reached in (("worker", per_worker), ("relay", per_relay))]
    told = {"1 worker, 1 relay": alone, f"{1 + _MORE} workers": workers, f"and {1 + _MORE} relays": both}
    lines = [(what, f"{median(counts):.1f} ({min(counts):.1f}-{max(counts):.1f})") for what, counts in told.items()]
    table = Table("Commands of an idle system", ("system", "commands per second (least-most)"), lines)
    data = {"idle_per_worker": per_worker, "idle_per_relay": per_relay, "idle_commands_per_s": told} | rss
    return Findings(rows, [table], data)


async def _per_second(stand: Stand, plan: Plan, what: str) -> list[float]:
    """Return the commands that Redis was given in a second, in each round; those inside scripts count too."""
    port = stand.redis_ports["redis"]
    await asyncio.sleep(_SETTLED_S)
    rounds = []
    for number in range(plan.rounds):
        tell(f"idle, round {number + 1} of {plan.rounds}: {what}")
        before, began_s = await info(port), time.perf_counter()
        await asyncio.sleep(max(plan.window_s, _LEAST_S))
        commands = (await info(port))["total_commands_processed"] - before["total_commands_processed"]
        rounds.append((commands - 1) / (time.perf_counter() - began_s))  # less the bench's own INFO
    return rounds


def _row(kind: str, reached: float) -> Row:
    what = f"idle: Redis commands per second of each {kind}"
    return Row(names.IDLE, what, reached, "", None, "/s", "amount", reached, _LIMIT_PER_S)


def _limit_s(plan: Plan) -> float:
    return _START_S + _SLOWNESS * plan.rounds * 3 * max(plan.window_s, _LEAST_S)


FAMILY = Family("idle", (names.IDLE,), measure, _limit_s)
