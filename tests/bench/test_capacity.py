"""bench/capacity.py, its model, its costs and its simulation."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.capacity import parse_demand, text_of
from bench.capacity_model import Demand, limits, need
from bench.costs import Costs, costs_of
from bench.plan import BenchError
from bench.simulation import Kind, simulate
from tests.support import Process

LOAD = {
    "target": "tailrace",
    "streams": 200,
    "tokens": 1000,
    "received_bytes": 100_000,
    "full": {"part_us": {"relay": 20.0, "worker": 40.0, "redis": 10.0}, "gap_p99_ms": 22.0},
    "redis_total_commands_processed_per_token": 2.0,
    "redis_total_net_input_bytes_per_token": 300.0,
    "redis_total_net_output_bytes_per_token": 200.0,
    "worker_rss_bytes": 100e6,
}
LATE = LOAD | {"streams": 400, "full": {"part_us": {"relay": 1.0, "worker": 1.0, "redis": 1.0}, "gap_p99_ms": 900.0}}
RESULT: dict[str, Any] = {
    "machine": {"at": "then", "python": "3.11", "redis": "redis-server", "cpus": 2},
    "plan": {"scale": 1.0, "rate": 50.0},
    "rows": [],
    "measured": {
        "loads": {"loads": [LOAD, LOAD | {"target": "proxy", "streams": 800}, LATE]},
        "starts": {"start_ms": [{"relay": 2.0, "worker": 4.0, "queue": 0.5, "streams": 0.5}]},
        "memory": {"memory": [{"per_reader_bytes": 16_000.0, "before_bytes": 60e6}]},
        "resume": {"redis_bytes_per_token": 100.0},
        "fan-out": {"fan_out_us": {"ours": [{"relay": 10.0, "worker": 1.0, "redis": 0.0}]}},
        "idle": {"idle_per_worker": 8.0, "idle_per_relay": -0.1},
    },
}


@pytest.fixture
def costs() -> Costs:
    """Give round costs."""
    return costs_of(RESULT)


def test_costs_are_those_of_the_largest_load_of_ours_that_kept_its_pace(costs: Costs) -> None:
    """An overload flatters: it is written in larger pieces. Less than no command at all is none."""
    assert costs.load == "200 streams of 50 tokens/s"
    assert (costs.relay_token_us, costs.worker_token_us, costs.redis_token_us) == (20.0, 40.0, 10.0)
    assert (costs.command_us, costs.client_token_bytes, costs.relay_commands_per_s) == (5.0, 100.0, 0.0)


@pytest.mark.parametrize("name", RESULT["measured"])
def test_a_run_of_some_rows_is_refused_with_their_names(name: str) -> None:
    """A model with holes would not say so."""
    part = RESULT | {"measured": {key: value for key, value in RESULT["measured"].items() if key != name}}
    with pytest.raises(BenchError, match=f"not measured {name}"):
        costs_of(part)


def test_cores_are_costs_times_tokens_and_starts(costs: Costs) -> None:
    """10,000 streams of 50 tokens/s are half a million tokens and a thousand starts of 500 tokens in a second."""
    found = need(costs, Demand(10_000))
    assert found.relay_cores == pytest.approx(500_000 * 20e-6 + 1000 * 2e-3)
    assert found.worker_cores == pytest.approx(500_000 * 40e-6 + 1000 * 4e-3)
    assert found.streams_cores == pytest.approx(500_000 * 10e-6 + 1000 * 0.5e-3)
    assert found.queue_cores == pytest.approx(1000 * 0.5e-3 + found.workers * 8 * 5e-6)
    assert (found.relays, found.workers) == (20, 40)  # at 60% of a core each
    assert found.log_bytes == pytest.approx(500_000 * (3600 + 5) * 100)
    assert found.client_bits_per_s == pytest.approx(500_000 * 100 * 8)


def test_a_second_reader_costs_relays_only(costs: Costs) -> None:
    """Its events, its connection and its memory."""
    one, two = need(costs, Demand(10_000)), need(costs, Demand(10_000, readers=2))
    assert two.relay_cores - one.relay_cores == pytest.approx(500_000 * 10e-6 + 1000 * 2e-3)
    assert two.relay_bytes - one.relay_bytes == pytest.approx((two.relays - one.relays) * 60e6 + 10_000 * 16_000)
    assert (two.workers, two.shards, two.log_bytes) == (one.workers, one.shards, one.log_bytes)


def test_slow_streams_are_limited_by_connections_and_slots(costs: Costs) -> None:
    """Hardly any CPU is used, and still a relay holds 20,000 readers at most, and a worker 256 streams."""
    found = need(costs, Demand(100_000, tokens_per_s=0.1))
    assert found.relays == 5
    assert found.workers == 391


def test_nothing_runs_alone(costs: Costs) -> None:
    """A system of one process each has no second when it dies."""
    found = need(costs, Demand(1))
    assert (found.relays, found.workers, found.shards) == (2, 2, 2)


def test_each_limit_is_where_its_need_is_spent(costs: Costs) -> None:
    """Asked for just that many streams, the model says that the limit is reached."""
    demand = Demand(1)
    found = {limit.what: limit.streams for limit in limits(costs, demand)}
    assert list(found.values()) == sorted(found.values())
    at = need(costs, replace(demand, streams=round(found["CPU of one Redis for the logs"])))
    assert at.streams_cores == pytest.approx(demand.headroom, rel=0.01)
    at = need(costs, replace(demand, streams=round(found["memory of the logs in one Redis"])))
    assert at.log_bytes == pytest.approx(demand.redis_gib * 2**30, rel=0.01)
    at = need(costs, replace(demand, streams=round(found["CPU of the queue's Redis"])))
    assert at.queue_cores == pytest.approx(demand.headroom, rel=0.02)


@pytest.mark.parametrize("used", [0.3, 0.6, 0.85])
def test_the_simulation_uses_what_the_formula_says(used: float) -> None:
    """On average; chance moves it by little."""
    kind = Kind(20, 2000, 50.0, 100, used / (2000 * 50 / 20) * 0.7e6, used / (2000 * 50 / 20) * 0.3e6 * 100)
    assert kind.used == pytest.approx(used)
    seen = simulate(kind, 30.0)
    assert seen.used == pytest.approx(used, rel=0.05)
    assert seen.busiest > seen.used


def test_delay_comes_with_the_last_of_the_headroom() -> None:
    """A process at half its core never waits; one that has nothing left to spare falls behind."""
    token_us = {used: used / (2000 * 50 / 20) * 1e6 for used in (0.5, 0.97)}
    calm, full = (simulate(Kind(20, 2000, 50.0, 200, us, 0.0), 30.0) for us in token_us.values())
    assert calm.wait_p99_ms == 0
    assert full.wait_p99_ms > 100


def test_the_answer_has_all_its_tables(costs: Costs) -> None:
    """Costs, needs at three scales, limits and the simulation; and it names the run."""
    told = text_of(RESULT, costs, Demand(10_000))
    assert "From the run of then" in told
    assert "| 10,000" in told
    assert "| 1,000,000" in told
    assert "TAILRACE_MAX_ACTIVE" in told
    assert told.count("|--") >= 4


def test_options_change_the_demand() -> None:
    """By their names in the documents."""
    path, demand = parse_demand(["r.json", "--readers", "3", "--answer-tokens", "800", "--headroom", "0.5"])
    assert path == Path("r.json")
    assert (demand.readers, demand.answer_tokens, demand.headroom, demand.tokens_per_s) == (3.0, 800, 0.5, 50.0)


async def test_the_command_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    """And prints the tables where nothing is."""
    path = tmp_path / "result.json"
    path.write_text(json.dumps(RESULT))
    good = Process([sys.executable, "-m", "bench.capacity", str(path)], tmp_path / "good.log").start()
    bad = Process([sys.executable, "-m", "bench.capacity", str(tmp_path / "none.json")], tmp_path / "bad.log").start()
    try:
        assert await good.ended() == 0, good.tail()
        assert "streams at once" in good.output()
        assert await bad.ended() == 1
        assert bad.output().startswith("bench: ")
        assert "Traceback" not in bad.output()
    finally:
        good.end()
        bad.end()
