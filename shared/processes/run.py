"""One run of one child process, as its parent sees it: started, listened to, watched, and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from shared.processes.launch import inherited_environment
from shared.processes.link import Link, Message, Ready, Refused, Report, ReportAsked, SumAsked, Summed
from shared.processes.summing import Family
from shared.processes.tether import tethered
from shared.tasks import end_tasks

log = structlog.get_logger()

_LAST_WORDS_S = 1.0
"""How long what an ended process has sent may take to be read."""

SumUp = Callable[[], Awaitable[list[Family]]]


@dataclass(frozen=True)
class Patience:
    """How long a parent waits for its children."""

    start_s: float = 60.0
    """From a child's start to its being ready; then it is killed."""
    stop_s: float = 35.0
    """From SIGTERM to its end; then it is killed."""
    look_s: float = 5.0
    """Between two questions to a child, whose answers are its metrics and its sign of life."""
    looks: int = 6
    """So many looks without an answer and it is killed. Counted, since a machine that slept skips time, not looks."""
    report_s: float = 1.0
    """How long a scrape waits for a child before it takes what the child reported last."""
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    """Ceilings of the delay before a child that has ended is started again."""
    steady_s: float = 30.0
    """A child that was ready for this long has recovered: the next delay is a first one again."""


@dataclass(frozen=True)
class ChildCommand:
    """How each child is started."""

    program: list[str]
    port: int
    """The one that all of them listen on; 0 where there is none."""

    def of(self, number: int, link_fd: int) -> list[str]:
        """Return the command of one child, which is to find its end of the link open."""
        return [*self.program, "--child", str(number), str(link_fd), str(self.port)]


class Run:
    """One process, tied to this one: it ends when we do, however that happens."""

    def __init__(self, number: int, process: Process, link: Link, sum_up: SumUp, patience: Patience) -> None:
        """Watch a process that has just been started; use ``start``."""
        self.families: list[Family] = []
        """Its metrics, as reported last."""
        self.refused = ""
        """Why it could not start, in its own words."""
        self._process = process
        self._log = log.bind(process=number, pid=process.pid)
        self._link = link
        self._sum_up = sum_up
        self._patience = patience
        self._ready = asyncio.Event()
        self._ready_at_s = 0.0
        self._report: asyncio.Future[None] | None = None
        self._summing: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, command: ChildCommand, number: int, sum_up: SumUp, patience: Patience) -> Run:
        """Start ``command`` as process ``number``, which may have ``sum_up`` asked. Raises ``OSError``.

        In a session of its own: a terminal's Ctrl-C reaches the parent alone, which passes it on.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *tethered(command.of(number, theirs.fileno())),
                    stdin=PIPE,
                    pass_fds=(theirs.fileno(),),
                    env=inherited_environment(),
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        return cls(number, process, await Link.open(ours), sum_up, patience)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether the process has said that it serves."""
        return self._ready.is_set()

    @property
    def was_steady(self) -> bool:
        """Whether the process has served for long enough to call it recovered."""
        return self.is_ready and asyncio.get_running_loop().time() - self._ready_at_s >= self._patience.steady_s

    def reported(self) -> asyncio.Future[None]:
        """Ask for the metrics, unless that question is open already; the future is done when ``families`` has them."""
        if self._report is None or self._report.done():
            self._report = asyncio.get_running_loop().create_future()
            self._link.send(ReportAsked())
        return self._report

    def ask_to_stop(self) -> None:
        """Send SIGTERM; without effect when the process has ended."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL; without effect when the process has ended."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)  # its tether too, where that stays

    async def ended(self) -> str:
        """Listen and watch until the process's end; return how it ended, as "exit code 1" or "signal SIGKILL"."""
        listening = asyncio.create_task(self._listen(), name="process.listening")
        watching = asyncio.create_task(self._watch(), name="process.watching")
        try:
            code = await self._process.wait()
            await asyncio.wait([listening], timeout=_LAST_WORDS_S)
        finally:
            await end_tasks([one for one in (listening, watching, self._summing) if one is not None])
            await self._link.aclose()
            if self._report is not None and not self._report.done():
                self._report.set_result(None)
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    async def _listen(self) -> None:
        async for message in self._link.messages():
            self._take(message)

    def _take(self, message: Message) -> None:
        match message:
            case Ready():
                self._ready_at_s = asyncio.get_running_loop().time()
                self._ready.set()
                self._log.info("process.ready")
            case Refused(sentence):
                self.refused = sentence
            case Report(families):
                self.families = families
                if self._report is not None and not self._report.done():
                    self._report.set_result(None)
            case SumAsked(number):
                # A task, since the sum waits for this process's own report too. The child asks for one at a time: one
                # that has given up waiting, and asks again while we still count, does without an answer.
                if self._summing is None or self._summing.done():
                    self._summing = asyncio.create_task(self._answer(number), name="process.summing")

    async def _answer(self, number: int) -> None:
        self._link.send(Summed(number, await self._sum_up()))

    async def _watch(self) -> None:
        """Kill the process when it does not become ready in time, or no longer answers: a probe reaches one of many."""
        try:
            async with asyncio.timeout(self._patience.start_s):
                await self._ready.wait()
        except TimeoutError:
            self._log.warning("process.not_ready", within_s=self._patience.start_s)
            self.kill()
            return
        missed = 0
        while missed < self._patience.looks:
            report = self.reported()
            await asyncio.sleep(self._patience.look_s)
            missed = 0 if report.done() else missed + 1
        self._log.warning("process.hangs", for_s=self._patience.look_s * missed)
        self.kill()
