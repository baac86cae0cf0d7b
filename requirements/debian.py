"""What comes from Debian itself: installed by apt-get where this runs as root on such a system.

    python3 requirements/debian.py    # everything the tests can use, or exit 1 with a sentence

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

TEST_PROGRAMS: Mapping[str, str] = {
    "make": "make",
    "redis-server": "redis-server",
    "chromium": "chromium",
    "nginx": "nginx-light",
    "node": "nodejs",
    "npm": "npm",
}
"""Program the tests run -> Debian package that has it."""

_POLICY = Path("/usr/sbin/policy-rc.d")
_ATTEMPTS = 4
_APT_DEADLINE_S = 900


class CannotInstallError(Exception):
    """A package cannot be had here; the message says why, in a sentence."""


def venv_package() -> str | None:
    """Return the package that makes ``python3 -m venv`` work with this interpreter, or None where it works already."""
    return None if find_spec("ensurepip") else f"python{sys.version_info.major}.{sys.version_info.minor}-venv"


def missing_test_packages() -> list[str]:
    """Return the packages of the programs in ``TEST_PROGRAMS`` that are not on PATH."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    return [package for program, package in TEST_PROGRAMS.items() if shutil.which(program, path=path) is None]


def install(packages: list[str]) -> None:
    """Install the packages, if any, without starting a service. Raises ``CannotInstallError``."""
    if not packages:
        return
    names = " ".join(packages)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        message = f"missing {names}, and only root on Debian can install that here: sudo apt-get install {names}"
        raise CannotInstallError(message)
    print(f"Installing {names} with apt-get ...", flush=True)
    with _no_services():
        for attempt in range(1, _ATTEMPTS + 1):
            if _apt("update", "-qq") and _apt("install", "-qq", "-y", "--no-install-recommends", *packages):
                return
            print(f"apt-get failed, attempt {attempt} of {_ATTEMPTS}.", flush=True)
    message = f"apt-get could not install {names}; its messages are above"
    raise CannotInstallError(message)


def _apt(*arguments: str) -> bool:
    """Run apt-get, which waits for a locked database and retries downloads by itself; return whether it worked."""
    options = ("-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(  # noqa: S603
            ["apt-get", *options, *arguments],  # noqa: S607
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=_APT_DEADLINE_S,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@contextmanager
def _no_services() -> Iterator[None]:
    """Keep Debian from starting a Redis or an nginx of its own, which would take their usual ports for good."""
    if _POLICY.exists():  # the system has a policy of its own
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def main() -> int:
    """Install all the tests can use; return the exit code."""
    package = venv_package()
    try:
        install([*missing_test_packages(), *([package] if package else [])])
    except CannotInstallError as error:
        print(f"tailrace: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
