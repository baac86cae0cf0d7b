"""The fault suite itself, with a budget for every day: a round each of the faults that hurt most, in real processes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support import Process

DAILY = "worker-kill,worker-stop,redis-lose,relay-kill,client-cut,provider-cut,post-twice"


@pytest.mark.timeout(240)
async def test_whatever_dies_every_reader_has_every_event_once(tmp_path: Path) -> None:
    """``make faults`` is the long run; this one has a random seed, too, and a failure says how to play it again."""
    command = [sys.executable, "-m", "tests.faults", "--only", DAILY, "--runs", "1"]
    suite = Process(command, tmp_path / "faults.log").start()
    code = await suite.ended(220)
    told = suite.output()
    assert code == 0, told
    assert "| all" in told, told


async def test_an_unknown_fault_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """A typing error must not look like a run in which all went well."""
    suite = Process([sys.executable, "-m", "tests.faults", "--only", "worker-kil"], tmp_path / "faults.log").start()
    assert await suite.ended(30) == 2
    assert "there is no fault 'worker-kil'" in suite.output()
