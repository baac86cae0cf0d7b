"""Reading an answer until it ends or Ctrl-C is pressed, and what Ctrl-C means."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import Self

from shared.client_settings import load_client_settings
from shared.errors import ConfigurationError, TailraceError
from shared.events import EndEvent
from tailrace.client import Client
from tailrace.client_errors import may_retry
from tailrace.client_retry import Reconnect, Timeouts
from tailrace.client_stream import AnswerStream
from tailrace.commands.terminal import JsonPrinter, TextPrinter, say

INTERRUPTED = 130
_SECOND_CTRL_C_S = 2.0
_RESUME = "'tailrace ask --resume {}'"
_TIMEOUTS = Timeouts(start_s=5.0)
"""A person waits for the first sign of life: an address where nobody is must be told soon."""


def add_client_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that asks a relay."""
    parser.add_argument("--url", help="address of the relay (default: TAILRACE_URL, or http://127.0.0.1:8080)")
    parser.add_argument(
        "--api-key", metavar="KEY", help="your API key (better: TAILRACE_API_KEY, which ps cannot show)"
    )


def client_of(args: argparse.Namespace) -> Client:
    """Return the client that the options and the environment ask for. Raises ``ConfigurationError`` if none can be."""
    settings = load_client_settings()
    key = args.api_key or (settings.api_key.get_secret_value() if settings.api_key else None)
    try:
        return Client(args.url or settings.url, key, timeouts=_TIMEOUTS, on_reconnect=_say_reconnect)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def printer_of(args: argparse.Namespace) -> JsonPrinter | TextPrinter:
    """Return what prints events in the way that ``--json`` asks for."""
    return JsonPrinter(sys.stdout) if args.json else TextPrinter(sys.stdout)


class Interrupts:
    """Counts Ctrl-C while it is entered: the first and the second are conditions to wait for, a third is the end."""

    def __init__(self) -> None:
        """Wait for both."""
        self.first = asyncio.Event()
        self.second = asyncio.Event()

    def __enter__(self) -> Self:
        """Take SIGINT over from asyncio, which would cancel everything at once."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._count)
        return self

    def __exit__(self, *_exc: object) -> None:
        """Give SIGINT back to Python, as ``KeyboardInterrupt``."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    def _count(self) -> None:
        if self.first.is_set():
            self.second.set()
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        self.first.set()


async def read(args: argparse.Namespace, client: Client, answer: AnswerStream, *, may_cancel: bool) -> int:
    """Print the answer to its end and return the exit code.

    Ctrl-C leaves the answer to go on; where ``may_cancel``, a second one within two seconds cancels it.
    """
    with Interrupts() as interrupts:
        reading = asyncio.create_task(_print(answer, printer_of(args)), name="reading")
        interrupted = asyncio.create_task(interrupts.first.wait(), name="first Ctrl-C")
        try:
            await asyncio.wait((reading, interrupted), return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            interrupted.cancel()
            await asyncio.wait((reading, interrupted))
        if reading.cancelled():
            return await _leave(client, answer.id, interrupts if may_cancel else None)
        return reading.result()


async def _print(answer: AnswerStream, printer: JsonPrinter | TextPrinter) -> int:
    """Print the answer; return 0 if it was completed, else 1."""
    status = None
    try:
        async for event in answer:
            printer.show(event, answer.offset)
            status = event.status if isinstance(event, EndEvent) else None
    except TailraceError as error:
        if answer.id is not None and may_retry(error):
            say(f"the answer may well go on: {_RESUME.format(answer.id)} reads it")
        raise
    if status is None:
        say("the stream has ended, and there is nothing after this offset")
        return 0
    return 0 if status == "completed" else 1


async def _leave(client: Client, stream_id: str | None, interrupts: Interrupts | None) -> int:
    """Say how to come back, and cancel the answer if Ctrl-C is pressed once more in time."""
    if stream_id is None:
        say("stopped before the relay had answered")
        return INTERRUPTED
    again = f"; Ctrl-C again within {_SECOND_CTRL_C_S:g} s cancels it" if interrupts else ""
    say(f"the answer goes on without you: {_RESUME.format(stream_id)} reads it{again}")
    if interrupts is None:
        return INTERRUPTED
    try:
        async with asyncio.timeout(_SECOND_CTRL_C_S):
            await interrupts.second.wait()
    except TimeoutError:
        return INTERRUPTED
    state = await client.cancel(stream_id)
    say("cancelled" if state.status == "cancelled" else f"too late to cancel: the answer is {state.status}")
    return INTERRUPTED


def _say_reconnect(note: Reconnect) -> None:
    say(f"{note.reason}; trying again in {note.delay_s:.1f} s")
