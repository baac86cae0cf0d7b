"""Node in tests: the packages are what the lock says, and a script that fails or hangs is told as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.support_node import NODE, Node, NoNodeError, find_node, install


async def test_every_package_can_be_imported(node: Node) -> None:
    """Both majors of each library side by side."""
    wanted = set(json.loads((NODE / "package.json").read_text())["dependencies"]) - {"esbuild", "react-dom18", "zod"}
    found = await node.run("packages.mjs")
    assert {line["name"] for line in found if line["exports"]} == wanted


async def test_a_script_that_fails_is_told_with_what_it_said(node: Node) -> None:
    """An unhandled error in Node is a failed test here."""
    with pytest.raises(AssertionError, match="ended with 1"):
        await node.run("no-such-script.mjs")


async def test_a_script_that_hangs_is_ended_at_the_deadline(node: Node, tmp_path: Path) -> None:
    """And no process of it is left."""
    hanging = tmp_path / "hang.mjs"
    hanging.write_text("console.error('still here'); setInterval(() => {}, 1000);")
    with pytest.raises(AssertionError, match="within 1 s"):
        await node.run(str(hanging), deadline_s=1)


async def test_output_that_is_no_json_is_refused(node: Node, tmp_path: Path) -> None:
    """A stray line of a library must not be taken for an answer."""
    chatty = tmp_path / "chatty.mjs"
    chatty.write_text("console.log('{}'); console.log('hello');")
    with pytest.raises(AssertionError, match="not JSON"):
        await node.run(str(chatty))


def test_a_missing_node_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the packages that bring it."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoNodeError, match="apt-get install nodejs npm"):
        find_node()


def test_what_is_installed_is_not_installed_again(node: Node) -> None:
    """The stamp carries the lock's hash; the files stay as they were."""
    assert node.major
    before = (NODE / "node_modules").stat().st_mtime_ns
    install()
    assert (NODE / "node_modules").stat().st_mtime_ns == before


def test_the_lock_names_no_registry() -> None:
    """Any mirror will do; what is fetched is held against its hash. The fields `funding` are to be deleted by hand."""
    text = (NODE / "package-lock.json").read_text()
    assert "://" not in text
    assert all("integrity" in entry for name, entry in json.loads(text)["packages"].items() if name)
