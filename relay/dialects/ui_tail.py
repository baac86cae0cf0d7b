"""Where a reader begins that wants the last so many chunks: never in the middle of a part, of which no client can."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from relay.dialects.dialect import Dialect, WireEvent
from relay.dialects.telling import Fold
from shared.entry import Entry


class _Chunk(msgspec.Struct, rename="camel"):
    """What matters of a chunk here."""

    type: str
    id: str = ""
    tool_call_id: str = ""
    provider_executed: bool = False

    @property
    def part(self) -> str:
        """The part that the chunk is about, empty if it is about none."""
        return f"tool {self.tool_call_id}" if self.tool_call_id else self.id


_decode = msgspec.json.Decoder(_Chunk).decode
_BEGINS = ("text-start", "reasoning-start", "tool-input-start")
_ENDS = ("text-end", "reasoning-end", "tool-input-available", "tool-input-error", "tool-output-available")


class Tail:
    """Reads a log as its dialect tells it, and knows where its last ``last`` chunks begin."""

    def __init__(self, stream_id: str, dialect: Dialect, last: int) -> None:
        """Take how many chunks are wanted."""
        self._fold = Fold(dialect.project(stream_id))
        self._open: dict[str, int] = {}
        """The parts that have begun and not ended, with the number of the first chunk that a reader of each needs."""
        self._begins: deque[int] = deque(maxlen=last)
        """For each of the last chunks the number of the first one that a reader of it needs."""

    def read(self, entries: Iterable[Entry]) -> None:
        """Take in the log's next entries."""
        for entry in entries:
            for fed in self._fold.feed(entry):
                if fed.wire is None:
                    self._begins.append(min(self._open.values(), default=fed.mark.number))
                for part, event in enumerate(fed.wire or ()):
                    self._note(event, fed.mark.number + part)

    @property
    def total(self) -> int:
        """How many chunks there are so far."""
        return self._fold.total

    @property
    def first(self) -> int:
        """The number of the first chunk to be told."""
        return self._begins[0] if self._begins else 0

    def _note(self, event: WireEvent, number: int) -> None:
        """Take in one chunk."""
        chunk = _decode(event.data)
        if chunk.type in _BEGINS:
            self._open[chunk.part] = min(self._open.values(), default=number)  # of those told between, it needs all
        elif chunk.type == "reset-step":
            self._open.clear()
        self._begins.append(min(self._open.values(), default=number))
        # A call that the provider makes is open until it has its output, which belongs to the same part.
        if chunk.type in _ENDS and not (chunk.type == "tool-input-available" and chunk.provider_executed):
            self._open.pop(chunk.part, None)
