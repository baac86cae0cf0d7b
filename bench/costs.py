"""What a token, a start, a reader and an idle process cost, as a result of the benchmark says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.plan import BenchError

_KIB = 1024


@dataclass(frozen=True)
class Costs:
    """All that the model of docs/capacity.md is built from. CPU is of one core of the machine that was measured."""

    load: str
    """The load that the costs of a token are from: the largest one that was seen in full swing."""
    relay_token_us: float
    worker_token_us: float
    redis_token_us: float
    relay_start_us: float
    """Of a stream's start and end together, as the next three."""
    worker_start_us: float
    queue_start_us: float
    streams_start_us: float
    delivery_us: float
    """Of one more reader's event at its relay."""
    command_us: float
    """Of a command at Redis, those of appends included: more than an idle system's cost."""
    reader_bytes: float
    """Memory of an open reader at its relay."""
    relay_bytes: float
    """Memory of a relay without readers, and of a worker with as many streams as in the load."""
    worker_bytes: float
    log_token_bytes: float
    """Memory of a token in Redis."""
    client_token_bytes: float
    """What is sent to a reader."""
    redis_in_token_bytes: float
    redis_out_token_bytes: float
    worker_commands_per_s: float
    """When idle."""
    relay_commands_per_s: float


def costs_of(result: dict[str, Any]) -> Costs:
    """Return the costs that a result holds. Raises ``BenchError`` when rows are missing that the model needs."""
    measured = result["measured"]
    missing = {"loads", "starts", "memory", "resume", "fan-out", "idle"} - set(measured)
    if missing:
        message = f"the model needs a whole run: this one has not measured {', '.join(sorted(missing))}"
        raise BenchError(message)
    loads = _largest_load(measured["loads"]["loads"])
    part_us = {name: _median(load["full"]["part_us"][name] for load in loads) for name in ("relay", "worker", "redis")}
    start_us = {
        name: max(0.0, _median(one[name] for one in measured["starts"]["start_ms"]) * 1000)
        for name in ("relay", "worker", "queue", "streams")
    }
    commands = _median(load["redis_total_commands_processed_per_token"] for load in loads)
    idle = measured["idle"]
    return Costs(
        load=f"{loads[0]['streams']} streams of {result['plan']['rate']:g} tokens/s",
        relay_token_us=part_us["relay"],
        worker_token_us=part_us["worker"],
        redis_token_us=part_us["redis"],
        relay_start_us=start_us["relay"],
        worker_start_us=start_us["worker"],
        queue_start_us=start_us["queue"],
        streams_start_us=start_us["streams"],
        delivery_us=_median(one["relay"] for one in measured["fan-out"]["fan_out_us"]["ours"]),
        command_us=part_us["redis"] / max(commands, 1e-9),
        reader_bytes=_median(one["per_reader_bytes"] for one in measured["memory"]["memory"]),
        relay_bytes=_median(one["before_bytes"] for one in measured["memory"]["memory"]),
        worker_bytes=_median(load["worker_rss_bytes"] for load in loads),
        log_token_bytes=measured["resume"]["redis_bytes_per_token"],
        client_token_bytes=_median(load["received_bytes"] / load["tokens"] for load in loads),
        redis_in_token_bytes=_median(load["redis_total_net_input_bytes_per_token"] for load in loads),
        redis_out_token_bytes=_median(load["redis_total_net_output_bytes_per_token"] for load in loads),
        worker_commands_per_s=max(0.0, idle["idle_per_worker"]),
        relay_commands_per_s=max(0.0, idle["idle_per_relay"]),
    )


def _largest_load(loads: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return every round of our largest load that was seen in full swing and kept its pace. Raises ``BenchError``.

    A load that two CPUs do not bear would flatter: it is written in larger pieces.
    """
    ours = [load for load in loads if load["target"] == "tailrace" and load["full"]]
    calm = [load for load in ours if load["full"]["gap_p99_ms"] <= _CALM_GAP_MS] or ours
    if not calm:
        message = "no load of the run was seen in full swing: give it more --seconds"
        raise BenchError(message)
    most = max(load["streams"] for load in calm)
    return [load for load in calm if load["streams"] == most]


_CALM_GAP_MS = 60.0


def _median(values: Any) -> float:
    return float(median(values))
