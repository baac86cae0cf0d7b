"""The command line of the suite."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.catalogue import FAULTS

FULL_RUN = 2_100
_BUDGET_S = 1_740.0


@dataclass(frozen=True)
class Options:
    """What to run."""

    faults: Sequence[str]
    runs: int
    """Streams to be struck, over all faults."""
    budget_s: float
    seed: str
    replay: str
    """The seed of the one round to play, which names its fault; empty for a run."""
    keep_logs: bool


def parse_options(arguments: Sequence[str]) -> Options:
    """Return the options; exits with a sentence about wrong ones."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--only", metavar="FAULT", action="append", default=[], help="this fault alone; may be repeated"
    )
    parser.add_argument("--runs", type=int, default=FULL_RUN, help="streams to be struck (%(default)s)")
    parser.add_argument("--budget-s", type=float, default=_BUDGET_S, help="begin no round after this (%(default)s)")
    parser.add_argument("--seed", default="", help="of everything that chance decides; random if not given")
    parser.add_argument("--replay", metavar="SEED", default="", help="play the one round that this seed names")
    parser.add_argument("--keep-logs", action="store_true", help="keep the logs also when all went well")
    parser.add_argument("--list", action="store_true", help="name the faults")
    told = parser.parse_args(arguments)
    if told.list:
        parser.exit(0, "\n".join(FAULTS) + "\n")
    chosen = [name for one in told.only for name in one.split(",")] or list(FAULTS)
    if told.replay:
        chosen = [told.replay.split("/")[0]]
    if unknown := [name for name in chosen if name not in FAULTS]:
        parser.error(f"there is no fault {unknown[0]!r}; --list names those there are")
    seed = told.seed or str(random.SystemRandom().randrange(1_000_000))
    return Options(chosen, told.runs, told.budget_s, seed, told.replay, told.keep_logs)
