"""The snippets of docs/clients.md as programs: found by their names, pointed at a relay, and run."""

from __future__ import annotations

import asyncio
import re
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import indent
from urllib.parse import urlsplit

from tests.clients.support_node import NODE, Node
from tests.faults.links import Fate, Link
from tests.support import ROOT, clean_environment

KEY = "a-key-of-the-tests"
MODEL = "claude-sonnet-5-5"
"""What the snippets ask for; here the simulated model has that name."""
TEXT = " ".join(f"w{index}" for index in range(40))
"""What it answers to a question that is no script."""

_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"\blocalhost:8080\b")
_RUN_S = 40.0


def snippets() -> dict[str, str]:
    """Return the snippets by name. Raises ``AssertionError`` for one without a name, or with another's."""
    found: dict[str, str] = {}
    for language, name, text in _FENCE.findall((ROOT / "docs" / "clients.md").read_text()):
        assert name.strip(), f"a snippet in {language} has no name: {text[:80]}"
        assert name.strip() not in found, f"two snippets are called {name.strip()}"
        found[name.strip()] = text
    return found


def pointed(text: str, url: str) -> str:
    """Return a snippet with a real address, a real key, and a question that nobody has asked before."""
    text = _ADDRESS.sub(urlsplit(url).netloc, text)
    return re.sub(r"\bKEY\b", KEY, text).replace("question-17", uuid.uuid4().hex)


@asynccontextmanager
async def frail(url: str, *after_bytes: int) -> AsyncIterator[str]:
    """Give an address that leads to ``url``, where the first connections are cut after so many bytes each.

    A browser may open one that it does not use.
    """
    cuts = iter(after_bytes)
    async with Link(lambda: [urlsplit(url).port or 0]) as link:
        link.draw = lambda: Fate("cut", size) if (size := next(cuts, 0)) else None
        yield f"http://127.0.0.1:{link.port}"
        assert link.struck or not after_bytes, "no connection was cut"


async def run_python(text: str, folder: Path) -> str:
    """Return what a snippet in Python prints; one that awaits is run as the body of a coroutine."""
    if re.search(r"^async ", text, re.MULTILINE):
        text = f"import asyncio\n\nasync def main():\n{indent(text, '    ')}\n\nasyncio.run(main())\n"
    program = folder / "snippet.py"
    program.write_text(text)
    return await output(sys.executable, str(program), cwd=ROOT, PYTHONPATH=str(ROOT))


async def run_node(text: str, node: Node) -> str:
    """Return what a snippet for Node prints."""
    place = NODE / "node_modules" / ".snippets"
    place.mkdir(exist_ok=True)
    name = uuid.uuid4().hex
    source, program = place / f"{name}.js", place / f"{name}.mjs"
    source.write_text(text)
    try:
        await bundle(node, source, program, "node")
        return await output(node.program, str(program), cwd=NODE)
    finally:
        source.unlink()
        program.unlink(missing_ok=True)


async def bundle(node: Node, source: Path, target: Path, platform: str, major: int = 6) -> None:
    """Make one module of ``source``, with version ``major`` of ``ai``."""
    await output(*node.command("bundle.mjs", str(source), str(target), platform, str(major)), cwd=NODE)


async def output(*command: str, cwd: Path, **env: str) -> str:
    """Return what a program prints. Raises ``AssertionError`` if it fails or has not ended at the deadline."""
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=clean_environment(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_RUN_S):
            out, err = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, f"{command[-1]} ended with {child.returncode}:\n{err.decode(errors='replace')}"
    return out.decode()
