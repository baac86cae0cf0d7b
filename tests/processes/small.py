"""A program of two processes whose parent has little patience: ``python -m tests.processes.small MODE``.

Modes: ``serve``; ``never``: its children are never ready; ``stubborn``: they do not end on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from dataclasses import replace

from shared.errors import ConfigurationError
from shared.logs import configure_logs
from shared.processes.launch import python_module
from shared.processes.parent import Parent
from shared.processes.run import ChildCommand, Patience
from shared.processes.seat import Seat
from shared.settings import Settings

PATIENCE = Patience(stop_s=1, look_s=0.1, looks=20, report_s=0.2, first_delay_s=0.1, longest_delay_s=0.2)


async def child(mode: str, seat: Seat) -> None:
    """Serve nothing until SIGTERM."""
    stopped = asyncio.Event()
    on_signal = stopped.set if mode != "stubborn" else int
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_signal)
    async with seat:
        if mode != "never":
            seat.ready()
        await stopped.wait()


async def parent(mode: str) -> None:
    """Run two children."""
    command = ChildCommand([*python_module("tests.processes.small"), mode], 0)
    patience = replace(PATIENCE, start_s=2) if mode == "never" else PATIENCE
    await Parent(command, 2, patience).serve()


def main() -> int:
    """Be the parent, or a child where the parent says so."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode")
    parser.add_argument("--child", type=int, nargs=3)
    args = parser.parse_args()
    configure_logs(Settings())
    try:
        asyncio.run(parent(args.mode) if args.child is None else child(args.mode, Seat(*args.child)))
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
