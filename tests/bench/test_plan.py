"""bench/plan.py: what the command line means."""

from __future__ import annotations

import pytest

from bench.families import FAMILIES
from bench.names import FAN_OUT, GAP, ROW_NAMES
from bench.plan import Plan, parse_plan


def test_no_arguments_mean_the_defaults() -> None:
    """What is published was measured by `make bench` as it is: all rows, at full size, in five rounds."""
    plan = parse_plan([])
    assert plan == Plan()
    assert (plan.only, plan.scale, plan.rounds) == (ROW_NAMES, 1.0, 5)


def test_a_number_given_wins_over_quick() -> None:
    """``--quick`` only replaces what is not said."""
    plan = parse_plan(["--quick", "--rounds", "3"])
    assert plan.rounds == 3
    assert plan.scale < Plan().scale
    assert plan.samples < Plan().samples


def test_rows_are_measured_in_the_tables_order_and_once() -> None:
    """However they are asked for."""
    assert parse_plan(["--only", FAN_OUT, GAP, FAN_OUT]).only == (GAP, FAN_OUT)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--scale", "0"],
        ["--scale", "1e9"],
        ["--rate", "nan"],
        ["--seconds", "-1"],
        ["--rounds", "x"],
        ["--only", "everything"],
        ["--only"],
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """In a sentence that names the option."""
    with pytest.raises(SystemExit, match="2"):
        parse_plan(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_there_are_always_streams_to_compare() -> None:
    """However small the scale is."""
    assert Plan(scale=0.01).scaled(50) == 2


def test_every_row_belongs_to_one_family() -> None:
    """A name that ``--only`` takes and nothing measures would be a silent nothing."""
    assert sorted(name for family in FAMILIES for name in family.rows) == sorted(ROW_NAMES)
