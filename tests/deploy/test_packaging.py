"""pyproject.toml: what `pip install .` carries, as the image does it."""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.tools import run
from tests.support import ROOT

PACKAGES = ("clients", "relay", "shared", "tailrace", "worker")
_SOURCES = {".md", ".ts"}
"""What only people and compilers read: of the browser client it goes to npm, not into the image."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder into which a copy of the project was installed, built with nothing fetched."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    done = run(sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(source))
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_of_a_package_is_installed(installed: Path, package: str) -> None:
    """Scripts for Redis and the page's files are as much part of the program as its modules."""
    files = [file for file in (ROOT / package).rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    files = [file for file in files if file.suffix not in _SOURCES]
    missing = [str(file) for file in files if not (installed / file.relative_to(ROOT)).is_file()]
    assert files
    assert not missing


def test_nothing_else_is_installed(installed: Path) -> None:
    """Neither tests nor tools may end up beside other people's packages."""
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names == {*PACKAGES, "bin"}


def test_the_licence_is_installed(installed: Path) -> None:
    """Apache-2.0 has to accompany every copy."""
    assert [path.name for path in installed.glob("tailrace-*.dist-info/licenses/*")] == ["LICENSE"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_image_is_built_from_what_the_context_lets_in() -> None:
    """A file that .dockerignore keeps out would fail the build, and only where there is an engine."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    copies = [line.split()[1:-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    for name in (name for copied in copies for name in copied if not name.startswith(("--", "/"))):
        assert any(Path(name).match(pattern) for pattern in let_in), name
        assert (ROOT / name).exists(), name


def test_the_image_runs_as_an_ordinary_user_with_pinned_dependencies() -> None:
    """What is asserted is the Dockerfile's text: building it takes an engine."""
    text = (ROOT / "Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert 'CMD ["python", "-m", "relay"]' in text
    pinned = [line for line in text.splitlines() if "--require-hashes" in line]
    assert len(pinned) == 2
    assert all("--no-deps" in line for line in pinned)  # as requirements/install.py does, and says why
    base = {line.split()[1] for line in text.splitlines() if line.startswith("FROM")}
    assert base == {"python:3.11-slim"}
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"] == ">=3.11"
