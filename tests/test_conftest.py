"""The checks of the fixtures can fail: a suite of careless tests is run for real, and each is caught."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import ROOT, clean_environment

CARELESS = """
import asyncio
import sys

from tests.support import Process

async def test_forgets_an_expiry(redis):
    await redis.set("lasting", 1)

async def test_forgets_an_expiry_on_its_own_server(redis_server):
    from redis.asyncio import Redis
    async with Redis.from_url(redis_server().url) as own:
        await own.set("lasting-too", 1)

async def test_finds_nothing_of_the_test_before(redis):
    assert await redis.dbsize() == 0

async def test_forgets_a_task():
    globals()["kept"] = asyncio.create_task(asyncio.Event().wait(), name="forgotten")

async def test_ends_its_tasks():
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()

def test_forgets_a_process(tmp_path):
    Process([sys.executable, "-c", "while True: pass"], tmp_path / "log").start()

async def test_forgets_to_close_a_connection(redis_url):
    from redis.asyncio import Redis
    await Redis.from_url(redis_url).ping()
    import gc
    gc.collect()
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what pytest says about the careless tests."""
    suite = tmp_path_factory.mktemp("careless") / "test_careless.py"
    suite.write_text(CARELESS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), "-vv"]
    command += [
        "--rootdir",
        str(suite.parent),
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    ]
    run = subprocess.run(
        [*command, str(suite)], cwd=ROOT, env=clean_environment(), capture_output=True, timeout=60, check=False
    )
    return run.stdout.decode() + run.stderr.decode()


@pytest.mark.parametrize(
    ("test", "sentence"),
    [
        ("test_forgets_an_expiry", "keys without an expiry were left in Redis: lasting"),
        ("test_forgets_an_expiry_on_its_own_server", "keys without an expiry were left in Redis: lasting-too"),
        ("test_forgets_a_task", "tasks were left pending: forgotten"),
        ("test_forgets_a_process", "child processes were left running: python"),
        ("test_forgets_to_close_a_connection", "ResourceWarning: unclosed"),  # its connection, or the stream under it
    ],
)
def test_a_careless_test_is_caught(report: str, test: str, sentence: str) -> None:
    """What a test leaves behind fails it, by name."""
    assert f"::{test} ERROR" in report or f"::{test} FAILED" in report, report
    assert sentence in report


@pytest.mark.parametrize("test", ["test_finds_nothing_of_the_test_before", "test_ends_its_tasks"])
def test_a_careful_test_passes_beside_them(report: str, test: str) -> None:
    """The checks blame the test that is at fault, and no other."""
    assert f"::{test} PASSED" in report, report
    assert f"ERROR at teardown of {test} " not in report


def test_the_report_says_which_redis_was_used(report: str) -> None:
    """Both the header and the summary name the server."""
    assert report.count("redis: ") >= 2, report
