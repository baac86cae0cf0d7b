"""One run of one part's program: started tied to this process, its output logged and watched, ended in time."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from shared.processes.tether import tethered
from tailrace.local.state import PartLog

_CHUNK_BYTES = 65_536
_LINE_BYTES = 65_536
"""Longest piece of a line that is kept to look at; the log file gets all of it."""
_SHOWN_CHARS = 300
_LAST_OUTPUT_S = 1.0


@dataclass(frozen=True)
class Program:
    """What to run, how to know that it serves, and how long it may take to start and to stop."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    ready_mark: bytes
    """The program is ready when a line of its output holds this."""
    start_s: float = 60.0
    stop_s: float = 5.0


class Run:
    """One process. ``settled`` is set when it is ready or has ended, whichever comes first."""

    def __init__(self, program: Program, log: PartLog, process: Process) -> None:
        """Watch a process that has just been started; use ``start``."""
        self.settled = asyncio.Event()
        self.ready_line: bytes | None = None
        self._program = program
        self._log = log
        self._process = process
        self._partial = b""
        self._last_line = b""
        self._pump_task = asyncio.create_task(self._pump(), name=f"output of {program.name}")

    @classmethod
    async def start(cls, program: Program, log: PartLog) -> Run:
        """Start ``program`` in a session of its own, so that a terminal's Ctrl-C reaches the runner alone."""
        process = await asyncio.create_subprocess_exec(
            *tethered(program.command),
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            env=dict(program.environment),
            start_new_session=True,
        )
        return cls(program, log, process)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def last_line(self) -> str:
        """Return the last line the process wrote, for a person to read."""
        return readable(self._last_line or self._partial)

    async def ended(self) -> str:
        """Wait for the process's end; return how it ended, as "exit code 1" or "signal SIGKILL"."""
        code = await self._process.wait()
        # Something it started may still hold its output open: what it wrote itself is here within moments.
        await asyncio.wait([self._pump_task], timeout=_LAST_OUTPUT_S)
        self._pump_task.cancel()
        self.settled.set()
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    def ask_to_stop(self) -> None:
        """Send SIGTERM; without effect when the process has ended."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """Kill the process and what it started; without effect when the process has ended."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _pump(self) -> None:
        output = self._process.stdout
        assert output is not None
        while chunk := await output.read(_CHUNK_BYTES):
            self._log.write(chunk)
            *lines, self._partial = (self._partial + chunk).split(b"\n")
            self._partial = self._partial[-_LINE_BYTES:]
            for line in lines:
                self._look_at(line)

    def _look_at(self, line: bytes) -> None:
        if line.strip():
            self._last_line = line
        if self.ready_line is None and self._program.ready_mark in line:
            self.ready_line = line
            self.settled.set()


def readable(line: bytes) -> str:
    """Return a log line as a person reads it: a JSON event as ``event key=value ...``, anything else as it is."""
    try:
        fields = msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError:
        text = line.decode(errors="replace").strip()
    else:
        event = fields.pop("event", "")
        kept = (f"{name}={value}" for name, value in fields.items() if name not in ("timestamp", "level"))
        text = " ".join((str(event), *kept))
    return "".join(char if char.isprintable() else " " for char in text)[:_SHOWN_CHARS]
