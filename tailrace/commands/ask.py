"""``tailrace ask``: a question's answer, streamed to the terminal."""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from shared.errors import ConfigurationError
from tailrace.client_types import Options
from tailrace.commands.reading import add_client_options, client_of, read

if TYPE_CHECKING:
    from tailrace.commands.services import Commands


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "ask",
        help="ask a question and read the answer as it comes",
        description="Ask a question and read the answer as it comes. Ctrl-C leaves; the answer goes on and can be "
        "resumed. Ctrl-C twice cancels it.",
    )
    parser.add_argument("question", nargs="?", help="the question; '-' reads it from stdin")
    parser.add_argument("--model", help="one of the relay's models (default: the relay's choice)")
    parser.add_argument("--system", metavar="TEXT", help="the system prompt")
    parser.add_argument("--resume", metavar="ID", help="go on with the answer of this stream, told from its start")
    parser.add_argument("--json", action="store_true", help="print the events, one JSON object per line")
    add_client_options(parser)
    parser.set_defaults(run=_run, usage_error=parser.error)


def _run(args: argparse.Namespace) -> int:
    if args.resume is None:
        return asyncio.run(_ask(args, _question(args)))
    if args.question or args.model or args.system:
        args.usage_error("--resume goes on with an answer: it takes no question, --model or --system")
    return asyncio.run(_resume(args))


def _question(args: argparse.Namespace) -> str:
    """Return what is asked. Raises ``ConfigurationError`` for what cannot be."""
    if args.question is None:
        args.usage_error("say what to ask, or '-' to read it from stdin")
    try:
        question = sys.stdin.read() if args.question == "-" else str(args.question)
    except UnicodeDecodeError:
        message = f"the question on stdin is not {sys.stdin.encoding} text"
        raise ConfigurationError(message) from None
    if not question.strip():
        message = "the question is empty"
        raise ConfigurationError(message)
    return question


async def _ask(args: argparse.Namespace, question: str) -> int:
    options: Options = {} if args.system is None else {"system": args.system}
    async with client_of(args) as client:
        return await read(args, client, client.stream(question, model=args.model, **options), may_cancel=True)


async def _resume(args: argparse.Namespace) -> int:
    async with client_of(args) as client:
        return await read(args, client, client.follow(args.resume), may_cancel=True)
