"""Tests that the metrics of several processes add up to those of one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from shared.metrics import QUEUE_DEPTH
from shared.processes.summing import Family, Sample, added_up, families_of, lasting, rendered, snapshot


def process(count: float, gauge: float, *observed: float, label: str = "a") -> list[Family]:
    """Return what a process reports that has counted so far, and observed these."""
    registry = CollectorRegistry()
    Counter("told_total", "Told.", ["by"], registry=registry).labels(label).inc(count)
    Gauge("open", "Open.", registry=registry).set(gauge)
    seconds = Histogram("seconds", "Seconds.", buckets=(1, 2), registry=registry)
    for value in observed:
        seconds.observe(value)
    return families_of(registry)


def values(families: list[Family]) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the value of each sample, without the times at which counters began."""
    samples = [sample for family in families for sample in family.samples]
    return {(one.name, tuple(one.labels.values())): one.value for one in samples if not one.name.endswith("_created")}


def test_counters_gauges_and_histograms_are_added_up() -> None:
    """Label by label and bucket by bucket."""
    total = added_up([process(1, 5, 0.5, 1.5), process(2, 7, 0.5), process(4, 0, 9, label="b")])
    assert values(total) == {
        ("told_total", ("a",)): 3,
        ("told_total", ("b",)): 4,
        ("open", ()): 12,
        ("seconds_bucket", ("1.0",)): 2,
        ("seconds_bucket", ("2.0",)): 3,
        ("seconds_bucket", ("+Inf",)): 4,
        ("seconds_count", ()): 4,
        ("seconds_sum", ()): 11.5,
    }


def test_of_the_times_at_which_counters_began_the_first_is_kept() -> None:
    """A sum of points in time means nothing."""
    early, late = (
        [Family("told", "Told.", "counter", [Sample("told_total", {}, 1), Sample("told_created", {}, at)])]
        for at in (100.0, 200.0)
    )
    (family,) = added_up([late, early])
    assert family.samples == [Sample("told_total", {}, 2), Sample("told_created", {}, 100.0)]


def test_a_limit_and_a_start_are_not_added_up() -> None:
    """Of the gauges that every process has, the few that say no amount."""
    one, other = (
        [
            Family("process_max_fds", "", "gauge", [Sample("process_max_fds", {}, limit)]),
            Family("process_start_time_seconds", "", "gauge", [Sample("process_start_time_seconds", {}, at)]),
            Family("python_info", "", "gauge", [Sample("python_info", {}, 1)]),
        ]
        for limit, at in ((1000, 5), (2000, 3))
    )
    assert [family.samples[0].value for family in added_up([one, other])] == [1000, 3, 1]


def test_a_process_that_has_ended_keeps_what_it_counted_and_holds_nothing_open() -> None:
    """Counters and histograms stay in the sum, gauges go."""
    names = {family.name for family in lasting(process(1, 1, 1))}
    assert names == {"told", "seconds"}


def test_what_is_rendered_is_what_the_library_renders() -> None:
    """One process's metrics, taken apart and put together again, are the same text."""
    registry = CollectorRegistry()
    Counter("told_total", 'Told "so".\nTwice.', ["by"], registry=registry).labels('a"b\n').inc(0.5)
    Histogram("seconds", "Seconds.", registry=registry).observe(3)
    assert rendered(families_of(registry)) == generate_latest(registry)
    assert list(text_string_to_metric_families(rendered(process(1, 2, 3)).decode()))


def test_a_report_leaves_out_what_belongs_to_the_whole_system() -> None:
    """Every relay finds the same queue: two of them do not make it twice as long."""
    QUEUE_DEPTH.set(3)
    assert not [family for family in snapshot() if family.name.startswith("tailrace_queue_depth")]
    assert [family.name for family in snapshot() if family.name == "tailrace_processes"]
