"""Makes ``.venv`` hold exactly what the lock files say, showing what it does.

    python3 requirements/install.py run     # what `make run` needs
    python3 requirements/install.py test    # and what `make test` needs

Standard library only: it runs before anything is installed. Safe to repeat after an interruption.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
import venv
from pathlib import Path

import debian

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCKS = ROOT / "requirements"
LOG = VENV / "install.log"

_PIN = re.compile(r"^[A-Za-z0-9._-]+==", re.MULTILINE)
_BEGUN = re.compile(r"^(?:Collecting|Processing) (?:\S*/)?(?P<name>[\w.-]+?)(?:==|-)(?P<version>\d[\w.]*)")
_SKIPPED = re.compile(r"^Ignoring \S+ markers|^Requirement already satisfied: \S+==")
_CAUSES = (
    (
        re.compile(r"name resolution|NewConnectionError|ConnectTimeout|ReadTimeout|Network is unreachable|ProxyError"),
        "the package index cannot be reached: check the network, then run the same command again",
    ),
    (re.compile(r"No space left on device"), "the disk is full"),
    (re.compile(r"DO NOT MATCH THE HASHES"), "a download is not the file that the lock file names, so it was refused"),
    (
        re.compile(r"No matching distribution found|from versions: none"),
        "a pinned package cannot be found for this Python and system",
    ),
)


class CannotInstallError(Exception):
    """The environment cannot be made; the message says why, in a sentence."""


class Progress:
    """Shows how far pip is: one line that changes on a terminal, a line per download elsewhere."""

    def __init__(self, title: str, total: int) -> None:
        """Start counting ``total`` packages under a title."""
        self._title = title
        self._total = total
        self._seen = 0
        self._live = sys.stdout.isatty()
        self._started = time.monotonic()
        print(f"{title}: {total} packages", flush=True)

    def note(self, line: str) -> None:
        """Take one line of pip's output, and show it if it is about a package."""
        if _SKIPPED.match(line):  # for another system or Python, or already there
            self._total -= 1
        elif found := _BEGUN.match(line):
            self._seen += 1
            self._show(f"{self._seen}/{self._total} {found['name']} {found['version']}")
        elif line.startswith("Installing collected packages"):
            self._show("unpacking")
        elif line.startswith("WARNING: Retrying"):
            self._show("the network does not answer, trying again")

    def done(self) -> None:
        """Say how long it took."""
        self._show(f"done in {time.monotonic() - self._started:.0f} s")
        if self._live:
            print(flush=True)

    def _show(self, text: str) -> None:
        start, end = ("\r\033[K", "") if self._live else ("", "\n")
        print(f"{start}  {text[:100]}", end=end, flush=True)


def make_environment() -> None:
    """Make ``.venv`` unless a working one is there. Raises if this Python cannot make one."""
    if _works():
        return
    package = debian.venv_package()
    if package:
        debian.install([package])
    print("Making .venv", flush=True)
    if package:  # this process began without ensurepip, so a new one has to use it
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)  # noqa: S603
    else:
        venv.create(VENV, clear=True, with_pip=True, symlinks=True)
    if not _works():
        message = f"{sys.executable} cannot make a working virtual environment in {VENV}"
        raise CannotInstallError(message)


def install_lock(title: str, *locks: str, options: tuple[str, ...] = ()) -> None:
    """Install everything the lock files of these names pin, each download checked against its hash, and nothing else.

    A lock names all that its packages need, so pip need not look for it: where it does, pips as old as Python 3.11's
    take the newest release for a requirement with an extra, whatever is pinned, and then refuse it for want of a hash.
    """
    files = [LOCKS / f"{name}.lock" for name in locks]
    progress = Progress(title, sum(len(_PIN.findall(file.read_text())) for file in files))
    requirements = [part for file in files for part in ("-r", str(file))]
    _pip("install", "--no-deps", "--require-hashes", *options, *requirements, progress=progress)
    progress.done()


def install_project() -> None:
    """Install the project itself in place, built by the pinned setuptools and with nothing fetched for it."""
    _pip("install", "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT))


def _works() -> bool:
    python = VENV / "bin" / "python"
    check = "import pip, sys; sys.exit(sys.version_info < (3, 11))"
    return python.exists() and subprocess.run([python, "-c", check], check=False, capture_output=True).returncode == 0  # noqa: S603


def _pip(*arguments: str, progress: Progress | None = None) -> None:
    """Run the environment's pip, its whole output going to ``LOG``. Raises with the cause in a sentence."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]
    output: list[str] = []
    with (
        LOG.open("a") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip,  # noqa: S603
    ):
        assert pip.stdout is not None
        for line in pip.stdout:
            log.write(line)
            output.append(line)
            if progress:
                progress.note(line.strip())
    if pip.returncode != 0:
        text = "".join(output)
        cause = next((sentence for pattern, sentence in _CAUSES if pattern.search(text)), "pip failed")
        message = f"{cause} (details: {LOG})"
        raise CannotInstallError(message)


def main(arguments: list[str]) -> int:
    """Install for ``run`` or ``test``; return the exit code."""
    if arguments not in (["run"], ["test"]):
        print("usage: install.py run|test", file=sys.stderr)
        return 2
    try:
        if arguments == ["test"]:
            _install_programs()
        make_environment()
        install_lock("Installing Tailrace", "build", "run")
        if arguments == ["test"]:
            install_lock("Installing test tools", "test", options=("--no-build-isolation",))
            install_lock("Installing the local model", "model")
        install_project()
    except (CannotInstallError, debian.CannotInstallError) as error:
        print(f"\ntailrace: {error}", file=sys.stderr)
        return 1
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"\ntailrace: cannot make {VENV}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntailrace: interrupted; run the same command to go on", file=sys.stderr)
        return 130
    return 0


def _install_programs() -> None:
    """Get the programs the tests use beside Python; without one, its tests are skipped and say so."""
    try:
        debian.install(debian.missing_test_packages())
    except debian.CannotInstallError as error:
        print(f"Going on without: {error}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
