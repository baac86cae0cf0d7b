"""The cheap histogram says what the library's says."""

from __future__ import annotations

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest

from shared.tally import Tally

BOUNDS = (0.001, 0.5, 1, 60)


@given(st.lists(st.floats(0, 100) | st.sampled_from(BOUNDS)))
def test_it_is_scraped_as_the_librarys_is(values: list[float]) -> None:
    """Values on a bound, between two and beyond all; and before there are any."""
    name, registry = f"test_{uuid4().hex}", CollectorRegistry()
    theirs, ours = Histogram(name, "What.", buckets=BOUNDS, registry=registry), Tally(name, "What.", BOUNDS)
    try:
        for value in values:
            theirs.observe(value)
            ours.observe(value)
        assert _lines(REGISTRY, name) == _lines(registry, name)
    finally:
        REGISTRY.unregister(ours)


def _lines(registry: CollectorRegistry, name: str) -> list[bytes]:
    """Return what is scraped of it, without when it was made."""
    lines = generate_latest(registry).splitlines()
    return [line for line in lines if name.encode() in line and b"_created" not in line]
