"""bench/plan.py: what the command line means."""

from __future__ import annotations

import pytest

from bench.plan import Plan, parse_plan


def test_no_arguments_mean_the_defaults() -> None:
    """What is published was measured by `make bench` as it is."""
    assert parse_plan([]) == Plan()


def test_a_number_given_wins_over_quick() -> None:
    """``--quick`` only replaces what is not said."""
    plan = parse_plan(["--quick", "--rounds", "3"])
    assert plan.rounds == 3
    assert plan.streams < Plan().streams
    assert plan.samples < Plan().samples


def test_the_small_load_never_exceeds_the_large_one() -> None:
    """With few streams there is one load instead of two."""
    assert parse_plan(["--streams", "7"]).few_streams == 7


@pytest.mark.parametrize(
    "arguments", [["--streams", "0"], ["--streams", "1e9"], ["--rate", "nan"], ["--seconds", "-1"], ["--rounds", "x"]]
)
def test_numbers_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """In a sentence that names the option."""
    with pytest.raises(SystemExit, match="2"):
        parse_plan(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_every_stream_has_a_gap() -> None:
    """Even the shortest has two tokens."""
    assert Plan(rate=1.0, seconds=0.1).tokens == 2
