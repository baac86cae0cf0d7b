"""A program of ours from its command line to its exit code: alone, as the parent of several, or as one of those."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass

import uvloop

from shared.errors import ConfigurationError
from shared.logs import configure_logs
from shared.processes.launch import python_module
from shared.processes.loop import Loop
from shared.processes.options import add_processes
from shared.processes.parent import Parent
from shared.processes.port import HeldPort
from shared.processes.run import ChildCommand, Patience
from shared.processes.seat import Seat
from shared.settings import Settings, load_settings

_BEYOND_BUDGET_S = 15.0
"""What a process may take at its end beyond its drain budget: last answers, handing over, closing."""


@dataclass(frozen=True)
class Program:
    """What differs between our programs."""

    name: str
    """Its module, and the command of ``tailrace``."""
    serve: Callable[[Settings, Seat | None], Awaitable[None]]
    """Serves until a signal. Raises ``ConfigurationError``."""
    processes: Callable[[Settings], int]
    address: Callable[[Settings], tuple[str, int] | None]
    """Where it listens, if it does."""
    drain_s: Callable[[Settings], float]

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run until a signal; return the exit code. What is wrong with the configuration is said in one sentence."""
        options = self._parser().parse_args(arguments)
        seat = None
        try:
            settings = load_settings()
            configure_logs(settings)
            count = options.processes or self.processes(settings)
            if options.child is not None:
                seat = Seat(*options.child)
                uvloop.run(self._serve_seated(settings, seat), loop_factory=Loop)
            elif count > 1:
                self._serve_several(settings, count)
            else:
                uvloop.run(self._serve_alone(settings), loop_factory=Loop)
        except ConfigurationError as error:
            if seat is None:  # of several the parent says it, once
                sys.stderr.write(f"tailrace {self.name}: {error}\n")
            return 1
        return 0

    async def _serve_alone(self, settings: Settings) -> None:
        await self.serve(settings, None)

    async def _serve_seated(self, settings: Settings, seat: Seat) -> None:
        async with seat:
            await self.serve(settings, seat)

    def _serve_several(self, settings: Settings, count: int) -> None:
        """Hold the port, so that it is the same for all children and nobody else's, and run them."""
        address = self.address(settings)
        held = None if address is None else HeldPort(*address)
        with nullcontext() if held is None else closing(held):
            patience = Patience(stop_s=self.drain_s(settings) + _BEYOND_BUDGET_S)
            command = ChildCommand(python_module(self.name), 0 if held is None else held.port)
            uvloop.run(_serve_children(command, count, patience))

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            prog=f"python -m {self.name}",
            description=f"Start a {self.name}.",
            epilog="Configured by the environment: see 'tailrace settings'.",
        )
        add_processes(parser, self.name)
        # What a parent tells each child: its number, the open file that is its link, and the port.
        parser.add_argument("--child", type=int, nargs=3, help=argparse.SUPPRESS)
        return parser


async def _serve_children(command: ChildCommand, count: int, patience: Patience) -> None:
    """Make and run the parent on the loop that runs this."""
    await Parent(command, count, patience).serve()
