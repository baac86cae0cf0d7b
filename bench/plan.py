"""How much a run measures: the numbers of the command line, checked."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"

_QUICK = {"streams": 20, "few_streams": 10, "seconds": 1.0, "rounds": 2, "samples": 20}


class BenchError(Exception):
    """Something could not be measured; the message says what and why, in a sentence."""


@dataclass(frozen=True)
class Plan:
    """One run. The defaults take about four minutes."""

    streams: int = 150
    """Paced streams at once in the load that every system but the tutorial is full with."""
    few_streams: int = 50
    """The same in the load that the tutorial can bear: one core is full with about 60."""
    rate: float = 50.0
    """Tokens per second of each stream."""
    seconds: float = 5.0
    """How long each stream of a load lasts."""
    rounds: int = 5
    """How often every load is measured, in alternating order."""
    samples: int = 200
    """Answers per system for the time to the first token."""
    json_path: Path | None = None
    """Where the result is written; a new file under ``bench/results`` if not given."""

    @property
    def tokens(self) -> int:
        """Tokens of each stream of a load."""
        return max(2, round(self.rate * self.seconds))


def parse_plan(arguments: Sequence[str]) -> Plan:
    """Return the plan of a command line. Ends the program with a sentence when it makes no sense."""
    default = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures Tailrace, a plain proxy and the usual tutorial server side by side.",
    )
    parser.add_argument("--quick", action="store_true", help="small numbers: a look within a minute, not a result")
    parser.add_argument("--streams", type=_within(1, 2000, int), help=f"streams at once ({default.streams})")
    parser.add_argument("--rate", type=_within(1, 500, float), help=f"tokens per second of each ({default.rate:g})")
    parser.add_argument("--seconds", type=_within(0.1, 60, float), help=f"how long each lasts ({default.seconds:g})")
    parser.add_argument("--rounds", type=_within(1, 50, int), help=f"how often each load is run ({default.rounds})")
    parser.add_argument(
        "--samples", type=_within(1, 5000, int), help=f"answers per system for the first token ({default.samples})"
    )
    parser.add_argument("--json", type=Path, dest="json_path", metavar="PATH", help="where to write the result")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    numbers = (_QUICK if given.pop("quick") else {}) | given
    plan = Plan(**numbers)
    return Plan(**numbers | {"few_streams": min(plan.few_streams, plan.streams)})


def _within(least: float, most: float, kind: type[int | float]) -> Callable[[str], float]:
    """Return a reader of one number, which refuses what is not within the limits, both included."""

    def read(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            message = f"{text!r} is not a number"
            raise argparse.ArgumentTypeError(message) from None
        if not least <= number <= most:
            message = f"{text} is not between {least:g} and {most:g}"
            raise argparse.ArgumentTypeError(message)
        return number

    return read
