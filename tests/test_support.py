"""The test foundation itself: what it waits for, starts and notices really happens."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.conftest import StartRedis
from tests.support import Process, eventually


async def test_eventually_returns_the_first_true_answer() -> None:
    """A condition that comes true late is waited for, and its value is handed back."""
    answers = iter([0, None, "", "here"])
    assert await eventually(lambda: next(answers)) == "here"


async def test_eventually_names_the_condition_and_what_it_saw_at_the_deadline() -> None:
    """A failure says what was waited for, how long, and the last answer."""
    with pytest.raises(AssertionError, match=r"not within 0\.05 s: the cow flies; last seen: \[\]"):
        await eventually(list, deadline_s=0.05, what="the cow flies")


async def test_eventually_takes_an_assertion_for_not_yet() -> None:
    """Conditions may assert; the last assertion is told."""

    async def never() -> bool:
        message = "three of four"
        raise AssertionError(message)

    with pytest.raises(AssertionError, match="last seen: three of four"):
        await eventually(never, deadline_s=0.05)


async def test_eventually_ends_a_condition_that_hangs() -> None:
    """The deadline holds even inside an async condition."""
    with pytest.raises(AssertionError, match="never came back"):
        await eventually(asyncio.Event().wait, deadline_s=0.05)


def program(tmp_path: Path, source: str) -> Process:
    """Return a Python program that runs ``source``."""
    return Process([sys.executable, "-c", source], tmp_path / "program.log")


async def test_a_process_can_be_waited_for_paused_and_killed(tmp_path: Path) -> None:
    """Lines and JSON events are found in the output, and the exit code tells of the signal."""
    process = program(tmp_path, 'print(\'{"event": "up", "n": 1}\', flush=True)\nwhile True: pass').start()
    assert await process.event("up") == {"event": "up", "n": 1}
    process.pause()
    process.resume()
    process.kill()
    assert await process.ended() == -9
    process.end()


async def test_a_process_that_ends_early_fails_the_wait_at_once_with_its_output(tmp_path: Path) -> None:
    """Nobody waits 20 s for a program that has crashed; the message shows why it did."""
    process = program(tmp_path, "import sys; sys.exit('no such setting')").start()
    with pytest.raises(AssertionError, match=r"(?s)ended with 1 and has not said 'ready'.*no such setting"):
        await process.line("ready")
    process.end()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
async def test_a_process_dies_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    """A run that is killed, as a CI job past its time is, leaves no server behind."""
    inner = "from pathlib import Path; from tests.support import Process; import sys\n"
    inner += "child = Process([sys.executable, '-c', 'while True: pass'], Path(sys.argv[1])).start()\n"
    inner += "print(f'child {child.pid}.', flush=True)\nwhile True: pass"
    run = Process([sys.executable, "-c", inner, str(tmp_path / "child.log")], tmp_path / "run.log").start()
    child = int((await run.line("child")).split()[1].rstrip("."))
    assert _exists(child)
    run.kill()
    await eventually(lambda: not _exists(child))
    run.end()


def _exists(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().split()[2] != "Z"


async def test_a_server_of_its_own_survives_a_kill_with_its_data(redis_server: StartRedis) -> None:
    """The AOF is on: what was written and waited for is there after SIGKILL and a restart on the same port."""
    server = redis_server(maxmemory="50mb")
    async with Redis.from_url(server.url) as redis:
        await redis.set("kept", "1", ex=60)
        await eventually(lambda: _synced(redis), what="the AOF is on disk")
        server.kill()
    server.restart()
    async with Redis.from_url(server.url) as redis:
        assert await redis.get("kept") == b"1"
        assert (await redis.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
        assert (await redis.config_get("maxmemory"))["maxmemory"] == str(50 * 2**20)


async def _synced(redis: Redis) -> bool:
    info = await redis.info("persistence")
    return int(info["aof_pending_bio_fsync"]) == 0 and int(info["aof_buffer_length"]) == 0
