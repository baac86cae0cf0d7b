"""Node with the packages of tests/clients/node: installed once for a checkout, run with a deadline."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import ROOT, clean_environment

NODE = ROOT / "tests" / "clients" / "node"
OLDEST = 18
"""The oldest major version of Node that can import the packages, which is Debian 12's own; `ai` 7 asks for 22, but runs
on it."""

_MODULES = NODE / "node_modules"
_INSTALL_S = 300.0
_RUN_S = 40.0
_TOLD_LINES = 30


class NoNodeError(Exception):
    """Node or npm cannot be used here; the message says why in a sentence."""


@dataclass(frozen=True)
class Node:
    """A Node that has the packages."""

    program: str
    major: int

    def command(self, script: str, *args: str) -> list[str]:
        """Return the command that runs a script of tests/clients/node; ``tests.support.Process`` takes it too."""
        return [self.program, str(NODE / script), *args]

    async def run(
        self, script: str, *args: str, env: Mapping[str, str] | None = None, deadline_s: float = _RUN_S
    ) -> list[Any]:
        """Run a script of tests/clients/node to its end and return what it printed, one JSON value a line.

        Its environment is this process's without keys and settings of Tailrace, plus ``env``. Raises
        ``AssertionError``, with all it said, if it fails, prints something else, or has not ended at the deadline.
        """
        child = await asyncio.create_subprocess_exec(
            *self.command(script, *args),
            cwd=NODE,
            env=clean_environment(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        reading = asyncio.create_task(child.communicate(), name=f"node {script}")
        try:
            done, _pending = await asyncio.wait({reading}, timeout=deadline_s)
        finally:
            if child.returncode is None:
                child.kill()
            out, err = await reading
        told = f"\n{_tail(err)}\nits output:\n{_tail(out)}"
        assert done, f"{script} has not ended within {deadline_s:g} s{told}"
        assert child.returncode == 0, f"{script} ended with {child.returncode}{told}"
        try:
            return [json.loads(line) for line in out.splitlines() if line.strip()]
        except ValueError as error:
            message = f"{script} printed what is not JSON: {error}{told}"
            raise AssertionError(message) from None


def _tail(output: bytes) -> str:
    return "\n".join(output.decode(errors="replace").splitlines()[-_TOLD_LINES:])


def find_node() -> Node:
    """Return the Node on PATH. Raises ``NoNodeError``."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        message = "node and npm are not both on PATH; on Debian: apt-get install nodejs npm"
        raise NoNodeError(message)
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    found = re.match(r"v(\d+)\.", said)
    if found is None or int(found[1]) < OLDEST:
        message = f"Node {OLDEST} or later is needed, and {node} is {said.strip() or 'broken'}"
        raise NoNodeError(message)
    return Node(node, int(found[1]))


def install() -> None:
    """Have the packages of package-lock.json in node_modules; returns at once if they are there.

    Safe beside other runs in the same checkout: one installs, the others wait for it. Raises ``AssertionError`` with
    what npm said if it fails or takes too long.
    """
    wanted = hashlib.sha256((NODE / "package-lock.json").read_bytes()).hexdigest()
    stamp = _MODULES / f".installed-{wanted[:16]}"
    with _alone():
        if stamp.exists():
            return
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            done = subprocess.run(
                command, cwd=NODE, env=clean_environment(), capture_output=True, timeout=_INSTALL_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            message = f"npm ci has not ended within {_INSTALL_S:g} s:\n{_tail(error.stderr or b'')}"
            raise AssertionError(message) from None
        assert done.returncode == 0, f"npm ci failed:\n{_tail(done.stderr)}"
        stamp.touch()


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the checkout's lock; it lies beside node_modules because npm ci deletes that folder."""
    with Path(NODE / ".npm-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
