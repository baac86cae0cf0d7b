"""Tests of the whole: one command, one URL, an answer, and nothing left running, whoever dies on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tailrace.local.checks import free_port
from tailrace.local.model import ALIAS, is_installed
from tests.conftest import StartRedis
from tests.support import Process, eventually
from tests.tailrace.local_support import all_gone, bare_python, children, runner

SIM = {"TAILRACE_PORT": "0", "TAILRACE_MODELS": '{"sim": {"provider": "sim"}}'}
"""Without the local model, which most tests do not need."""
QUESTION = {"messages": [{"role": "user", "content": "Name three rivers."}], "max_tokens": 40}

Run = Callable[..., Awaitable[tuple[Process, str]]]
Begin = Callable[..., Awaitable[Process]]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    """Start runners in the test's directory, each by its settings, and give them once all their parts are processes."""
    started: list[Process] = []

    async def start(**settings: str) -> Process:
        process = runner(tmp_path, SIM | settings).start()
        started.append(process)
        parts = 2 if "TAILRACE_REDIS_URL" in settings else 3
        await eventually(lambda: len(children(process.pid)) >= parts, 30, f"{parts} parts of {process.name}")
        return process

    yield start
    for process in started:
        pids = list(children(process.pid)) if process.running else []
        process.end()
        await all_gone(pids)


@pytest.fixture
def run(begin: Begin) -> Run:
    """Start runners as ``begin`` does, and give the process and the URL once that was printed."""

    async def start(**settings: str) -> tuple[Process, str]:
        process = await begin(**settings)
        line = await process.line("Tailrace is running: ", 60)
        return process, line.split(": ", 1)[1].strip()

    return start


async def _refused(process: Process) -> str:
    """Return the one sentence with which a runner that cannot start ends."""
    assert await process.start().ended(30) == 1, process.tail()
    output = process.output()
    assert "Traceback" not in output
    process.end()
    sentences = [line for line in output.splitlines() if line.startswith("tailrace: ")]
    assert len(sentences) == 1, output
    return sentences[0]


async def _answer(url: str, **request: Any) -> dict[str, Any]:
    """Ask, and return the finished answer's state."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/streams?wait=60", json=QUESTION | request) as response,
    ):
        state: dict[str, Any] = await response.json()
        assert response.status == 200, state
        return state


async def _state(url: str, stream_id: str) -> dict[str, Any]:
    """Return a stream's state."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/streams/{stream_id}") as response:
        state: dict[str, Any] = await response.json()
        assert response.status == 200, state
        return state


def _part(process: Process, words: str) -> int:
    """Return the process id of the part whose command line holds ``words``, 0 if there is none."""
    return next((pid for pid, command in children(process.pid).items() if words in command), 0)


async def test_it_answers_and_ctrl_c_ends_everything_and_the_answers_are_there_the_next_time(
    run: Run, tmp_path: Path
) -> None:
    """The main job: one URL, an answer, Ctrl-C leaves no process, and the private Redis keeps what was said."""
    process, url = await run()
    answer = await _answer(url)
    assert answer["status"] == "completed"
    logs = tmp_path / ".tailrace" / "logs"
    assert process.output().count(f"Logs: {logs}.") == 1
    assert sorted(path.name for path in logs.iterdir()) == ["redis.log", "relay.log", "worker.log"]
    pids = list(children(process.pid))
    assert len(pids) == 3
    process.interrupt()
    assert await process.ended() == 0, process.tail()
    await all_gone(pids)
    assert process.output().endswith("Stopped.\n")

    _again, url = await run()
    assert (await _state(url, answer["id"]))["text"] == answer["text"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_request_to_stop_during_the_start_ends_everything_too(begin: Begin, number: signal.Signals) -> None:
    """Ctrl-C, ``kill``, and a terminal window that is closed, before the parts are ready."""
    process = await begin()
    pids = list(children(process.pid))
    os.kill(process.pid, number)
    assert await process.ended() == 0, process.tail()
    await all_gone(pids)
    assert "Traceback" not in process.output()


async def test_nothing_survives_a_killed_runner(begin: Begin) -> None:
    """It cannot clean up any more; the parts end all the same."""
    process = await begin()
    pids = list(children(process.pid))
    process.kill()
    await all_gone(pids)


async def test_a_killed_part_is_reported_in_one_line_and_comes_back(run: Run) -> None:
    """The others go on, the URL stays, what was answered is still there, and new questions are answered."""
    process, url = await run()
    before = await _answer(url)
    for name, words in (("relay", "-m relay"), ("worker", "-m worker"), ("Redis", "unixsocket:")):
        os.kill(_part(process, words), signal.SIGKILL)
        await process.line(f"the {name} ended (signal SIGKILL); its last log line: ")
        await process.line(f"the {name} is running again", 60)
        await eventually(lambda: _answered(url), 30)
        assert (await _state(url, before["id"]))["text"] == before["text"]
        assert process.output().count(f"the {name} ended") == 1
    assert "Traceback" not in process.output()


async def _answered(url: str) -> bool:
    """Return whether a new question gets its answer; raise ``AssertionError`` while it cannot even be asked."""
    try:
        return bool((await _answer(url))["status"] == "completed")
    except aiohttp.ClientError as error:
        raise AssertionError(str(error)) from error


async def test_your_own_redis_is_used_when_it_is_named(run: Run, redis_url: str) -> None:
    """No private server is started beside it."""
    process, url = await run(TAILRACE_REDIS_URL=redis_url)
    assert len(children(process.pid)) == 2
    assert (await _answer(url))["status"] == "completed"


async def test_a_second_runner_in_the_same_directory_is_refused(begin: Begin, tmp_path: Path) -> None:
    """Both would write the same Redis data."""
    first = await begin()
    second = runner(tmp_path, SIM, log="second.out")
    assert f"already runs in this directory (process {first.pid})" in await _refused(second)


async def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    """It names the port and the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        sentence = await _refused(runner(tmp_path, SIM | {"TAILRACE_PORT": port}))
    assert port in sentence
    assert "TAILRACE_PORT" in sentence


async def test_a_setting_that_makes_no_sense_is_one_sentence(tmp_path: Path) -> None:
    """It names the setting."""
    assert "TAILRACE_PORT" in await _refused(runner(tmp_path, SIM | {"TAILRACE_PORT": "many"}))


async def test_an_unreachable_redis_is_one_sentence(tmp_path: Path) -> None:
    """And nothing was started."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    sentence = await _refused(runner(tmp_path, SIM | {"TAILRACE_REDIS_URL": url}))
    assert "Redis cannot be reached" in sentence


async def test_a_wrong_password_for_redis_is_one_sentence_without_it(tmp_path: Path, redis_server: StartRedis) -> None:
    """The password is nowhere in what is printed."""
    url = redis_server().url.replace("redis://", "redis://nobody:geheim@")
    process = runner(tmp_path, SIM | {"TAILRACE_REDIS_URL": url})
    assert "TAILRACE_REDIS_URL" in await _refused(process)
    assert "geheim" not in process.output()


async def test_a_wrong_api_key_is_one_sentence_without_it(tmp_path: Path) -> None:
    """The API was asked before anything was started."""
    app = web.Application()
    app.router.add_get("/v1/models", _unauthorized)
    api = web.AppRunner(app)
    await api.setup()
    await web.TCPSite(api, "127.0.0.1", 0).start()
    base_url = f"http://127.0.0.1:{api.addresses[0][1]}"
    key = {"ANTHROPIC_API_KEY": "sk-ant-wrong", "ANTHROPIC_BASE_URL": base_url, "TAILRACE_PORT": "0"}
    process = runner(tmp_path, key)
    assert "refused the key in ANTHROPIC_API_KEY" in await _refused(process)
    assert "sk-ant-wrong" not in process.output()
    await api.cleanup()


async def _unauthorized(_request: web.Request) -> web.Response:
    return web.json_response({"type": "error"}, status=401)


async def test_without_the_model_and_without_a_network_it_is_one_sentence(tmp_path: Path) -> None:
    """First start on a train: what failed, and what to do."""
    python = bare_python(tmp_path / "venv")
    nothing = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_RETRIES": "0", "TAILRACE_PORT": "0"}
    index = {"PIP_INDEX_URL": f"http://127.0.0.1:{free_port()}/simple"}
    process = runner(tmp_path, nothing | index, python=python)
    sentence = await _refused(process)
    assert "The local model could not be installed" in sentence
    assert "ANTHROPIC_API_KEY" in sentence
    assert process.output().startswith("Installing the local model")


@pytest.mark.skipif(not is_installed(), reason="the local model is not installed")
async def test_with_no_key_a_real_model_on_this_machine_answers(run: Run) -> None:
    """Nothing is configured, nobody is asked for anything, and something real answers."""
    process, url = await run(TAILRACE_MODELS="")
    answer = await _answer(url, max_tokens=16)
    assert (answer["model"], answer["provider"]) == (ALIAS, "anthropic")
    assert answer["text"].strip()
    pid = _part(process, "llm_server")
    os.kill(pid, signal.SIGKILL)
    await process.line("the local model is running again")
    async with asyncio.timeout(20):
        assert (await _answer(url, max_tokens=16))["text"].strip()
