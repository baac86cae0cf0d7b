"""The ``tailrace`` command: parses what was typed, runs it, and turns every expected error into one sentence."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from shared.errors import ConfigurationError, TailraceError
from tailrace.client_errors import ConnectionLostError
from tailrace.commands import ask, follow, services, settings, status
from tailrace.commands.terminal import say

FAILED = 1
INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended, which is what this is like."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 with a sentence on stderr, 2 for wrong usage, 130 for Ctrl-C."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an answer may hold what the terminal's encoding does not
    args = _parser().parse_args(arguments)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except ConnectionLostError as error:
        say(f"{error}; is a relay running there? 'tailrace run' starts one, --url or TAILRACE_URL names another")
        return FAILED
    except (ConfigurationError, TailraceError) as error:
        say(str(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left. What is still buffered goes nowhere, or the interpreter complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tailrace", description="LLM answers that survive every disconnect.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (services, ask, follow, status, settings):
        module.add_to(commands)
    return parser
