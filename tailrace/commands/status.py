"""``tailrace status``: how a stream stands."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from tailrace.client_types import StreamState
from tailrace.commands.reading import add_client_options, client_of
from tailrace.commands.terminal import tell

if TYPE_CHECKING:
    from tailrace.commands.services import Commands


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("status", help="show how a stream stands", description="Show how a stream stands.")
    parser.add_argument("id", help="the stream's id")
    parser.add_argument("--json", action="store_true", help="print the state as one JSON object")
    add_client_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    state = asyncio.run(_state(args))
    if args.json:
        text = msgspec.json.encode(state).decode()
    else:
        text = "\n".join(f"{name:<12} {value}" for name, value in _lines(state))
    tell(text)
    return 0


async def _state(args: argparse.Namespace) -> StreamState:
    async with client_of(args) as client:
        return await client.status(args.id)


def _lines(state: StreamState) -> Iterator[tuple[str, str]]:
    """Yield what a person wants to know; what is not known yet is left out."""
    times, usage = state.timings, state.usage
    yield "stream", state.id
    yield "status", state.status + (f" ({state.stop_reason})" if state.stop_reason else "")
    if state.error is not None:
        yield "error", f"{state.error.message} ({state.error.code})"
    yield "model", f"{state.model} ({state.provider})"
    yield "created", datetime.fromtimestamp(state.created_ms / 1000, UTC).isoformat(timespec="seconds")
    yield "attempts", str(state.attempts)
    yield "tokens", f"{usage.input_tokens} in, {usage.output_tokens} out"
    for name, value, unit in (
        ("queued", times.queued_ms, "ms"),
        ("first token", times.first_token_ms, "ms"),
        ("duration", times.duration_ms, "ms"),
        ("speed", times.tokens_per_second, "tokens/s"),
    ):
        if value is not None:
            yield name, f"{value:g} {unit}"
    yield "offset", state.offset or "none yet"
    for key, text in state.metadata.items():
        yield "metadata", f"{key}={text}"
    if state.text:
        yield "text", "\n" + state.text
