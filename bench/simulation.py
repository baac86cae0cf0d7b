"""A simulation that the model's shape is checked against: streams start by chance, on processes chosen by chance.

The model says what a process uses on average. Whether the headroom is enough depends on how far chance goes beyond
the average: here every stream is on its own, and work that a process cannot do in its time waits.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass

from bench.percentile import percentile

_TICK_S = 0.1
_WARM_UP = 0.2
"""Part of the time that is not looked at."""


@dataclass(frozen=True)
class Kind:
    """Processes of one kind, and what streams cost them."""

    processes: int
    streams: int
    tokens_per_s: float
    answer_tokens: int
    token_us: float
    start_us: float

    @property
    def used(self) -> float:
        """The part of its core that a process uses, as the model has it."""
        tokens = self.streams * self.tokens_per_s
        return tokens * (self.token_us + self.start_us / self.answer_tokens) / 1e6 / self.processes


@dataclass(frozen=True)
class Simulated:
    """What came of it."""

    used: float
    """The part of its core that a process was given to use, on average."""
    busiest: float
    """The same of all processes in all tenths of a second, the 99th percentile."""
    wait_p99_ms: float
    """How far behind a process was, the 99th percentile."""


def simulate(kind: Kind, lasts_s: float, seed: int = 1) -> Simulated:
    """Return what processes of a kind do for so long. Answers are half to one and a half times the usual length."""
    chance = random.Random(seed)  # noqa: S311 - the same run each time
    running = [0] * kind.processes
    ends: dict[int, list[int]] = defaultdict(list)
    answer_ticks = kind.answer_tokens / kind.tokens_per_s / _TICK_S
    ticks = round(lasts_s / _TICK_S)

    def begin(tick: int, lasts_ticks: float) -> int:
        process = chance.randrange(kind.processes)
        running[process] += 1
        ends[tick + max(1, round(lasts_ticks))].append(process)
        return process

    for _stream in range(kind.streams):  # those that run already are somewhere in their answers
        begin(0, chance.random() * chance.uniform(0.5, 1.5) * answer_ticks)
    work_s = [0.0] * kind.processes
    given: list[float] = []
    waits_s: list[float] = []
    starts_per_tick = kind.streams / answer_ticks
    for tick in range(1, ticks):
        for process in ends.pop(tick, ()):
            running[process] -= 1
        started = [0] * kind.processes
        for _start in range(_poisson(chance, starts_per_tick)):
            started[begin(tick, chance.uniform(0.5, 1.5) * answer_ticks)] += 1
        for process in range(kind.processes):
            tokens = running[process] * kind.tokens_per_s * _TICK_S
            given_s = (tokens * kind.token_us + started[process] * kind.start_us) / 1e6
            work_s[process] = max(0.0, work_s[process] + given_s - _TICK_S)
            if tick > ticks * _WARM_UP:
                given.append(given_s / _TICK_S)
                waits_s.append(work_s[process])
    return Simulated(sum(given) / len(given), percentile(given, 0.99), percentile(waits_s, 0.99) * 1000)


def _poisson(chance: random.Random, expected: float) -> int:
    """Return how many of independent happenings fall into a time in which ``expected`` do on average."""
    count, at = 0, chance.expovariate(expected)
    while at < 1:
        count += 1
        at += chance.expovariate(expected)
    return count
