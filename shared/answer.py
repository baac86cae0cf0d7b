"""The answer so far: what the events of a stream add up to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from shared.entry import Entry
from shared.events import (
    AttemptEvent,
    BlockKind,
    BlockStartEvent,
    BlockStopEvent,
    DataEvent,
    DeltaEvent,
    EndEvent,
    EndStatus,
    ErrorEvent,
    Event,
    ResetEvent,
    StartEvent,
    StepEvent,
    Usage,
    UsageEvent,
)
from shared.offset import START, Offset

Status = Literal["queued", "running"] | EndStatus


@dataclass
class Block:
    """One block of the answer. Pieces are joined on reading, so that adding one costs the same at any length."""

    block: int
    kind: BlockKind
    id: str | None = None
    name: str | None = None
    data: bytes | None = None
    """The provider's opaque content at the block's start, byte-exact."""
    source: str | None = None
    complete: bool = False
    deltas: list[bytes] = field(default_factory=list)
    """Opaque deltas, byte-exact."""
    _text: list[str] = field(default_factory=list)
    _json: list[str] = field(default_factory=list)
    _signature: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text of a text or thinking block so far."""
        return "".join(self._text)

    @property
    def json(self) -> str:
        """A tool call's arguments so far, as JSON text."""
        return "".join(self._json)

    @property
    def signature(self) -> str:
        """A thinking block's signature, byte-exact."""
        return "".join(self._signature)

    def add(self, delta: DeltaEvent) -> None:
        """Append a delta."""
        if delta.text is not None:
            self._text.append(delta.text)
        if delta.json is not None:
            self._json.append(delta.json)
        if delta.signature is not None:
            self._signature.append(delta.signature)
        if delta.data is not msgspec.UNSET:
            self.deltas.append(bytes(delta.data))


@dataclass
class Answer:
    """A fold over a stream's events, in order. Feeding it the whole log gives the stream's state."""

    status: Status = "queued"
    start: StartEvent | None = None
    blocks: list[Block] = field(default_factory=list)
    error: ErrorEvent | None = None
    end: EndEvent | None = None
    attempts: int = 0
    steps: int = 0
    offset: Offset = START
    started_ms: int | None = None
    """When the first attempt began, Unix milliseconds; likewise the next two."""
    first_token_ms: int | None = None
    ended_ms: int | None = None
    usage_by_step: dict[int, Usage] = field(default_factory=dict)
    asides: dict[str, bytes] = field(default_factory=dict)
    """The provider's own events without canonical form, byte-exact: the latest step's last of each name."""

    @property
    def text(self) -> str:
        """All text blocks, joined."""
        return "".join(block.text for block in self.blocks if block.kind == "text")

    @property
    def usage(self) -> Usage:
        """Tokens used so far, over all attempts."""
        return sum(self.usage_by_step.values(), Usage())

    def apply_entry(self, entry: Entry) -> None:
        """Take in one entry of the log and move the offset to its end."""
        for event in entry.events():
            self.apply(event, entry.t_ms)
        self.offset = entry.last_offset()

    def apply(self, event: Event, t_ms: int | None = None) -> None:
        """Take in one event, told at ``t_ms``. Events of unknown types change nothing."""
        match event:
            case DeltaEvent():
                self._open(event.block).add(event)
                if self.first_token_ms is None:
                    self.first_token_ms = t_ms
            case BlockStartEvent(block, kind, block_id, name, data, source):
                opaque = None if data is msgspec.UNSET else bytes(data)
                self.blocks.append(Block(block, kind, block_id, name, opaque, source))
            case BlockStopEvent():
                self._open(event.block).complete = True
            case ResetEvent():
                self.blocks = [block for block in self.blocks if block.block < event.keep_blocks]
            case UsageEvent():
                self.usage_by_step[event.step] = event.usage
            case _:
                self._advance(event, t_ms)

    def _advance(self, event: Event, t_ms: int | None) -> None:
        """Take in an event of the stream's life cycle."""
        match event:
            case StartEvent():
                self.start = event
            case AttemptEvent():
                self.attempts = event.attempt
                self.status = "running"
                self.started_ms = t_ms if self.started_ms is None else self.started_ms
            case StepEvent():
                self.steps = max(self.steps, event.step)
                if event.phase == "start":
                    self.asides = {}
            case DataEvent():
                self.asides[event.name] = bytes(event.data)
            case ErrorEvent():
                self.error = event
            case EndEvent():
                self.end, self.status, self.ended_ms = event, event.status, t_ms
            case _:
                pass

    def _open(self, number: int) -> Block:
        """Return the block a delta or stop names. Raises ``ValueError`` when the log never opened it."""
        for block in reversed(self.blocks):
            if block.block == number:
                return block
        message = f"block {number} was never opened"
        raise ValueError(message)
