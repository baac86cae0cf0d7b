"""The result as a person reads it, in Markdown, and as a program does, in JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure import LoadResult, Measured
from bench.plan import RESULTS, BenchError, Plan
from bench.rows import Row

_CALM = 0.5
"""Other people's load per CPU, up to which a machine counts as ours."""


def machine(redis_name: str) -> dict[str, Any]:
    """Return what the numbers depend on, and how busy the machine is with other things; ask before the run."""
    return {
        "cpus": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "redis": redis_name,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def text_of(rows: Sequence[Row], measured: Measured, where: dict[str, Any]) -> str:
    """Return the report."""
    lines = [
        f"Python {where['python']}, {where['redis']}, {where['cpus']} CPUs, load before the run {where['load_1m']:g}",
        "",
        *_table(("what", "Tailrace", "against", "", "difference", "target"), map(_cells, rows)),
        "",
        *_table(
            ("load", "CPU per token, us (least-most)", "of it", "steady", "gap between tokens, p99", "not counted, us"),
            (_load_cells(results) for results in measured.loads.values()),
        ),
    ]
    if where["load_1m"] > _CALM * where["cpus"]:
        lines += ["", "The machine was busy with other things: trust the ratios rather than the numbers."]
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    reached = _amount(row, row.reached)
    target = "" if row.target is None else f"at most {_amount(row, row.target)}{': missed' if row.missed else ''}"
    ours, theirs = (_figure(value, row.unit) for value in (row.ours, row.theirs))
    return row.what, ours, row.against, theirs, reached, target


def _amount(row: Row, value: float) -> str:
    return f"{value:.2f}x" if row.kind == "ratio" else f"{value:+.1f} {row.unit}"


def _figure(value: float, unit: str) -> str:
    return f"{value:.1f} {unit}" if unit == "ms" else f"{value:.0f} {unit}"


def _load_cells(results: Sequence[LoadResult]) -> tuple[str, ...]:
    load, us = results[0].load, [one.us_per_token for one in results]
    parts = {
        name: median(one.parts_cpu_s[name] / one.tokens * 1e6 for one in results) for name in results[0].parts_cpu_s
    }
    steady = [one.steady_us_per_token for one in results if one.steady_us_per_token is not None]
    helpers = median(one.helpers_cpu_s / one.tokens * 1e6 for one in results)
    return (
        f"{load.target}, {load.streams} streams",
        f"{median(us):.0f} ({min(us):.0f}-{max(us):.0f})",
        ", ".join(f"{name} {part_us:.0f}" for name, part_us in parts.items()) if len(parts) > 1 else "",
        f"{median(steady):.0f}" if steady else "",
        f"{median(one.gap_p99_ms for one in results):.0f} ms",
        f"{helpers:.0f}",
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table that is also straight in a terminal."""
    cells = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def json_path(plan: Plan) -> Path:
    """Return where the result will be written. Raises ``BenchError`` when it cannot be: ask before the run."""
    path = plan.json_path or RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        message = f"the result cannot be written to {path}: {error.strerror}"
        raise BenchError(message) from None
    return path


def json_of(rows: Sequence[Row], measured: Measured, plan: Plan, where: dict[str, Any]) -> str:
    """Return everything, samples included."""
    told = {
        "machine": where,
        "plan": asdict(plan) | {"json_path": None},
        "rows": [asdict(row) | {"missed": row.missed} for row in rows],
        "first_token_ms": measured.first_token_ms,
        "loads": [
            asdict(one) | {"us_per_token": one.us_per_token, "round": number}
            for results in measured.loads.values()
            for number, one in enumerate(results, 1)
        ],
    }
    return json.dumps(told, indent=1) + "\n"
