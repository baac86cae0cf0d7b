"""Tests of the runner's directory: one runner at a time, and logs that cannot fill the disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from tailrace.local.state import PartLog, claim_state
from tests.support import Process
from tests.tailrace.local_support import ROOT_ENVIRONMENT


def test_a_second_runner_in_the_same_directory_is_refused_with_the_first_ones_process_id(tmp_path: Path) -> None:
    """Two Redis servers on one append-only file would destroy it."""
    with (
        claim_state(tmp_path / "state"),
        pytest.raises(ConfigurationError, match=rf"already runs in this directory \(process {os.getpid()}\)"),
        claim_state(tmp_path / "state"),
    ):
        pass


async def test_the_directory_is_free_again_after_its_runner_was_killed(tmp_path: Path) -> None:
    """The lock belongs to the process and not to a file that a crash leaves behind."""
    code = (
        "import pathlib, signal, sys; from tailrace.local.state import claim_state\n"
        "with claim_state(pathlib.Path(sys.argv[1])): print('held', flush=True); signal.pause()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "state")]
    holder = Process(command, tmp_path / "log", env=ROOT_ENVIRONMENT).start()
    await holder.line("held")
    with pytest.raises(ConfigurationError), claim_state(tmp_path / "state"):
        pass
    holder.kill()
    with claim_state(tmp_path / "state") as state:
        assert state.redis.is_dir()
        assert state.logs.is_dir()
    holder.end()


def test_what_the_runner_keeps_is_for_its_user_alone(tmp_path: Path) -> None:
    """Answers and questions are in there."""
    with claim_state(tmp_path / "state") as state:
        assert {directory.stat().st_mode & 0o777 for directory in (state.root, state.redis, state.logs)} == {0o700}


def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """A file of that name, a read-only disk: the place and the reason, no traceback."""
    (tmp_path / "state").write_text("in the way")
    with (
        pytest.raises(ConfigurationError, match=r"state, which cannot be written: File exists"),
        claim_state(tmp_path / "state"),
    ):
        pass


def test_a_log_keeps_the_latest_and_at_most_two_files(tmp_path: Path) -> None:
    """Whatever a part writes, the disk it takes has a bound."""
    log = PartLog(tmp_path / "part.log", limit_bytes=100)
    for number in range(50):
        log.write(b"line %06d of ten\n" % number)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["part.log", "part.log.1"]
    assert all(file.stat().st_size <= 100 for file in files)
    assert files[0].read_bytes().endswith(b"line 000049 of ten\n")


def test_a_new_run_begins_with_an_empty_log(tmp_path: Path) -> None:
    """The last run's words must not be taken for this one's."""
    for words in (b"old", b"new"):
        log = PartLog(tmp_path / "part.log")
        log.write(words)
        log.close()
    assert (tmp_path / "part.log").read_bytes() == b"new"
