"""``tailrace run``, ``tailrace relay`` and ``tailrace worker``: the services, started from the terminal."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from shared.processes.options import add_processes
from shared.settings import load_settings

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names its type no other way


def add_to(commands: Commands) -> None:
    """Add the three commands; but for the number of processes, all they can be told is in the settings."""
    for name, run, told in (
        ("run", _run, "start everything on this machine: Redis, a model, a relay and a worker"),
        ("relay", _relay, "start a relay, of one process or several"),
        ("worker", _worker, "start a worker, of one process or several"),
    ):
        parser = commands.add_parser(
            name,
            help=told,
            description=f"{told[0].upper()}{told[1:]}.",
            epilog="Configured by the environment: see 'tailrace settings'.",
        )
        parser.set_defaults(run=run)
        if name != "run":
            add_processes(parser, name)


# The services are imported only by the command that needs them: a client has no use for Redis or a provider's SDK.


def _run(_args: argparse.Namespace) -> int:
    from tailrace.local import run_local  # noqa: PLC0415

    return run_local(load_settings())


def _relay(args: argparse.Namespace) -> int:
    from relay.__main__ import PROGRAM  # noqa: PLC0415

    return PROGRAM.main(_arguments(args))


def _worker(args: argparse.Namespace) -> int:
    from worker.__main__ import PROGRAM  # noqa: PLC0415

    return PROGRAM.main(_arguments(args))


def _arguments(args: argparse.Namespace) -> list[str]:
    """Return what was typed, for the service to parse."""
    return [] if args.processes is None else ["--processes", str(args.processes)]
