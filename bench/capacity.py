"""``python -m bench.capacity RESULT.json``: what 10 thousand to 1 million streams need. See docs/capacity.md."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bench.capacity_model import Demand, Need, limits, need
from bench.costs import Costs, costs_of
from bench.plan import BenchError, within
from bench.report import read_result, table_of
from bench.simulation import Kind, simulate

_SCALES = (10_000, 100_000, 1_000_000)
_SIMULATED_STREAMS = 10_000
_SIMULATED_S = 40.0
_HEADROOMS = (0.5, 0.6, 0.8, 0.95)
_GIB, _MIB, _KIB = 2**30, 2**20, 2**10

_OPTIONS = {
    "tokens_per_s": (0.1, 1000, float, "tokens per second of a stream"),
    "readers": (1, 100_000, float, "readers of a stream"),
    "answer_tokens": (1, 1_000_000, int, "tokens of an answer"),
    "headroom": (0.05, 0.95, float, "part of a core that a process may use on average"),
    "kept_s": (0, 1e7, float, "seconds that a log is kept after its stream's end"),
    "redis_gib": (0.1, 100_000, float, "memory of one Redis, in GiB"),
    "network_gbit": (0.1, 1000, float, "network of one machine, in Gbit/s"),
}


def text_of(result: dict[str, Any], costs: Costs, demand: Demand) -> str:
    """Return the whole answer, in Markdown."""
    where, plan = result["machine"], result["plan"]
    system = f"Python {where['python']}, {where['redis']}, {where['cpus']} CPUs, scale {plan['scale']:g}"
    stream = f"{demand.tokens_per_s:g} tokens/s and {demand.readers:g} reader(s) per stream"
    kept = f"answers of {demand.answer_tokens} tokens, kept for {demand.kept_s:g} s"
    machines = f"{demand.headroom:.0%} of a core in use, {demand.redis_gib:g} GiB and {demand.network_gbit:g} Gbit/s"
    lines = [
        f"From the run of {where['at']} ({system}); a token's costs are those under {costs.load}.",
        "",
        *table_of(("what", "measured"), _cost_lines(costs)),
        "",
        f"With {stream}, {kept}; {machines} per Redis:",
        "",
        *table_of(("streams at once", *(f"{scale:,}" for scale in _SCALES)), _need_lines(costs, demand)),
        "",
        "What is reached first, as streams grow:",
        "",
        *table_of(
            ("what", "at streams", "then"),
            [(one.what, _rounded(one.streams), one.remedy) for one in limits(costs, demand)],
        ),
        "",
        f"Simulated, {_SIMULATED_STREAMS:,} streams that start by chance, on workers chosen by chance:",
        "",
        *table_of(
            ("headroom", "workers", "used, model", "used, simulated", "busiest, p99", "behind, p99"),
            [_simulated_line(costs, replace(demand, headroom=headroom)) for headroom in _HEADROOMS],
        ),
    ]
    return "\n".join(lines)


def _cost_lines(costs: Costs) -> list[tuple[str, str]]:
    return [
        ("CPU per token: relay, worker, Redis", _us(costs.relay_token_us, costs.worker_token_us, costs.redis_token_us)),
        (
            "CPU per start and end: relay, worker, queue's Redis, logs' Redis",
            _us(costs.relay_start_us, costs.worker_start_us, costs.queue_start_us, costs.streams_start_us),
        ),
        ("CPU per event of one more reader: relay", _us(costs.delivery_us)),
        ("CPU per command: Redis", _us(costs.command_us)),
        ("memory per open reader: relay", f"{costs.reader_bytes / _KIB:.1f} KiB"),
        ("memory of a relay without readers; of a worker", _mib(costs.relay_bytes) + "; " + _mib(costs.worker_bytes)),
        ("memory per token of a log: Redis", f"{costs.log_token_bytes:.0f} bytes"),
        ("network per token: to a reader", f"{costs.client_token_bytes:.0f} bytes"),
        (
            "network per token: into Redis, out of it",
            f"{costs.redis_in_token_bytes:.0f}, {costs.redis_out_token_bytes:.0f} bytes",
        ),
        (
            "commands per second, idle: worker, relay",
            f"{costs.worker_commands_per_s:.1f}, {costs.relay_commands_per_s:.1f}",
        ),
    ]


def _need_lines(costs: Costs, demand: Demand) -> list[tuple[str, ...]]:
    needs = [need(costs, replace(demand, streams=streams)) for streams in _SCALES]
    shown = {
        "tokens per second": [f"{replace(demand, streams=streams).tokens:,.0f}" for streams in _SCALES],
        "starts per second": [f"{replace(demand, streams=streams).starts:,.0f}" for streams in _SCALES],
        "relay processes (cores in use)": [f"{one.relays:,} ({one.relay_cores:,.1f})" for one in needs],
        "worker processes (cores in use)": [f"{one.workers:,} ({one.worker_cores:,.1f})" for one in needs],
        "streams per worker": [f"{streams / one.workers:,.0f}" for streams, one in zip(_SCALES, needs, strict=True)],
        "Redis shards for the logs (cores in use)": [f"{one.shards:,} ({one.streams_cores:,.1f})" for one in needs],
        "what decides the shards": [_shards_for(one, demand) for one in needs],
        "cores of the queue's Redis": [f"{one.queue_cores:,.2f}" for one in needs],
        "memory of all relays": [_gib(one.relay_bytes) for one in needs],
        "memory of all workers": [_gib(one.worker_bytes) for one in needs],
        "memory of the logs": [_gib(one.log_bytes) for one in needs],
        "network to the readers": [_gbit(one.client_bits_per_s) for one in needs],
        "network of the logs' Redis": [_gbit(one.streams_bits_per_s) for one in needs],
    }
    return [(name, *cells) for name, cells in shown.items()]


def _shards_for(one: Need, demand: Demand) -> str:
    """Return which need of shards is the largest."""
    wanted = {
        "CPU": one.streams_cores / demand.headroom,
        "memory": one.log_bytes / (demand.redis_gib * _GIB),
        "network": one.streams_bits_per_s / (demand.network_gbit * 1e9 * demand.headroom),
    }
    return max(wanted, key=lambda name: wanted[name])


def _simulated_line(costs: Costs, demand: Demand) -> tuple[str, ...]:
    demand = replace(demand, streams=_SIMULATED_STREAMS)
    workers = need(costs, demand).workers
    kind = Kind(
        workers,
        demand.streams,
        demand.tokens_per_s,
        demand.answer_tokens,
        costs.worker_token_us,
        costs.worker_start_us,
    )
    # As long as a few answers, or chance has not yet replaced the streams it began with.
    seen = simulate(kind, max(_SIMULATED_S, 3 * demand.answer_tokens / demand.tokens_per_s))
    shares = (demand.headroom, kind.used, seen.used, seen.busiest)
    headroom, model, simulated, busiest = (f"{share:.0%}" for share in shares)
    return headroom, str(workers), model, simulated, busiest, f"{seen.wait_p99_ms:,.0f} ms"


def _rounded(number: float) -> str:
    """Return a number to two digits: the model does not know more."""
    return f"{float(f'{number:.1e}'):,.0f}" if math.isfinite(number) else "never"


def _us(*values: float) -> str:
    return ", ".join(f"{value:,.0f}" for value in values) + " us"


def _gib(size_bytes: float) -> str:
    return f"{size_bytes / _GIB:,.1f} GiB"


def _mib(size_bytes: float) -> str:
    return f"{size_bytes / _MIB:.0f} MiB"


def _gbit(bits_per_s: float) -> str:
    return f"{bits_per_s / 1e9:,.2f} Gbit/s"


def parse_demand(arguments: Sequence[str]) -> tuple[Path, Demand]:
    """Return the result's path and the demand of a command line. Ends the program when it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.capacity", description="Says what 10 thousand, 100 thousand and 1 million streams need."
    )
    parser.add_argument("result", type=Path, help="the JSON of a whole run of `make bench`")
    defaults = {field.name: field.default for field in fields(Demand)}
    for name, (least, most, kind, what) in _OPTIONS.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=within(least, most, kind), help=f"{what} ({defaults[name]:g})")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    path = given.pop("result")
    return path, Demand(streams=_SCALES[0], **given)


def main() -> int:
    """Compute and print; return the exit code: 1, with a sentence, when the result does not serve."""
    path, demand = parse_demand(sys.argv[1:])
    try:
        result = read_result(path)
        print(text_of(result, costs_of(result), demand))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
