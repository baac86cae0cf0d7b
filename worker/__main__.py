"""``python -m worker``: one worker, of one process or several, configured by the environment."""

from __future__ import annotations

import sys

from shared.processes.program import Program
from shared.processes.seat import Seat
from shared.settings import Settings
from worker.app import WorkerService


async def _serve(settings: Settings, seat: Seat | None) -> None:
    """Make and run the worker on the loop that runs this, since arq's worker looks for one when made."""
    await WorkerService(settings, seat).serve()


def _monitor(settings: Settings) -> tuple[str, int] | None:
    """Return where probes and scrapes are answered, if anywhere."""
    return (settings.worker_metrics_host, settings.worker_metrics_port) if settings.worker_metrics_port else None


PROGRAM = Program(
    "worker",
    _serve,
    processes=lambda settings: settings.worker_processes,
    address=_monitor,
    drain_s=lambda settings: settings.worker_drain_s,
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
