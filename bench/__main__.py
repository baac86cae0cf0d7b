"""``python -m bench``: measures, prints the table and writes the JSON. See docs/performance.md."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from pathlib import Path

import uvloop

from bench.measure import measure
from bench.plan import BenchError, Plan, parse_plan
from bench.report import json_of, json_path, machine, text_of
from bench.rows import rows_of
from bench.stand import Stand

_START_S = 240.0
"""For starting, warming up and ending."""
_SLOWNESS = 5
"""A machine this many times too slow for the plan is given up."""
_INTERRUPTED = 130


def main() -> int:
    """Run the benchmark; return the exit code: 1, with a sentence, when it could not be carried out."""
    plan = parse_plan(sys.argv[1:])
    try:
        _check_system()
        uvloop.run(_run(plan, json_path(plan)))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except ExceptionGroup as group:  # answers that failed together, as when a part dies under them
        failed, other = group.split(BenchError)
        if other is not None or failed is None:
            raise
        first: BaseException = failed
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        print(f"bench: {first}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("bench: interrupted; everything it started has ended", file=sys.stderr)
        return _INTERRUPTED
    return 0


async def _run(plan: Plan, path: Path) -> None:
    """Measure and report. SIGTERM ends it as Ctrl-C does: by cancelling it, so that all it started is ended."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with asyncio.timeout(_deadline_s(plan)), Stand(plan).running() as stand:
            where = machine(stand.redis_name)
            measured = await measure(stand, plan)
    except TimeoutError:
        message = f"not done after {_deadline_s(plan):.0f} s: this machine is too slow or too busy for this plan"
        raise BenchError(message) from None
    rows = rows_of(measured, plan)
    path.write_text(json_of(rows, measured, plan, where))  # noqa: ASYNC240 - nothing else runs any more
    print(text_of(rows, measured, where))
    print(f"bench: all of it is in {path}", file=sys.stderr)


def _deadline_s(plan: Plan) -> float:
    """Return the seconds after which the run is given up."""
    loads_s = plan.rounds * 4 * (plan.seconds + plan.streams / plan.rate)
    return _START_S + _SLOWNESS * (loads_s + plan.samples * 4 * 2 / plan.rate)


def _check_system() -> None:
    """Raise ``BenchError`` where nothing can be measured; allow as many open files as the system does."""
    if not Path("/proc/self/stat").exists():
        message = "CPU time is read from /proc, which only Linux has"
        raise BenchError(message)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
