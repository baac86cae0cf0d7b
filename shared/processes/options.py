"""The option that says how many processes of a program run, for all who parse it."""

from __future__ import annotations

import argparse

MOST = 256

TOLD = {
    "relay": "relays behind the one port, to use more than one core: the kernel spreads connections over them, and "
    "/metrics of any is the sum. Limits such as TAILRACE_MAX_CONNECTIONS are of each",
    "worker": "workers, to use more than one core: each takes jobs for TAILRACE_WORKER_SLOTS streams, and /metrics on "
    "the one port is the sum",
}


def add_processes(parser: argparse.ArgumentParser, program: str) -> None:
    """Add ``--processes`` of ``program``; its value is None when it is not given."""
    parser.add_argument(
        "--processes",
        type=_count,
        metavar="N",
        help=f"how many {TOLD[program]} (default: TAILRACE_{program.upper()}_PROCESSES, or 1)",
    )


def _count(text: str) -> int:
    """Return a number of processes. Raises ``argparse.ArgumentTypeError``."""
    if text.isdecimal() and 1 <= int(text) <= MOST:
        return int(text)
    message = f"a number from 1 to {MOST}, not {text!r}"
    raise argparse.ArgumentTypeError(message)
