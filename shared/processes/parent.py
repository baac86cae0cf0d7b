"""The parent of several processes of one program: keeps them running, adds up their metrics, and ends with them.

It takes no connection and no job. Each child is kept running by one task; those who are asked for the sum of the
metrics ask here.
"""

from __future__ import annotations

import asyncio
import signal

import structlog

from shared.backoff import Backoff
from shared.errors import ConfigurationError
from shared.metrics import PROCESS_RESTARTS
from shared.processes.run import ChildCommand, Patience, Run
from shared.processes.summing import Family, added_up, families_of, lasting

log = structlog.get_logger()

_KILLED_S = 10.0
"""How long the kernel may take to end what was killed."""


class Parent:
    """Runs ``count`` processes of one command. ``serve`` once."""

    def __init__(self, command: ChildCommand, count: int, patience: Patience) -> None:
        """Prepare; nothing runs yet."""
        self._command = command
        self._count = count
        self._patience = patience
        self._stopped = asyncio.Event()
        self._runs: dict[int, Run] = {}
        self._past: list[Family] = []
        """What ended processes have counted."""

    async def serve(self) -> None:
        """Keep the processes running until SIGTERM or SIGINT; pass that on, and return when all have ended.

        Raises ``ConfigurationError`` when a process ends before it was ever ready: the others are ended too, since the
        same configuration would only fail again.
        """
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, self._stopped.set)
        log.info("processes.starting", processes=self._count)
        stopping = asyncio.create_task(self._stopped.wait(), name="processes.signal")
        keeping = [
            asyncio.create_task(self._keep(number), name=f"process.{number}") for number in range(1, self._count + 1)
        ]
        done, _ = await asyncio.wait([stopping, *keeping], return_when=asyncio.FIRST_COMPLETED)
        await self._stop(keeping)
        stopping.cancel()
        for task in done - {stopping}:
            task.result()
        log.info("processes.stopped")

    async def sum(self) -> list[Family]:
        """Return the metrics of all processes, of those that have ended too; one that hangs counts as it last did.

        No counter falls from one sum to the next: what a process has reported stays when it ends. What it counted after
        its last report, ``look_s`` ago at most, is lost when it is killed.
        """
        reports = [run.reported() for run in self._runs.values() if run.is_ready]
        if reports:
            await asyncio.wait(reports, timeout=self._patience.report_s)
        # Looked up again: a process that has ended meanwhile has moved from the one to the other.
        living = [run.families for run in self._runs.values()]
        return added_up([self._past, *living, families_of(PROCESS_RESTARTS)])

    async def _keep(self, number: int) -> None:
        """Keep process ``number`` running until the end. Raises ``ConfigurationError`` if it never becomes ready."""
        backoff = Backoff(self._patience.first_delay_s, self._patience.longest_delay_s)
        been_ready = False
        while not self._stopped.is_set():
            how, run = await self._run_once(number)
            been_ready = been_ready or (run is not None and run.is_ready)
            if self._stopped.is_set():
                log.info("process.ended", process=number, how=how)
                return
            refused = run.refused if run is not None else ""
            if not been_ready:
                message = refused or f"process {number} ended before it was ready ({how})"
                raise ConfigurationError(message)
            if run is not None and run.was_steady:
                backoff.reset()
            delay_s = backoff.next_s()
            PROCESS_RESTARTS.inc()
            log.warning("process.ended", process=number, how=how, why=refused or None, again_in_s=round(delay_s, 3))
            try:
                await asyncio.wait_for(self._stopped.wait(), delay_s)
            except TimeoutError:
                continue

    async def _run_once(self, number: int) -> tuple[str, Run | None]:
        """Run process ``number`` to its end; return how it ended, and what is known of it if it could be started."""
        try:
            run = await Run.start(self._command, number, self.sum, self._patience)
        except OSError as error:
            return f"cannot be started: {error.strerror}", None
        self._runs[number] = run
        log.info("process.started", process=number, pid=run.pid)
        if self._stopped.is_set():  # it was asked for while the process was being made
            run.ask_to_stop()
        try:
            return await run.ended(), run
        finally:
            del self._runs[number]
            self._past = added_up([self._past, lasting(run.families)])

    async def _stop(self, keeping: list[asyncio.Task[None]]) -> None:
        """End all processes: SIGTERM, and SIGKILL for those that take longer than they may."""
        self._stopped.set()
        log.info("processes.draining", processes=len(self._runs))
        for run in self._runs.values():
            run.ask_to_stop()
        _, late = await asyncio.wait(keeping, timeout=self._patience.stop_s)
        if late:
            for number, run in self._runs.items():
                log.warning("process.killed", process=number, pid=run.pid, after_s=self._patience.stop_s)
                run.kill()
            await asyncio.wait(late, timeout=_KILLED_S)
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
