"""bench/cpu.py: CPU time of processes and their children."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.cpu import family, family_cpu_s, own_cpu_s, pin, rss_bytes
from tests.support import Process, eventually

BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
WAIT = "print('done', flush=True); input()"
LIVING_CHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {BURN + WAIT!r}], stdin=subprocess.PIPE)
child.wait()
"""
ENDED_CHILD = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}], check=True)
{WAIT}
"""
GONE = 4_194_305
"""Beyond the largest process id that Linux gives."""


@pytest.mark.parametrize("program", [LIVING_CHILD, ENDED_CHILD], ids=["living", "ended"])
async def test_what_a_child_uses_is_its_parents_price(program: str, tmp_path: Path) -> None:
    """A child counts while it lives, and also when it has ended and nobody finds it any more."""
    process = Process([sys.executable, "-c", program], tmp_path / "log")
    try:
        process.start()
        await process.line("done")
        assert await eventually(lambda: family_cpu_s([process.pid]) >= 0.3)
        assert family_cpu_s([process.pid, process.pid]) < 3.0
        assert own_cpu_s(process.pid) < 0.3
    finally:
        process.end()


async def test_a_family_is_found_over_generations(tmp_path: Path) -> None:
    """A supervisor's workers are the supervisor's price."""
    process = Process([sys.executable, "-c", LIVING_CHILD], tmp_path / "log")
    try:
        process.start()
        await process.line("done")
        found = family([process.pid])
        assert process.pid in found
        assert len(found) == 2
    finally:
        process.end()


def test_a_process_that_is_gone_has_used_nothing() -> None:
    """It is no error here: whoever needs the process alive looks himself."""
    assert family_cpu_s([GONE]) == 0
    assert own_cpu_s(GONE) == 0


async def test_a_pinned_family_stays_on_its_cpu(tmp_path: Path) -> None:
    """Every thread of it, also those of what it has started before; and it can be let go again."""
    process = Process([sys.executable, "-c", LIVING_CHILD], tmp_path / "log")
    everywhere = os.sched_getaffinity(0)
    one = {min(everywhere)}
    try:
        process.start()
        await process.line("done")
        pin([process.pid], one)
        assert [os.sched_getaffinity(pid) for pid in family([process.pid])] == [one, one]
        pin([process.pid], everywhere)
        assert os.sched_getaffinity(process.pid) == everywhere
    finally:
        process.end()


def test_memory_is_what_is_resident() -> None:
    """In bytes; nothing for a process that is gone."""
    before = rss_bytes(os.getpid())
    held = b"x" * 50_000_000
    assert rss_bytes(os.getpid()) - before > 40_000_000
    assert len(held) == 50_000_000
    assert rss_bytes(GONE) == 0
