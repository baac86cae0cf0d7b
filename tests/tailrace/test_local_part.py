"""Tests of one part that is kept running, with real child processes and real signals."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tailrace.local.part import Part, PartError
from tailrace.local.process import Program
from tailrace.local.state import PartLog
from tests.support import eventually
from tests.tailrace.local_support import SERVES, STUBBORN, all_gone, program

Make = Callable[[Program], Part]


class Said(list[str]):
    """What the parts have told the person at the terminal."""

    def has(self, text: str) -> bool:
        """Return whether a line with ``text`` was said."""
        return any(text in line for line in self)


@pytest.fixture
def said() -> Said:
    """Collect what is said."""
    return Said()


@pytest.fixture
async def make(tmp_path: Path, said: Said) -> AsyncIterator[Make]:
    """Make parts that are ended with the test."""
    parts: list[Part] = []

    def build(what: Program) -> Part:
        parts.append(Part(what, PartLog(tmp_path / f"{len(parts)}.log"), said.append))
        return parts[-1]

    yield build
    hurry = asyncio.Event()
    hurry.set()
    for part in parts:
        await part.end(hurry)


async def test_a_part_is_ready_when_its_program_says_so_and_gone_when_it_is_ended(make: Make) -> None:
    """The plain life of a part: started, ready, ended by SIGTERM, no process left."""
    part = make(program(SERVES))
    task = part.start()
    await part.wait_ready()
    assert part.ready_line == b"ready now"
    pid = part.pid
    assert pid
    await part.end(asyncio.Event())
    assert task.done()
    await all_gone([pid])


async def test_a_killed_part_is_reported_and_started_again(make: Make, said: Said) -> None:
    """SIGKILL from outside: one line names the part, the signal and its last words, and a new process serves."""
    part = make(program(SERVES, name="worker"))
    part.start()
    await part.wait_ready()
    first = part.pid
    assert first
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: said.has("the worker is running again"))
    assert "the worker ended (signal SIGKILL); its last log line: ready now. Starting it again in 0.2 s." in said
    assert part.pid != first


async def test_a_part_that_crashes_again_and_again_is_given_up(make: Make, said: Said) -> None:
    """Five ends within a minute are one too many; the delays before them grow."""
    part = make(program("print('ready now'); raise SystemExit(3)"))
    task = part.start()
    await asyncio.wait({task}, timeout=30)
    with pytest.raises(PartError, match=r"exit code 3.*5th time in a minute") as raised:
        task.result()
    assert str(raised.value).endswith(".log")
    assert [line.rsplit(" in ", 1)[1] for line in said if "Starting" in line] == [
        "0.2 s.",
        "0.4 s.",
        "0.8 s.",
        "1.6 s.",
    ]


async def test_a_part_that_ends_before_it_is_ready_is_an_error_with_its_last_log_line(make: Make) -> None:
    """A program that refuses its configuration is not tried again: its own sentence is what the person needs."""
    part = make(program("raise SystemExit('the cable is not plugged in')", name="relay"))
    part.start()
    with pytest.raises(PartError, match=r"the relay ended \(exit code 1\); .*the cable is not plugged in.*never"):
        await part.wait_ready()


async def test_a_part_that_does_not_become_ready_in_time_is_killed(make: Make) -> None:
    """A program that hangs at its start is told apart from one that ends."""
    part = make(program("import signal; signal.pause()", start_s=0.3))
    part.start()
    with pytest.raises(PartError, match="not ready within 0 s"):
        await part.wait_ready()
    assert part.pid
    await all_gone([part.pid])


async def test_a_part_that_ignores_sigterm_is_killed_after_its_stop_time(make: Make, said: Said) -> None:
    """Nothing may keep the person waiting for longer than was promised."""
    part = make(program(STUBBORN, stop_s=0.3))
    part.start()
    await part.wait_ready()
    assert part.pid
    async with asyncio.timeout(5):
        await part.end(asyncio.Event())
    await all_gone([part.pid])
    assert said == ["the part did not stop within 0 s and was killed."]


async def test_a_second_ctrl_c_does_not_wait_for_the_stop_time(make: Make) -> None:
    """``hurry`` kills at once what would have had a minute."""
    part = make(program(STUBBORN, stop_s=60))
    part.start()
    await part.wait_ready()
    hurry = asyncio.Event()
    ending = asyncio.create_task(part.end(hurry))
    hurry.set()
    async with asyncio.timeout(5):
        await ending


async def test_ending_a_part_that_waits_to_be_started_again_does_not_start_it(make: Make, said: Said) -> None:
    """Ctrl-C during the delay before a restart ends the delay, and nothing is started any more."""
    part = make(program("print('ready now')"))
    task = part.start()
    await eventually(lambda: said.has("Starting it again in 0.8 s"))
    last = part.pid
    await part.end(asyncio.Event())
    assert task.done()
    assert part.pid == last


async def test_output_without_line_ends_is_bounded_and_complete_in_the_log(make: Make, tmp_path: Path) -> None:
    """A program that writes a megabyte in one line neither blocks nor fills the memory; the log has all of it."""
    code = f"import sys; sys.stdout.write('x' * 1_000_000 + chr(10)); sys.stdout.flush(); {SERVES}"
    part = make(program(code))
    part.start()
    await part.wait_ready()
    assert (tmp_path / "0.log").stat().st_size > 1_000_000
