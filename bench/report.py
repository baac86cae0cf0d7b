"""A result as a program reads it, in JSON, and as a person does, in Markdown: ``python -m bench.report FILE.json``."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import names
from bench.plan import RESULTS, BenchError, Plan
from bench.row import Findings
from bench.stand import redis_server

_CALM = 0.5
"""Other people's load per CPU, up to which a machine counts as ours."""

Result = dict[str, Any]


def machine() -> Result:
    """Return what the numbers depend on, and how busy the machine is with other things; ask before the run.

    Raises ``BenchError`` where there is no Redis.
    """
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as directory:
        redis_name = redis_server(Path(directory)).name
    return {
        "cpus": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "kernel": platform.release().split("-")[0],
        "redis": redis_name,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def result_of(plan: Plan, where: Result, findings: Mapping[str, Findings], failed: Mapping[str, str]) -> Result:
    """Return everything, samples included, as JSON has it. ``failed`` says why families have no findings."""
    rows = [row for found in findings.values() for row in found.rows]
    rows.sort(key=lambda row: names.ROW_NAMES.index(row.name))
    return {
        "machine": where,
        "plan": asdict(plan) | {"json_path": None},
        "rows": [asdict(row) | {"missed": row.missed} for row in rows],
        "failed": dict(failed),
        "tables": [asdict(table) for found in findings.values() for table in found.tables],
        "measured": {name: found.data for name, found in findings.items()},
    }


def text_of(result: Result) -> str:
    """Return the report."""
    where, plan = result["machine"], result["plan"]
    system = f"Python {where['python']}, {where['redis']}, Linux {where['kernel']}, {where['cpus']} CPUs"
    how = f"load before the run {where['load_1m']:g}, {plan['rounds']} rounds, scale {plan['scale']:g}"
    lines = [
        f"{where['at']}: {system}; {how}.",
        "",
        *table_of(("row", "what", "Tailrace", "against", "", "reached", "target"), map(_cells, result["rows"])),
    ]
    for table in result["tables"]:
        lines += ["", f"{table['title']}:", "", *table_of(table["head"], table["lines"])]
    if result["failed"]:
        lines += ["", *(f"Not measured, {name}: {why}" for name, why in result["failed"].items())]
    if where["load_1m"] > _CALM * where["cpus"]:
        lines += ["", "The machine was busy with other things: trust the ratios rather than the numbers."]
    return "\n".join(lines)


def _cells(row: Result) -> tuple[str, ...]:
    target = ""
    if row["target"] is not None:
        how = "at least" if row["at_least"] else "at most"
        target = f"{how} {_amount(row, row['target'], 0)}: {'missed' if row['missed'] else 'reached'}"
    theirs = "" if row["theirs"] is None else _figure(row["theirs"], row["unit"])
    ours, reached = _figure(row["ours"], row["unit"]), _amount(row, row["reached"], 1)
    return row["name"], row["what"], ours, row["against"], theirs, reached, target


def _amount(row: Result, value: float, more_digits: int) -> str:
    match row["kind"]:
        case "ratio":
            return f"{value:.{1 + more_digits}f}x"
        case "added":
            return f"{value:+.{more_digits}f} {row['unit']}"
        case _:
            return f"{value:.{more_digits}f} {row['unit']}"


def _figure(value: float, unit: str) -> str:
    digits = 1 if unit != "us" and value < 1000 and value % 1 else 0  # noqa: PLR2004 - four digits say enough
    return f"{value:.{digits}f} {unit}".strip()


def table_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
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


def read_result(path: Path) -> Result:
    """Return a result that was written. Raises ``BenchError`` when the file holds none."""
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read: {error}"
        raise BenchError(message) from None
    if not isinstance(result, dict) or not {"rows", "measured"} <= set(result):
        message = f"{path} holds no result of the benchmark"
        raise BenchError(message)
    return result


def main(path: str) -> int:
    """Print the report of a result that was written; return the exit code."""
    try:
        print(text_of(read_result(Path(path))))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2] or ["a result"]))
