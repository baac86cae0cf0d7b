"""``python -m bench`` end to end, with tiny numbers: every row, nothing left running, a sentence when it cannot be."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import names
from bench.cpu import family
from tests.support import Process, clean_environment, eventually

TINY = ("--scale", "0.02", "--rate", "100", "--seconds", "1", "--rounds", "1", "--samples", "2")
SHARES = (
    (names.CPU_SDK, names.FIRST_TOKEN, names.RESUME),
    (names.FAN_OUT, names.MEMORY, names.FIRST_TOKEN_LOADED),
    (names.ONE_CORE, names.GROWTH),
    (names.STARTS,),
    (names.IDLE,),
)
"""All families of rows, in runs that take about as long as each other."""
ROWS = {names.RESUME: 2, names.FIRST_TOKEN: 2, names.FIRST_TOKEN_LOADED: 2, names.IDLE: 2}
"""Lines of the table that a name stands for, where it is not one."""
RUN_S = 220.0
"""Far more than the runs need together where nothing else is running."""

StartBench = Callable[..., Process]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[StartBench]:
    """Start benchmarks; each is ended with the test, whatever happened."""
    started: list[Process] = []
    scratch(tmp_path).mkdir()

    def start(*arguments: str) -> Process:
        env = clean_environment({"TMPDIR": str(scratch(tmp_path))})
        process = Process([sys.executable, "-m", "bench", *arguments], tmp_path / f"bench{len(started)}.log", env=env)
        started.append(process.start())
        return process

    yield start
    for process in started:
        process.end()


def scratch(tmp_path: Path) -> Path:
    """Return the directory for temporary files of the test's benchmarks."""
    return tmp_path / "scratch"


def command(pid: int) -> bytes:
    """Return a process's command line, empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(pids: set[int]) -> set[int]:
    """Return which of the processes have not ended."""
    return {pid for pid in pids if command(pid)}


@pytest.mark.timeout(240)
async def test_all_rows_have_finite_numbers(bench: StartBench, tmp_path: Path) -> None:
    """Each family of rows is measured, told and written, and the exit code says whether a target was missed.

    Several runs share the machine here, so their numbers say nothing; and none leaves a process or a directory.
    """
    paths = [tmp_path / f"{number}" / "result.json" for number in range(len(SHARES))]
    runs = [bench(*TINY, "--json", str(path), "--only", *share) for path, share in zip(paths, SHARES, strict=True)]
    codes = await asyncio.gather(*(run.ended(RUN_S) for run in runs))
    for run, code, path, share in zip(runs, codes, paths, SHARES, strict=True):
        result: dict[str, Any] = json.loads(path.read_text())
        assert result["failed"] == {}, run.tail()
        assert code == (2 if any(row["missed"] for row in result["rows"]) else 0), run.tail()
        for name in share:
            rows = [row for row in result["rows"] if row["name"] == name]
            assert len(rows) == ROWS.get(name, 1)
            for row in rows:
                assert math.isfinite(row["reached"])
                assert row["what"] in run.output()
        assert path.with_suffix(".svg").exists() or "no plot" in run.output()
    assert list(scratch(tmp_path).iterdir()) == []
    loads = json.loads(paths[0].read_text())["measured"]["loads"]["loads"]
    assert {load["target"]: load["tokens"] for load in loads} == {"sdk": 300, "tailrace": 300}
    ours = next(load for load in loads if load["target"] == "tailrace")
    assert set(ours["part_us"]) == {"redis", "relay", "worker"}
    assert min(ours["part_us"].values()) > 0
    assert ours["full"]["tokens"] > 0
    assert ours["redis_total_commands_processed_per_token"] > 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
async def test_an_interrupted_run_leaves_nothing(bench: StartBench, how: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end the bench, and first all it has started."""
    process = bench(*TINY, "--seconds", "60", "--only", names.GAP)
    await process.line("4 streams, proxy", RUN_S)
    pids = family([process.pid]) - {process.pid}
    process.child.send_signal(how)
    assert await process.ended() == 130, process.tail()
    assert alive(pids) == set()
    assert "Traceback" not in process.output()
    assert "interrupted" in process.output()


async def test_a_part_that_dies_ends_the_run_with_its_name(bench: StartBench) -> None:
    """What a dead system did not deliver is no measurement."""
    process = bench(*TINY, "--seconds", "4", "--only", names.GAP)  # so that the load does not end before its part does
    await process.line("4 streams, proxy", RUN_S)
    pids = family([process.pid]) - {process.pid}
    os.kill(next(pid for pid in pids if b"bench.proxy" in command(pid)), signal.SIGKILL)
    assert await process.ended() == 1
    # Whichever is noticed first, the process's end or that of an answer: the sentence names the part.
    assert re.search(
        r"bench: .*(proxy|pass-through).*(ended during the run \(signal SIGKILL\)|did not give the answer)",
        process.output(),
    )
    assert "Traceback" not in process.output()
    assert await eventually(lambda: not alive(pids))


async def test_a_result_that_cannot_be_written_is_told_before_the_run(bench: StartBench) -> None:
    """Not after minutes of measuring."""
    process = bench(*TINY, "--json", "/proc/none/result.json")
    assert await process.ended() == 1
    assert "the result cannot be written to /proc/none/result.json" in process.output()
    assert "Traceback" not in process.output()
