"""``python -m bench`` end to end, with tiny numbers: every row, nothing left running, a sentence when it cannot be."""

from __future__ import annotations

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

from bench.cpu import family
from bench.target import TARGETS
from tests.support import Process, clean_environment, eventually

TINY = ("--streams", "4", "--rate", "100", "--seconds", "1", "--rounds", "1", "--samples", "2")
ROWS = 9
RUN_S = 90.0

StartBench = Callable[..., Process]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[StartBench]:
    """Start benchmarks; each is ended with the test, whatever happened."""
    started: list[Process] = []
    scratch(tmp_path).mkdir()

    def start(*arguments: str) -> Process:
        env = clean_environment({"TMPDIR": str(scratch(tmp_path))})
        process = Process([sys.executable, "-m", "bench", *arguments], tmp_path / "bench.log", env=env)
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


async def test_a_run_has_every_row_with_finite_numbers(bench: StartBench, tmp_path: Path) -> None:
    """The table, and the JSON with all samples; and no process or directory is left."""
    path = tmp_path / "deep" / "result.json"
    process = bench(*TINY, "--json", str(path))
    await process.line("round 1 of 1", RUN_S)
    pids = family([process.pid]) - {process.pid}
    assert len(pids) == 6
    assert await process.ended(RUN_S) == 0, process.tail()
    assert alive(pids) == set()
    assert list(scratch(tmp_path).iterdir()) == []

    result: dict[str, Any] = json.loads(path.read_text())
    assert len(result["rows"]) == ROWS
    for row in result["rows"]:
        assert all(math.isfinite(row[name]) for name in ("ours", "theirs", "reached"))
        assert min(row["ours"], row["theirs"]) > 0
        line = await process.line(f"| {row['what']} ")
        assert "Tailrace" not in line
    assert set(result["first_token_ms"]) == {target.name for target in TARGETS}
    assert all(len(samples) == 2 for samples in result["first_token_ms"].values())
    assert {load["load"]["target"] for load in result["loads"]} == {"tutorial", "proxy", "tailrace"}
    assert all(load["tokens"] == 400 for load in result["loads"])
    ours = next(load for load in result["loads"] if load["load"]["target"] == "tailrace")
    assert set(ours["parts_cpu_s"]) == {"redis", "relay", "worker"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
async def test_an_interrupted_run_leaves_nothing(bench: StartBench, how: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end the bench, and first all it has started."""
    process = bench(*TINY, "--seconds", "60")
    await process.line("warming up", RUN_S)
    pids = family([process.pid]) - {process.pid}
    process.child.send_signal(how)
    assert await process.ended() == 130, process.tail()
    assert alive(pids) == set()
    assert "Traceback" not in process.output()
    assert "interrupted" in process.output()


async def test_a_part_that_dies_ends_the_run_with_its_name(bench: StartBench) -> None:
    """What a dead system did not deliver is no measurement."""
    process = bench(*TINY, "--seconds", "4")  # so that the load does not end before its part does
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
