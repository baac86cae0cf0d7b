"""``tailrace run``, ``tailrace relay`` and ``tailrace worker``: the services, started from the terminal."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from shared.settings import load_settings

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names its type no other way


def add_to(commands: Commands) -> None:
    """Add the three commands; all they can be told is in the settings."""
    for name, run, told in (
        ("run", _run, "start everything on this machine: Redis, a model, a relay and a worker"),
        ("relay", _relay, "start one relay"),
        ("worker", _worker, "start one worker"),
    ):
        parser = commands.add_parser(
            name,
            help=told,
            description=f"{told[0].upper()}{told[1:]}.",
            epilog="Configured by the environment: see 'tailrace settings'.",
        )
        parser.set_defaults(run=run)


# The services are imported only by the command that needs them: a client has no use for Redis or a provider's SDK.


def _run(_args: argparse.Namespace) -> int:
    from tailrace.local import run_local  # noqa: PLC0415

    return run_local(load_settings())


def _relay(_args: argparse.Namespace) -> int:
    from relay.__main__ import main  # noqa: PLC0415

    return main()


def _worker(_args: argparse.Namespace) -> int:
    from worker.__main__ import main  # noqa: PLC0415

    return main()
