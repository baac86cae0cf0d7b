"""A look at a load in full swing: what its tokens cost and how far apart they came, between two moments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.cpu import family_cpu_s
from bench.percentile import percentile
from bench.reader import Reading


@dataclass(frozen=True)
class Window:
    """What happened while it was open."""

    seconds: float
    tokens: int
    parts_cpu_s: dict[str, float]
    """By process of the system."""
    gap_p99_ms: float
    """Between a stream's tokens. A gap that is still open at the end counts as long as it is."""

    @property
    def us_per_token(self) -> float:
        """Microseconds of CPU for each token that came, all processes of the system together."""
        return sum(self.parts_cpu_s.values()) / max(1, self.tokens) * 1e6

    def part_us(self) -> dict[str, float]:
        """Return the same of each process."""
        return {name: used_s / max(1, self.tokens) * 1e6 for name, used_s in self.parts_cpu_s.items()}

    def told(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "seconds": self.seconds,
            "tokens": self.tokens,
            "us_per_token": self.us_per_token,
            "part_us": self.part_us(),
            "gap_p99_ms": self.gap_p99_ms,
        }


def cpu_by_part(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the seconds of CPU that each process and its children have used so far."""
    return {name: family_cpu_s([pid]) for name, pid in pids.items()}


def cpu_since(pids: Mapping[str, int], before_s: Mapping[str, float]) -> dict[str, float]:
    """Return the same since ``before_s``."""
    return {name: used_s - before_s[name] for name, used_s in cpu_by_part(pids).items()}


async def look(pids: Mapping[str, int], readings: Sequence[Reading], lasts_s: float) -> Window:
    """Return what happens in the next ``lasts_s`` seconds."""
    began_s, before_s = time.perf_counter(), cpu_by_part(pids)
    tokens = [reading.tokens for reading in readings]
    gaps = [len(reading.gaps_s) for reading in readings]
    await asyncio.sleep(lasts_s)
    parts_s, now_s = cpu_since(pids, before_s), time.perf_counter()
    gaps_s = [gap for reading, at in zip(readings, gaps, strict=True) for gap in reading.gaps_s[at:]]
    gaps_s += [now_s - (reading.last_s or reading.asked_s or began_s) for reading in readings if not reading.whole]
    came = sum(reading.tokens for reading in readings) - sum(tokens)
    return Window(now_s - began_s, came, parts_s, percentile(gaps_s or [0.0], 0.99) * 1000)
