"""Tests that a child dies with its parent, also by a SIGKILL, in both ways there are to do that."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from shared.processes import tether
from tests.support import Process, eventually
from tests.tailrace.local_support import all_gone, is_alive

_CHILD = "import os, pathlib, signal, sys; pathlib.Path(sys.argv[1]).write_text(f'{os.getpid()} '); signal.pause()"


def _parent(mode: str, pid_file: Path, log: Path) -> Process:
    """Return a process that starts a child through the tether and then waits for ever."""
    code = (
        "import os, signal, subprocess, sys\n"
        f"tether = [sys.executable, '-I', '-S', {tether.__file__!r}, {mode!r}, str(os.getpid())]\n"
        f"child = [sys.executable, '-I', '-S', '-c', {_CHILD!r}, {str(pid_file)!r}]\n"
        "subprocess.Popen(tether + child, stdin=subprocess.PIPE, start_new_session=True)\n"
        "signal.pause()\n"
    )
    return Process([sys.executable, "-I", "-S", "-c", code], log).start()


@pytest.mark.parametrize("mode", ["exec", "watch"])
async def test_a_child_does_not_outlive_a_killed_parent(mode: str, tmp_path: Path) -> None:
    """``exec`` is what Linux uses; ``watch`` is for systems whose kernel cannot do it, and works everywhere."""
    pid_file = tmp_path / "pid"
    parent = _parent(mode, pid_file, tmp_path / "log")
    await eventually(lambda: pid_file.exists() and pid_file.read_text().endswith(" "))
    child = int(pid_file.read_text())
    assert is_alive(child)
    parent.kill()
    await all_gone([child])
    parent.end()


async def test_a_tether_whose_parent_has_already_gone_starts_nothing(tmp_path: Path) -> None:
    """The parent may die before the kernel was asked to watch it: its id is compared after that."""
    command = [sys.executable, "-I", "-S", tether.__file__, "exec", "1", "touch", str(tmp_path / "started")]
    process = Process(command, tmp_path / "log").start()
    assert await process.ended() == 1
    assert not (tmp_path / "started").exists()
    process.end()


@pytest.mark.parametrize("mode", ["exec", "watch"])
async def test_a_program_that_does_not_exist_is_said_in_one_line(mode: str, tmp_path: Path) -> None:
    """No traceback, and the exit code a shell would give."""
    command = [sys.executable, "-I", "-S", tether.__file__, mode, str(os.getpid()), "/nowhere/server"]
    process = Process(command, tmp_path / "log").start()
    assert await process.ended() == 127
    assert process.output() == "cannot run /nowhere/server: No such file or directory\n"
    process.end()


@pytest.mark.parametrize("mode", ["exec", "watch"])
async def test_what_is_handed_over_open_reaches_the_command(mode: str, tmp_path: Path) -> None:
    """A child of several processes talks to its parent over such a file."""
    reader, writer = os.pipe()
    code = f"import os; os.write({writer}, b'here')"
    command = [sys.executable, "-I", "-S", tether.__file__, mode, str(os.getpid()), sys.executable, "-c", code]
    log = (tmp_path / "log").open("wb")
    child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=log, stderr=log, pass_fds=[writer])
    assert await asyncio.wait_for(child.wait(), 10) == 0, (tmp_path / "log").read_text()
    os.close(writer)
    log.close()
    assert os.read(reader, 10) == b"here"
    os.close(reader)
