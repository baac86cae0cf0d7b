"""Tests of the command line of the services: how many processes are asked for, by whom, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes.family import all_say, processes
from tests.support import Process, clean_environment
from tests.tailrace.local_support import all_gone

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path, redis_url: str) -> Iterator[Start]:
    """Run Python modules with arguments and settings; their output goes to a file."""
    started: list[Process] = []

    def start(*arguments: str, **env: str) -> Process:
        settings = {"TAILRACE_REDIS_URL": redis_url, "TAILRACE_PORT": "0", "TAILRACE_SIM": "true"} | env
        log = tmp_path / f"{len(started)}.log"
        command = [sys.executable, "-m", *arguments]
        started.append(Process(command, log, env=clean_environment(settings)).start())
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.mark.parametrize("service", ["relay", "worker"])
@pytest.mark.parametrize("command", [(), ("tailrace",)], ids=["module", "command"])
async def test_the_option_counts_more_than_the_setting(start: Start, service: str, command: tuple[str, ...]) -> None:
    """``tailrace relay --processes 2`` and ``python -m relay --processes 2`` are the same."""
    process = start(*command, service, "--processes", "2", **{f"TAILRACE_{service.upper()}_PROCESSES": "7"})
    await all_say(process, "process.ready", 2)
    pids = list(processes(process).values())
    assert len(pids) == 2
    process.terminate()
    assert await process.ended() == 0
    await all_gone(pids)


@pytest.mark.parametrize("service", ["relay", "worker"])
async def test_the_help_says_what_several_processes_are_for(start: Start, service: str) -> None:
    """And what of the settings is then of each; what a parent tells its children is nobody's business."""
    process = start("tailrace", service, "--help")
    assert await process.ended() == 0
    told = " ".join(process.output().split())
    assert "--processes N" in told
    assert "more than one core" in told
    assert f"TAILRACE_{service.upper()}_PROCESSES" in told
    assert "--child" not in told


@pytest.mark.parametrize("count", ["0", "-1", "many", "257"])
async def test_a_number_that_is_none_is_wrong_usage(start: Start, count: str) -> None:
    """With exit code 2, as all wrong usage."""
    process = start("tailrace", "relay", "--processes", count)
    assert await process.ended() == 2
    assert "a number from 1 to 256" in process.output()


async def test_a_setting_that_is_none_is_said_in_one_sentence(start: Start) -> None:
    """As every wrong setting."""
    process = start("relay", TAILRACE_RELAY_PROCESSES="0")
    assert await process.ended() == 1
    assert process.output().startswith("tailrace relay: TAILRACE_RELAY_PROCESSES")
    assert process.output().count("\n") == 1
