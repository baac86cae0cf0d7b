"""Percentiles by nearest rank."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least of the values that at least ``share`` (0 to 1) of them do not exceed.

    It is never interpolated, so that a p99 is a wait that somebody has had. Raises ``ValueError`` when there are none.
    """
    if not values:
        message = "a percentile of nothing"
        raise ValueError(message)
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
