"""A run of the suite: rounds on long-lived stands until enough streams were struck; whatever fails can be replayed."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter

from tests.faults.catalogue import FAULTS
from tests.faults.leftovers import Leftovers
from tests.faults.options import Options
from tests.faults.report import rows_of, table
from tests.faults.rounds import Outcome, Round
from tests.faults.stand import Stand

_MOST_SHOWN = 8
_MOST_FAILURES = 5
"""Stands on which something failed; with more, what is left is told the same way."""
_ROUND_S = 120.0
"""A round that takes longer has a defect of its own; every wait in it has a shorter deadline."""


class Suite:
    """One run."""

    def __init__(self, options: Options) -> None:
        """Take what to run."""
        self.outcomes: list[Outcome] = []
        self.failures = 0
        self._options = options
        self._struck: Counter[str] = Counter()
        self._rounds: Counter[str] = Counter()
        self._ends_s = time.monotonic() + options.budget_s

    async def run(self) -> bool:
        """Play rounds and print what came of them; returns whether all was well.

        A stand on which a round failed is given up, so that one defect is not told twice.
        """
        while self._next() and self.failures < _MOST_FAILURES:
            stand = Stand()
            stand.keep_logs = self._options.keep_logs
            failed = await self._on(stand)
            self.failures += failed
            if failed or stand.keep_logs:
                _say(f"the logs are in {stand.directory}")
        rows = rows_of(self.outcomes)
        _say(f"\nseed {self._options.seed}\n\n{table(rows)}\n")
        wanted = 1 if self._options.replay else self._options.runs
        if rows[-1].streams < wanted:
            _say(f"the budget was over before {wanted} streams were struck")
        return not self.failures

    async def _on(self, stand: Stand) -> bool:
        """Play on one stand until all is done or something has failed, which is returned."""
        problems: list[str] = []
        async with stand.running():
            leftovers = Leftovers(stand)
            while (name := self._next()) and not problems:
                seed = self._options.replay or f"{name}/{self._rounds[name]}/{self._options.seed}"
                problems = await self._play(stand, name, seed)
            problems += self._told(await leftovers.found())
            if problems:
                stand.keep_logs = True
        problems += self._told(leftovers.left_after_end())
        return bool(problems)

    async def _play(self, stand: Stand, name: str, seed: str) -> list[str]:
        """Play one round."""
        began_s = time.monotonic()
        one = Round(stand, FAULTS[name], seed)
        try:
            async with asyncio.timeout(_ROUND_S):
                await one.play()
        except TimeoutError:
            one.outcome.problems.append(f"the round is not over after {_ROUND_S:g} s")
        outcome = one.outcome
        self._rounds[name] += 1
        self._struck[name] += len(outcome.struck)
        self.outcomes.append(outcome)
        _say(f"{seed}: {len(outcome.struck)} struck, {time.monotonic() - began_s:.1f} s")
        if outcome.problems:
            _say(f"FAILED; to play it again: python -m tests.faults --replay {seed}")
            self._told(outcome.problems)
        return outcome.problems

    def _next(self) -> str:
        """Return the fault whose turn it is, the one furthest behind its share; none when all is done."""
        options = self._options
        if options.replay:
            return "" if self.outcomes else options.faults[0]
        enough = sum(self._struck.values()) >= options.runs and self._all_played()
        if enough or time.monotonic() > self._ends_s:
            return ""
        return min(options.faults, key=lambda name: (self._rounds[name] > 0, self._struck[name] / FAULTS[name].share))

    def _all_played(self) -> bool:
        return all(self._rounds[name] for name in self._options.faults)

    def _told(self, problems: list[str]) -> list[str]:
        """Print problems, the first few in full."""
        for problem in problems[:_MOST_SHOWN]:
            _say(f"  {problem}")
        if len(problems) > _MOST_SHOWN:
            _say(f"  and {len(problems) - _MOST_SHOWN} more")
        return problems


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
