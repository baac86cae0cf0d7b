"""An answer on the terminal: text as it comes on stdout, everything said about it on stderr."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TextIO

import msgspec

from shared.events import (
    BlockStartEvent,
    BlockStopEvent,
    DeltaEvent,
    EndEvent,
    ErrorEvent,
    Event,
    ResetEvent,
    encode_event,
    event_type,
)

_CONTROLS = dict.fromkeys(code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t")
"""Never sent to a terminal: what a model says must not be able to move the cursor or answer for the user."""


def printable(text: str, out: TextIO) -> str:
    """Return ``text`` as it may be written to ``out``: without control characters where that is a terminal."""
    return text.translate(_CONTROLS) if out.isatty() else text


def say(sentence: str) -> None:
    """Say something about the command, apart from the answer."""
    with suppress(BrokenPipeError):  # who has left cannot be told
        sys.stderr.write(f"tailrace: {sentence.translate(_CONTROLS)}\n")
        sys.stderr.flush()


def tell(text: str) -> None:
    """Print what the command was asked for, on stdout. Raises ``BrokenPipeError`` when nobody reads."""
    sys.stdout.write(printable(text, sys.stdout) + "\n")


class TextPrinter:
    """Prints the text blocks of an answer as they grow. Raises ``BrokenPipeError`` when nobody reads."""

    def __init__(self, out: TextIO) -> None:
        """Take where the text goes; characters that it cannot encode are replaced."""
        self._out = out
        self._kinds: dict[int, str] = {}
        self._tools: dict[int, list[str]] = {}
        self._block: int | None = None
        self._at_line_start = True

    def show(self, event: Event, _offset: str | None) -> None:
        """Print what the event adds to the text, or say what else it means."""
        match event:
            case BlockStartEvent() | DeltaEvent() | BlockStopEvent():
                self._show_block(event)
            case ResetEvent():
                self._reset(event)
            case ErrorEvent():
                self._end_line()
                say(event.message)
            case EndEvent():
                self._end_line()
                if event.status != "completed":
                    say(f"the answer is {event.status}" + (f": {event.stop_reason}" if event.stop_reason else ""))
            case _:
                pass

    def _show_block(self, event: BlockStartEvent | DeltaEvent | BlockStopEvent) -> None:
        """Print text as it comes and say each tool call when it is complete; the rest is for ``--json``."""
        match event:
            case BlockStartEvent(block, kind):
                self._kinds[block] = kind
                if kind == "tool_use":
                    self._tools[block] = [event.name or "without a name", " "]
            case DeltaEvent(block, str(text)) if self._kinds.get(block, "text") == "text":
                if self._block not in (None, block):
                    self._end_line()
                self._block = block
                self._write(printable(text, self._out))
            case DeltaEvent(block, json=str(piece)) if block in self._tools:
                self._tools[block].append(piece)
            case BlockStopEvent(block) if block in self._tools:
                self._end_line()
                say("the model calls the tool " + "".join(self._tools.pop(block)))
            case _:
                pass

    def _reset(self, event: ResetEvent) -> None:
        """Tell the reader that some of what was printed, and cannot be taken back, no longer counts."""
        self._end_line()
        self._block = None
        self._tools.clear()
        if any(kind == "text" and block >= event.keep_blocks for block, kind in self._kinds.items()):
            since = "" if event.keep_blocks == 0 else f" except its first {event.keep_blocks} blocks"
            # On stdout: whoever reads only that must not take the two tellings for one answer.
            self._write(f"[the answer above{since} is void ({event.reason}); it is told anew from here]\n")
        self._kinds = {block: kind for block, kind in self._kinds.items() if block < event.keep_blocks}

    def _end_line(self) -> None:
        if not self._at_line_start:
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            self._at_line_start = text.endswith("\n")
            self._out.write(text)
            self._out.flush()


class JsonPrinter:
    """Prints each event as one line of JSON, in the shape of a long-poll's events."""

    def __init__(self, out: TextIO) -> None:
        """Take where the lines go."""
        self._out = out

    def show(self, event: Event, offset: str | None) -> None:
        """Print the event and its offset. Raises ``BrokenPipeError`` when nobody reads."""
        line = encode_event(event)
        shape = {"id": offset, "event": event_type(line), "data": msgspec.Raw(line)}
        self._out.write(msgspec.json.encode(shape).decode() + "\n")
        self._out.flush()
