"""The local runner: from nothing to one URL, and back to nothing."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from shared.errors import ConfigurationError
from shared.settings import Settings, load_settings
from tailrace.local.part import PartError
from tailrace.local.progress import Progress
from tailrace.local.state import STATE, claim_state
from tailrace.local.system import System

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_local(settings: Settings | None = None) -> int:
    """Run everything on this machine until SIGINT, SIGTERM or SIGHUP; return the exit code of the program.

    0 when it was asked to stop and has stopped all it started; 1, after one sentence on standard error, when it could
    not start or not keep a part running. The URL is the only thing on standard output. The parts read the environment
    themselves: ``settings`` that were not read from it reach them only as far as ``environment`` composes them.
    """
    progress = Progress(sys.stderr)
    try:
        asyncio.run(_run(settings or load_settings(), progress))
    except (ConfigurationError, PartError) as error:
        progress.say(f"tailrace: {error}")
        return 1
    except KeyboardInterrupt:  # before the signal handlers were there
        pass
    return 0


class Stop:
    """Turns the first signal into an orderly end, and a further Ctrl-C into an immediate one."""

    def __init__(self) -> None:
        """Listen from now on. A SIGHUP that is ignored, as under ``nohup``, stays ignored."""
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        # make passes SIGTERM on to a child that may have had it already: only Ctrl-C counts twice.
        if number == signal.SIGINT and self.asked.is_set():
            self.hurry.set()
        self.asked.set()


async def _run(settings: Settings, progress: Progress) -> None:
    """Serve until asked to stop or failed; in both cases end all parts, in order, before returning or raising."""
    stop = Stop()
    with claim_state(STATE) as state, tempfile.TemporaryDirectory(prefix="tailrace-") as scratch:
        system = System(settings, state, Path(scratch), progress)
        serving = asyncio.create_task(system.serve(), name="serve")
        asked = asyncio.create_task(stop.asked.wait(), name="asked to stop")
        try:
            await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
            if stop.asked.is_set():
                progress.say("Stopping; Ctrl-C again to stop at once.")
        finally:
            asked.cancel()
            serving.cancel()
            await asyncio.wait({serving})
            await system.end(stop.hurry)
        if not serving.cancelled():
            serving.result()
        progress.say("Stopped.")
