"""The backoff: full jitter under a ceiling that doubles, and a fresh start on progress."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backoff import Backoff


def test_the_ceiling_doubles_up_to_the_most() -> None:
    """With the highest draw each delay is its ceiling."""
    backoff = Backoff(0.5, 3.0, rng=lambda: 1.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_delay_may_be_nothing() -> None:
    """Full jitter goes down to 0, however often it has failed."""
    backoff = Backoff(0.5, 3.0, rng=lambda: 0.0)
    assert [backoff.next_s() for _ in range(3)] == [0.0, 0.0, 0.0]


def test_progress_starts_over() -> None:
    """After a reset the next delay is a first one."""
    backoff = Backoff(0.5, 60.0, rng=lambda: 1.0)
    for _ in range(4):
        backoff.next_s()
    backoff.reset()
    assert (backoff.failures, backoff.next_s()) == (0, 0.5)


def test_a_server_may_ask_for_another_first_delay() -> None:
    """The ceiling follows, but never above the most and never to nothing."""
    backoff = Backoff(0.5, 3.0, rng=lambda: 1.0)
    backoff.rebase(1.0)
    assert backoff.next_s() == 1.0
    backoff.rebase(100.0)
    assert backoff.next_s() == 3.0
    backoff.rebase(0.0)
    assert backoff.ceiling_s > 0


@given(st.floats(0.001, 10), st.floats(10, 100), st.integers(0, 5000))
def test_every_delay_is_within_its_ceiling(first_s: float, most_s: float, failures: int) -> None:
    """With the real random numbers, after any number of failures: no overflow either."""
    backoff = Backoff(first_s, most_s)
    backoff.failures = failures
    ceiling_s = backoff.ceiling_s
    assert 0 <= backoff.next_s() <= ceiling_s <= most_s


@pytest.mark.parametrize(("first_s", "most_s"), [(0, 1), (-1, 1), (2, 1)])
def test_ceilings_that_make_no_sense_are_refused(first_s: float, most_s: float) -> None:
    """A first delay of nothing would be a busy loop."""
    with pytest.raises(ValueError, match="first_s"):
        Backoff(first_s, most_s)
