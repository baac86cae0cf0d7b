"""The metrics of several processes as those of one: taken as data, added up, and rendered by the library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from shared.metrics import OF_THE_SYSTEM

_LASTING = ("counter", "histogram", "summary")
"""The kinds that count for ever; of a process that has ended they stay in the sum."""
_EITHER = {
    "process_max_fds": min,
    "process_start_time_seconds": min,
    "python_info": max,
}
"""The gauges of which a sum would mean nothing: the lowest limit, the oldest process. All others are added up."""


class Family(msgspec.Struct, array_like=True, frozen=True):
    """One metric with all its samples."""

    name: str
    documentation: str
    kind: str
    samples: list[Sample]


class Sample(msgspec.Struct, array_like=True, frozen=True):
    """One number."""

    name: str
    labels: dict[str, str]
    value: float


class _Collector(Protocol):
    def collect(self) -> Iterable[Metric]: ...


def snapshot() -> list[Family]:
    """Return the metrics of this process, without those that are not its own but of the whole system."""
    shared = {family.name for family in families_of(*OF_THE_SYSTEM)}
    return [family for family in families_of(REGISTRY) if family.name not in shared]


def families_of(*collectors: _Collector) -> list[Family]:
    """Return the metrics of registries, or single metrics, as data."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [Sample(one.name, one.labels, one.value) for one in metric.samples],
        )
        for collector in collectors
        for metric in collector.collect()
    ]


def lasting(families: Iterable[Family]) -> list[Family]:
    """Return what stays in the sum when the process that counted it has ended, so that no counter ever falls."""
    return [family for family in families if family.kind in _LASTING]


def added_up(reports: Iterable[Iterable[Family]]) -> list[Family]:
    """Return the sum of several processes' metrics. Of the times at which counters began, it has the first."""
    found: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, frozenset[tuple[str, str]]], Sample]] = {}
    for family in (family for report in reports for family in report):
        found.setdefault(family.name, family)
        samples = values.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            known = samples.get(key)
            if known is not None:
                sample = msgspec.structs.replace(sample, value=_joined(family, known, sample))  # noqa: PLW2901
            samples[key] = sample
    return [msgspec.structs.replace(found[name], samples=list(samples.values())) for name, samples in values.items()]


def _joined(family: Family, one: Sample, other: Sample) -> float:
    """Return one value for the same sample of two processes."""
    rule = _EITHER.get(family.name)
    if rule is None and family.kind in _LASTING and one.name.endswith("_created"):
        rule = min
    return one.value + other.value if rule is None else rule(one.value, other.value)


def rendered(families: Iterable[Family]) -> bytes:
    """Return the metrics in the Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given(families))
    return generate_latest(registry)


class _Given:
    """A collector of metrics that are there already."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        """Yield them as the library's own."""
        for family in self._families:
            metric = Metric(family.name, family.documentation, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, sample.labels, sample.value)
            yield metric
