"""Makefile, .ci/run and requirements/install.py: from nothing but Python and make."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.deploy.tools import find, run
from tests.support import ROOT

INSTALL = ROOT / "requirements" / "install.py"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a folder with what installing needs, beside no environment."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def planned(folder: Path, target: str) -> list[str]:
    """Return the commands that make would run for a target."""
    done = run(find("make", "Debian: make"), "--dry-run", target, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("target", "last"),
    [
        ("run", ".venv/bin/tailrace run"),
        ("test", ".venv/bin/pytest -n 2 --dist loadfile"),
        ("lint", ".venv/bin/mypy"),
        ("bench", ".venv/bin/python -m bench"),
    ],
)
def test_a_target_installs_first_and_then_runs_its_program(copy: Path, target: str, last: str) -> None:
    """The commands that the README names."""
    commands = planned(copy, target)
    assert any("requirements/install.py" in command for command in commands)
    assert commands[-1] == last


def test_the_tests_are_preceded_by_every_linter(copy: Path) -> None:
    """`make test` is the one command that runs all."""
    commands = [command.removeprefix(".venv/bin/") for command in planned(copy, "test")][-4:]
    assert commands == ["ruff check", "ruff format --check", "mypy", "pytest -n 2 --dist loadfile"]


def test_a_second_run_goes_straight_to_the_program(copy: Path) -> None:
    """Until a lock file changes."""
    (copy / ".venv").mkdir()
    stamp = copy / ".venv" / "run.stamp"
    stamp.touch()
    assert planned(copy, "run") == [".venv/bin/tailrace run"]
    changed = copy / "requirements" / "run.lock"
    os.utime(changed, (later := stamp.stat().st_mtime + 3600, later))
    assert len(planned(copy, "run")) > 1


def test_every_target_but_the_stamps_is_phony(copy: Path) -> None:
    """A folder of the same name, such as bench, must not make a target a file."""
    for name in ("run", "test", "bench", "lint"):
        (copy / name).mkdir()
        assert planned(copy, name)


def test_an_old_python_is_refused_with_a_sentence(copy: Path) -> None:
    """Make finds no interpreter that is new enough."""
    done = run(find("make", "Debian: make"), "run", "PYTHON=", cwd=copy)
    assert done.returncode != 0
    assert "Python 3.11 or later is needed" in done.stderr


def test_an_unreachable_index_is_one_sentence_and_no_traceback(copy: Path) -> None:
    """The environment is made; the packages cannot be had."""
    nowhere = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_FIND_LINKS": "",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_RETRIES": "1",
        "PIP_NO_CACHE_DIR": "1",
    }
    done = run(sys.executable, str(copy / "requirements" / "install.py"), "run", env=nowhere, cwd=copy)
    assert done.returncode == 1
    assert "the package index cannot be reached" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (copy / ".venv" / "run.stamp").exists()


def test_a_release_that_is_newer_than_the_lock_changes_nothing(copy: Path, tmp_path: Path) -> None:
    """Not even that of a package which another one asks for with an extra: what is pinned is installed."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    pinned = [
        wheel(wheels, "parent", "1.0", "Requires-Dist: child[more]>=1.0"),
        wheel(wheels, "child", "1.0", "Provides-Extra: more"),
    ]
    wheel(wheels, "child", "2.0", "Provides-Extra: more")
    (copy / "requirements" / "run.lock").write_text("\n".join(pinned) + "\n")
    script = "import install; install.make_environment(); install.install_lock('Installing', 'run')"
    index = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    done = run(sys.executable, "-c", script, env=index | {"PYTHONPATH": str(copy / "requirements")}, cwd=copy)
    assert done.returncode == 0, done.stderr
    listed = run(str(copy / ".venv" / "bin" / "python"), "-m", "pip", "list", "--format", "freeze")
    assert {"parent==1.0", "child==1.0"} <= set(listed.stdout.split())


def wheel(folder: Path, name: str, version: str, *metadata: str) -> str:
    """Make a package without files, and return the line of a lock file that pins it."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *metadata, ""]
    with zipfile.ZipFile(path, "w") as package:
        package.writestr(f"{info}/METADATA", "\n".join(head))
        package.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        package.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_missing_venv_module_is_one_sentence_where_it_cannot_be_installed(copy: Path) -> None:
    """Debian's Python has no ensurepip until python3-venv is installed; an ordinary user cannot do that."""
    script = (
        "import runpy, sys; sys.modules['ensurepip'] = None; import importlib.util as u; "
        f"sys.path.insert(0, {str(copy / 'requirements')!r}); sys.argv = ['install.py', 'run']; "
        f"runpy.run_path({str(copy / 'requirements' / 'install.py')!r}, run_name='__main__')"
    )
    done = run(sys.executable, "-c", script, env={"PATH": ""}, cwd=copy)
    assert done.returncode == 1
    assert "-venv" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_continuous_integration_calls_make_test() -> None:
    """There is one way to test, with everything that may be missing installed first."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-1].endswith("make test </dev/null")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
