"""What every test may lean on: waiting for a condition with a deadline, free ports, and real child processes."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, overload

ROOT = Path(__file__).resolve().parent.parent
T = TypeVar("T")
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05
_KILLED_WITHIN_S = 10.0


@overload
async def eventually(condition: Callable[[], Awaitable[T]], deadline_s: float = ..., what: str = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], deadline_s: float = ..., what: str = ...) -> T: ...
async def eventually(condition: Callable[[], Any], deadline_s: float = 5.0, what: str = "") -> Any:
    """Poll ``condition`` (plain or async) until what it returns is true, and return that.

    An ``AssertionError`` it raises means "not yet". Raises ``AssertionError`` with ``what``, or else the place of the
    condition, and the last thing seen, at the deadline, also when an async condition itself hangs.
    """
    loop = asyncio.get_running_loop()
    ends_at, pause_s, seen = loop.time() + deadline_s, _FIRST_PAUSE_S, "nothing: the condition never came back"
    try:
        async with asyncio.timeout_at(ends_at) as deadline:
            while True:
                try:
                    answer = condition()
                    value = await answer if inspect.isawaitable(answer) else answer
                except AssertionError as error:
                    seen = str(error) or "a failed assertion"
                else:
                    if value:
                        return value
                    seen = repr(value)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
    except TimeoutError:
        if not deadline.expired():
            raise
    message = f"not within {deadline_s:g} s: {what or _place(condition)}; last seen: {seen}"
    raise AssertionError(message)


def _place(condition: Callable[[], object]) -> str:
    code = getattr(condition, "__code__", None)
    name = getattr(condition, "__qualname__", repr(condition))
    return f"{name} at {Path(code.co_filename).name}:{code.co_firstlineno}" if code else name


def free_port() -> int:
    """Return a loopback TCP port that was free a moment ago; whoever binds it must be ready to lose the race."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what configures Tailrace, keys and an outer make, plus ``extra``."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TAILRACE_", "ANTHROPIC_", "OPENAI_", "GOOGLE_", "MAKE"))
        and not name.endswith("_API_KEY")
    }
    return kept | dict(extra or {})


_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """Have the kernel end this child when a test run is itself killed and cannot; macOS has nothing of the kind."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A real program in its own process group, its output in a file, and a fixture that notices when it is left.

    Not started by the constructor. May be started again after its end; ``line`` then looks at the new run alone.
    """

    alive: ClassVar[set[Process]] = set()
    """Every started process that nobody has ended; the leak check looks here."""

    def __init__(self, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None) -> None:
        """Take the command (run in the project's root), the file for its output, and its whole environment."""
        self.command = list(command)
        self.name = " ".join(Path(part).name if part.startswith("/") else part for part in self.command[:4])
        self.lasting = False  # true for what outlives a test on purpose, such as the Redis of the whole run
        self._log_path = log
        self._env = dict(env) if env is not None else clean_environment()
        self._run_starts_at = 0
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the program and return at once. Raises ``AssertionError`` if it is still running.

        To be called from the main thread: on Linux the program dies with the thread that started it.
        """
        assert not self.running, f"{self.name} is running already"
        with self._log_path.open("ab") as log:
            self._run_starts_at = log.tell()
            self._child = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call that takes no lock
            )
        Process.alive.add(self)
        return self

    @property
    def child(self) -> subprocess.Popen[bytes]:
        """The operating system's process of the latest run."""
        assert self._child is not None, f"{self.name} was never started"
        return self._child

    @property
    def pid(self) -> int:
        """The process id of the latest run."""
        return self.child.pid

    @property
    def running(self) -> bool:
        """Whether the program itself has not ended yet (stopped counts as running)."""
        return self._child is not None and self._child.poll() is None

    def kill(self) -> None:
        """SIGKILL the program alone and wait for its death; what it started lives on, as in a real crash."""
        self.child.kill()
        self.child.wait(_KILLED_WITHIN_S)

    def terminate(self) -> None:
        """SIGTERM the program and return at once; ``ended`` waits."""
        self.child.terminate()

    def interrupt(self) -> None:
        """SIGINT the program's whole group, as Ctrl-C in a terminal does, and return at once."""
        os.killpg(self.pid, signal.SIGINT)

    def pause(self) -> None:
        """SIGSTOP: the program keeps its sockets and does nothing, like a machine that hangs."""
        self.child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: undo ``pause``."""
        self.child.send_signal(signal.SIGCONT)

    @property
    def left_behind(self) -> bool:
        """Whether the program has ended and something that it started has not."""
        if self.running:
            return False
        with suppress(ProcessLookupError):
            os.killpg(self.pid, 0)
            return True
        return False

    def end(self) -> None:
        """SIGKILL the whole group and wait. Idempotent."""
        if self in Process.alive:
            Process.alive.discard(self)
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.child.wait(_KILLED_WITHIN_S)

    async def ended(self, deadline_s: float = 15.0) -> int:
        """Wait for the program's own end and return its exit code, negative for a signal's number."""
        try:
            await eventually(lambda: not self.running, deadline_s)
        except AssertionError:
            raise AssertionError(self._told(f"has not ended within {deadline_s:g} s")) from None
        return int(self.child.returncode)

    async def line(self, text: str, deadline_s: float = 20.0) -> str:
        """Wait for a whole line of this run's output that contains ``text`` and return it."""

        def line() -> str:
            lines = self.output().splitlines(keepends=True)
            return next((line for line in lines if text in line and line.endswith("\n")), "")

        return await self._said(line, repr(text), deadline_s)

    async def event(self, name: str, deadline_s: float = 20.0) -> dict[str, Any]:
        """Wait for the JSON log line of this run whose ``event`` is ``name`` and return its fields."""

        def fields() -> dict[str, Any]:
            return next((fields for fields in self.events() if fields.get("event") == name), {})

        return await self._said(fields, name, deadline_s)

    async def _said(self, look: Callable[[], T], what: str, deadline_s: float) -> T:
        """Return the first true answer of ``look``; a program that ends gets one last look and then fails."""
        try:
            await eventually(lambda: look() or not self.running, deadline_s)
        except AssertionError:
            raise AssertionError(self._told(f"has not said {what} within {deadline_s:g} s")) from None
        said = look()
        if not said:
            raise AssertionError(self._told(f"ended with {self.child.returncode} and has not said {what}"))
        return said

    def events(self) -> list[dict[str, Any]]:
        """Return what this run has logged as JSON lines so far, without the lines that are something else."""
        found = []
        for line in self.output().splitlines():
            with suppress(ValueError):
                fields = json.loads(line)
                if isinstance(fields, dict):
                    found.append(fields)
        return found

    def output(self) -> str:
        """Return what this run has written so far."""
        with self._log_path.open("rb") as log:
            log.seek(self._run_starts_at)
            return log.read().decode(errors="replace")

    def tail(self, lines: int = 40) -> str:
        """Return the end of this run's output, for a failure message."""
        return "\n".join(self.output().splitlines()[-lines:])

    def _told(self, problem: str) -> str:
        return f"{self.name} {problem}; its last output:\n{self.tail()}"
