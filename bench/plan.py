"""How much a run measures: the numbers of the command line, checked."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.names import ROW_NAMES

RESULTS = Path(__file__).parent / "results"

_QUICK = {"scale": 0.05, "seconds": 1.0, "rounds": 1, "samples": 20}


class BenchError(Exception):
    """Something could not be measured; the message says what and why, in a sentence."""


@dataclass(frozen=True)
class Plan:
    """One run. The defaults take a little over twenty minutes and are what the targets are for."""

    scale: float = 1.0
    """Every number of streams and readers is multiplied by this."""
    rate: float = 50.0
    """Tokens per second of each stream, where a row does not say another."""
    seconds: float = 5.0
    """How long each stream of a load lasts, and about how long anything else is looked at."""
    rounds: int = 5
    """How often everything is measured, the systems in alternating order."""
    samples: int = 100
    """Answers per system and round for the time to the first token of an idle system."""
    only: tuple[str, ...] = ROW_NAMES
    """The rows that are wanted."""
    json_path: Path | None = None
    """Where the result is written; a new file under ``bench/results`` if not given."""

    def scaled(self, count: int) -> int:
        """Return how many streams or readers stand for ``count`` of them."""
        return max(2, round(count * self.scale))

    @property
    def window_s(self) -> float:
        """How long a load that is in full swing is looked at."""
        return self.seconds * 0.6


def parse_plan(arguments: Sequence[str]) -> Plan:
    """Return the plan of a command line. Ends the program with a sentence when it makes no sense."""
    default = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures Tailrace and the usual ways to stream an answer side by side. Exit code: 0 when every "
        "target was reached, 2 when one was missed, 1 when something could not be measured.",
    )
    parser.add_argument("--quick", action="store_true", help="small numbers: a look, not a result")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=ROW_NAMES,
        metavar="ROW",
        help=f"measure these rows and no others: {', '.join(ROW_NAMES)}",
    )
    parser.add_argument("--scale", type=within(0.01, 2, float), help="multiplies every number of streams and readers")
    parser.add_argument("--rate", type=within(1, 500, float), help=f"tokens per second of each ({default.rate:g})")
    parser.add_argument("--seconds", type=within(0.5, 60, float), help=f"how long each lasts ({default.seconds:g})")
    parser.add_argument("--rounds", type=within(1, 50, int), help=f"how often all is measured ({default.rounds})")
    parser.add_argument(
        "--samples", type=within(1, 5000, int), help=f"answers per round for the first token ({default.samples})"
    )
    parser.add_argument("--json", type=Path, dest="json_path", metavar="PATH", help="where to write the result")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    if "only" in given:
        given["only"] = tuple(name for name in ROW_NAMES if name in given["only"])
    return Plan(**(_QUICK if given.pop("quick") else {}) | given)


def within(least: float, most: float, kind: type[int | float]) -> Callable[[str], float]:
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
