"""``tailrace follow``: one more reader of an answer, without a say in it."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from shared.errors import ConfigurationError
from tailrace.commands.reading import add_client_options, client_of, read

if TYPE_CHECKING:
    from tailrace.commands.services import Commands


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "follow",
        help="read an answer that somebody else has asked for",
        description="Read an answer from its start or an offset to its end. Ctrl-C leaves and never cancels.",
    )
    parser.add_argument("id", help="the stream's id")
    parser.add_argument("--offset", help="read only what comes after this offset; 'now' for only what is still to come")
    parser.add_argument("--json", action="store_true", help="print the events, one JSON object per line")
    add_client_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    return asyncio.run(_follow(args))


async def _follow(args: argparse.Namespace) -> int:
    async with client_of(args) as client:
        try:
            answer = client.follow(args.id, args.offset)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        return await read(args, client, answer, may_cancel=False)
