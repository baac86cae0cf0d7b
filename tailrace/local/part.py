"""One part of the local system, kept running: started again when it ends, until that happens too often."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from tailrace.local.process import Program, Run
from tailrace.local.state import PartLog

_MAX_CRASHES = 5
_CRASH_WINDOW_S = 60.0
_FIRST_DELAY_S = 0.2
_MAX_DELAY_S = 5.0


class PartError(Exception):
    """A part cannot be started, or not be kept running; the message is one clear sentence."""


class Part:
    """Keeps one program running from ``start`` to ``end``, and says so when it had to start it again."""

    def __init__(self, program: Program, log: PartLog, say: Callable[[str], None]) -> None:
        """Prepare the part; nothing runs yet."""
        self.name = program.name
        self.ready_line = b""
        self._program = program
        self._log = log
        self._say = say
        self._ready = asyncio.Event()
        self._ending = asyncio.Event()
        self._run: Run | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Start the program. The task returned ends with ``PartError`` when it cannot be kept running."""
        self._task = asyncio.create_task(self._keep_running(), name=f"part {self.name}")
        return self._task

    @property
    def pid(self) -> int | None:
        """The id of the process that runs now, if one has been started."""
        return self._run.pid if self._run else None

    @property
    def is_ready(self) -> bool:
        """Whether the program has been ready once."""
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        """Wait until the program is ready for the first time. Raises ``PartError`` when that will not happen."""
        assert self._task is not None
        ready = asyncio.create_task(self._ready.wait(), name=f"ready {self.name}")
        try:
            await asyncio.wait({ready, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                self._task.result()
        finally:
            ready.cancel()

    def use(self, program: Program) -> None:
        """Run ``program`` from the next start on."""
        self._program = program

    async def end(self, hurry: asyncio.Event) -> None:
        """Stop the program: SIGTERM, then SIGKILL after its ``stop_s`` or at once when ``hurry`` is set. Idempotent."""
        self._ending.set()
        if self._task is not None:
            await self._end_task(self._task, hurry)
        self._log.close()

    async def _end_task(self, task: asyncio.Task[None], hurry: asyncio.Event) -> None:
        if self._run:
            self._run.ask_to_stop()
        hurried = asyncio.create_task(hurry.wait(), name=f"hurry {self.name}")
        await asyncio.wait({hurried, task}, timeout=self._program.stop_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if self._run and not task.done():
            if not hurry.is_set():
                self._say(f"the {self.name} did not stop within {self._program.stop_s:.0f} s and was killed.")
            self._run.kill()
        with suppress(PartError):  # whoever waits for the task has it already
            await task

    async def _keep_running(self) -> None:
        crashes: deque[float] = deque(maxlen=_MAX_CRASHES)
        while not self._ending.is_set():
            how = await self._run_once()
            if self._ending.is_set():
                return
            last = self._run.last_line() if self._run else ""
            what = f"the {self.name} ended ({how}); its last log line: {last or 'none'}"
            if not self.is_ready:
                message = f"{what}. It never became ready; its log is {self._log.path}"
                raise PartError(message)
            crashes.append(time.monotonic())
            if len(crashes) == _MAX_CRASHES and crashes[-1] - crashes[0] < _CRASH_WINDOW_S:
                message = f"{what}. That was the {_MAX_CRASHES}th time in a minute; its log is {self._log.path}"
                raise PartError(message)
            recent = sum(crashes[-1] - at < _CRASH_WINDOW_S for at in crashes)
            delay_s = min(_FIRST_DELAY_S * 2 ** (recent - 1), _MAX_DELAY_S)
            self._say(f"{what}. Starting it again in {delay_s:.1f} s.")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), delay_s)

    async def _run_once(self) -> str:
        """Run the program to its end; return how it ended. One that is not ready in time is killed."""
        run = self._run = await Run.start(self._program, self._log)
        if self._ending.is_set():  # it was asked for while the process was being made
            run.ask_to_stop()
        ended = asyncio.create_task(run.ended(), name=f"end of {self.name}")
        try:
            await asyncio.wait_for(run.settled.wait(), self._program.start_s)
        except TimeoutError:
            run.kill()
            await ended
            return f"not ready within {self._program.start_s:.0f} s"
        self._note_ready(run)
        return await ended

    def _note_ready(self, run: Run) -> None:
        if run.ready_line is None:
            return
        if self.is_ready and not self._ending.is_set():
            self._say(f"the {self.name} is running again.")
        self.ready_line = run.ready_line
        self._ready.set()
