"""Tests of a parent whose children do what they should not: they hang, never become ready, or do not end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes.family import all_say, named, processes
from tests.support import Process, eventually
from tests.tailrace.local_support import all_gone

Start = Callable[[str], Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the small program in a mode."""
    started: list[Process] = []

    def start(mode: str) -> Process:
        started.append(Process([sys.executable, "-m", "tests.processes.small", mode], tmp_path / "log").start())
        return started[-1]

    yield start
    for process in started:
        process.end()


async def test_a_child_that_hangs_is_killed_and_started_again(start: Start) -> None:
    """It holds connections that nobody serves, and a probe of the shared port reaches it only by chance."""
    parent = start("serve")
    await all_say(parent, "process.ready", 2)
    pid = processes(parent)[2]
    os.kill(pid, signal.SIGSTOP)
    hangs = await parent.event("process.hangs")
    assert hangs["pid"] == pid
    ended = await parent.event("process.ended")
    assert (ended["process"], ended["how"]) == (2, "signal SIGKILL")
    await eventually(lambda: processes(parent).get(2, pid) != pid, 10)
    assert len(processes(parent)) == 2


async def test_a_child_that_keeps_dying_is_started_again_each_time(start: Start) -> None:
    """After a while, by the backoff; the other is left alone."""
    parent = start("serve")
    await all_say(parent, "process.ready", 2)
    other = processes(parent)[1]
    for deaths in range(1, 4):
        await all_say(parent, "process.ready", 1 + deaths)
        os.kill(processes(parent)[2], signal.SIGKILL)
        await all_say(parent, "process.ended", deaths)
    await all_say(parent, "process.ready", 5)
    assert processes(parent)[1] == other
    assert all(0 <= said["again_in_s"] <= 0.2 for said in named(parent, "process.ended"))


async def test_children_that_never_become_ready_end_the_whole(start: Start) -> None:
    """With one sentence, and without a try that would fail as well."""
    parent = start("never")
    assert await parent.ended() == 1
    (sentence,) = [line for line in parent.output().splitlines() if not line.startswith("{")]
    assert "ended before it was ready (signal SIGKILL)" in sentence
    assert len(named(parent, "process.started")) == 2


async def test_children_that_do_not_end_are_killed_after_their_budget(start: Start) -> None:
    """The parent neither waits for ever nor leaves them behind."""
    parent = start("stubborn")
    await all_say(parent, "process.ready", 2)
    pids = list(processes(parent).values())
    parent.terminate()
    assert await parent.ended() == 0
    assert len(named(parent, "process.killed")) == 2
    await all_gone(pids)
