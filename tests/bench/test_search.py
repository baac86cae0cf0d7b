"""bench/search.py: the most that fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.search import most_that_fits


class Bar:
    """Lets numbers through up to a height, and counts how often it was asked."""

    def __init__(self, height: int) -> None:
        """Take the height."""
        self.height = height
        self.asked: list[int] = []

    async def fits(self, number: int) -> bool:
        """Tell whether a number fits."""
        self.asked.append(number)
        return number <= self.height


@given(st.integers(0, 5000), st.integers(1, 4000), st.sampled_from([1.1, 1.25, 2.0]))
async def test_it_ends_just_below_what_does_not_fit(height: int, first: int, factor: float) -> None:
    """Wherever it begins; nothing is tried twice, and nothing beyond the limit."""
    bar = Bar(height)
    found = await most_that_fits(bar.fits, first, factor=factor, most=4000)
    assert found <= height
    assert found == 4000 or max(found + 1, found * 1.06) >= height + 1 - 1e-9
    assert len(set(bar.asked)) == len(bar.asked)
    assert max(bar.asked) <= 4000


@pytest.mark.parametrize(("first", "most_asked"), [(32, 9), (300, 7)])
async def test_few_tries_are_enough(first: int, most_asked: int) -> None:
    """Each costs seconds."""
    bar = Bar(330)
    assert 311 <= await most_that_fits(bar.fits, first) <= 330
    assert len(bar.asked) <= most_asked
