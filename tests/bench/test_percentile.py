"""bench/percentile.py: percentiles by nearest rank."""

from __future__ import annotations

import pytest

from bench.percentile import percentile


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([7.0], 0.5, 7.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 0.5, 2.0),
        ([float(value) for value in range(1, 101)], 0.99, 99.0),
        ([float(value) for value in range(1, 201)], 0.99, 198.0),
        ([1.0, 2.0], 0.99, 2.0),
        ([1.0, 2.0], 1.0, 2.0),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_a_percentile_is_one_of_the_values(values: list[float], share: float, expected: float) -> None:
    """The order they came in does not matter, and nothing is interpolated."""
    assert percentile(values, share) == expected


def test_a_percentile_of_nothing_is_refused() -> None:
    """A measurement that measured nothing must not look like one."""
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)
