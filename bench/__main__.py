"""``python -m bench``: measures, prints the table and writes JSON and a plot. See docs/performance.md."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
from pathlib import Path

import uvloop

from bench.families import FAMILIES
from bench.plan import BenchError, Plan, parse_plan
from bench.plot import draw
from bench.progress import tell
from bench.report import Result, json_path, machine, result_of, text_of
from bench.row import Family, Findings

_FAILED = 1
_MISSED = 2
_INTERRUPTED = 130


def main() -> int:
    """Run the benchmark; return the exit code: 2 when a target was missed, 1 when something was not measured."""
    plan = parse_plan(sys.argv[1:])
    try:
        _check_system()
        path = json_path(plan)
        result = uvloop.run(_run(plan))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return _FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("bench: interrupted; everything it started has ended", file=sys.stderr)
        return _INTERRUPTED
    _write(result, path)
    if result["failed"]:
        return _FAILED
    return _MISSED if any(row["missed"] for row in result["rows"]) else 0


async def _run(plan: Plan) -> Result:
    """Measure each family of rows in turn; one that cannot be measured does not keep the others from it.

    SIGTERM ends it as Ctrl-C does: by cancelling it, so that all it started is ended.
    """
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    where = machine()
    findings: dict[str, Findings] = {}
    failed: dict[str, str] = {}
    for family in FAMILIES:
        if set(family.rows) & set(plan.only):
            try:
                findings[family.name] = await _measure(family, plan)
            except BenchError as error:
                failed[family.name] = str(error)
                tell(f"{family.name}: {error}")
    return result_of(plan, where, findings, failed)


async def _measure(family: Family, plan: Plan) -> Findings:
    """Measure one family within its time. Raises ``BenchError``."""
    limit_s = family.limit_s(plan)
    try:
        async with asyncio.timeout(limit_s):
            return await family.measure(plan)
    except TimeoutError:
        message = f"not done after {limit_s:.0f} s: this machine is too slow or too busy for this plan"
        raise BenchError(message) from None
    except ExceptionGroup as group:  # answers that failed together, as when a part dies under them
        failed, other = group.split(BenchError)
        if other is not None or failed is None:
            raise
        first: BaseException = failed
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise BenchError(str(first)) from None


def _write(result: Result, path: Path) -> None:
    """Write the JSON and the plot, and print the report."""
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(text_of(result))
    tell(f"all of it is in {path}")
    picture = path.with_suffix(".svg")
    if draw(result, picture):
        tell(f"a plot of it is in {picture}")
    else:
        tell("no plot: matplotlib is not installed (it comes with the extra 'bench')")


def _check_system() -> None:
    """Raise ``BenchError`` where nothing can be measured; allow as many open files as the system does."""
    if not Path("/proc/self/stat").exists():
        message = "CPU time is read from /proc, which only Linux has"
        raise BenchError(message)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
