"""What a decoder tells of one answer: its step, blocks, usage and finish as canonical events, numbered and in order.

For the wires that do not number their blocks themselves: they say only what a piece belongs to, and often not where
it ends. Pure.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, Raw, UnsetType

from shared.events import (
    BlockKind,
    BlockStartEvent,
    BlockStopEvent,
    DataEvent,
    DeltaEvent,
    Event,
    StepEvent,
    Usage,
    UsageEvent,
)
from worker.llm import Call, Finish
from worker.providers.joint import Joint


@dataclass
class Open:
    """A block that has been opened and not yet closed."""

    number: int
    kind: BlockKind
    joint: Joint | None = None
    id: str | None = None
    told: bool = False
    """Whether any of its content has been told."""


class Telling:
    """The events of one call, taken with ``take``. Blocks are known by any key the decoder has for them."""

    def __init__(self, call: Call) -> None:
        """Take the call: it says which step it is, where its blocks go, and which text its first one continues."""
        self.begun = self.finished = False
        self.open: dict[Hashable, Open] = {}
        self.tools = 0
        """Tool calls told so far."""
        self.usage = Usage()
        self._call = call
        self._next_block = call.first_block
        self._continued = call.open_text_block
        echo = call.prefill if call.model.echoes_prefill else ""
        self._joint = Joint(echo, call.overlap) if echo or call.overlap else None
        self._told_step = False
        self._out: list[Event | Finish] = []

    def take(self) -> list[Event | Finish]:
        """Return what was told since the last time."""
        out, self._out = self._out, []
        return out

    def step(self, message_id: str | None, model: str | None) -> None:
        """Tell the step's start, once."""
        if not self._told_step:
            self._told_step = True
            self._out.append(StepEvent("start", self._call.step, message_id, _file_name(model)))

    def text(self, key: Hashable, text: str) -> None:
        """Tell more of a text, which opens with it, or goes on with the one the stream has open."""
        opened = self.open.get(key) or self.open_text(key)
        if opened.joint is not None:
            text = opened.joint.feed(text)
        if text:
            opened.told = True
            self._out.append(DeltaEvent(opened.number, text=text))

    def open_text(self, key: Hashable) -> Open:
        """Open a text."""
        self.begun = True
        number, self._continued = self._continued, None
        opened = self.open[key] = Open(self._next_block if number is None else number, "text", self._joint)
        self._joint = None
        if number is None:
            self._next_block += 1
            self._out.append(BlockStartEvent(opened.number, "text"))
        return opened

    def thinking(self, key: Hashable, text: str) -> None:
        """Tell more of a thought, which opens with it. May come before the text that continues an open block."""
        opened = self.open.get(key) or self._open(key, "thinking")
        if text:
            opened.told = True
            self._out.append(DeltaEvent(opened.number, text=text))

    def signature(self, key: Hashable, signature: str) -> None:
        """Tell a thought's signature, byte-exact; the thought opens with it where there is none."""
        opened = self.open.get(key) or self._open(key, "thinking")
        self._out.append(DeltaEvent(opened.number, signature=signature))

    def tool(self, key: Hashable, call_id: str | None, name: str) -> None:
        """Open a tool call. One without an id gets one that no other call of the conversation has."""
        self._close_continued()
        call_id = call_id or f"call_{self._call.stream_id}_{self._next_block}"
        self._open(key, "tool_use", call_id, name)
        self.tools += 1

    def arguments(self, key: Hashable, json: str) -> None:
        """Tell more of a tool call's arguments."""
        if json:
            opened = self.open[key]
            opened.told = True
            self._out.append(DeltaEvent(opened.number, json=json))

    def delta(self, key: Hashable, data: Raw) -> None:
        """Tell a delta of a block that has no canonical form."""
        self._out.append(DeltaEvent(self.open[key].number, data=data))

    def opaque(self, name: str, data: Raw) -> None:
        """Tell a whole block that has no canonical form."""
        self._close_continued()
        self._open("opaque", "data", None, name, data)
        self.close("opaque")

    def event(self, name: str, data: Raw) -> None:
        """Tell something of the provider's that is no block."""
        self._out.append(DataEvent(name, data))

    def close(self, key: Hashable) -> None:
        """Close a block, if it is open."""
        if (opened := self.open.pop(key, None)) is None:
            return
        if opened.joint is not None and (held := opened.joint.flush()):
            self._out.append(DeltaEvent(opened.number, text=held))
        self._out.append(BlockStopEvent(opened.number))

    def tell_usage(self, usage: Usage) -> None:
        """Tell what the step has used so far, where that is new."""
        if usage != self.usage:
            self.usage = usage
            self._out.append(UsageEvent(self._call.step, usage))

    def finish(self, stop_reason: str | None, stop_sequence: str | None = None) -> None:
        """Close what is open, and tell the finish."""
        self.step(None, None)
        for key in list(self.open):
            self.close(key)
        self._close_continued()
        self.begun = self.finished = True
        self._out.append(StepEvent("stop", self._call.step, stop_reason=stop_reason))
        self._out.append(Finish(stop_reason, stop_sequence, self.usage))

    def _open(
        self,
        key: Hashable,
        kind: BlockKind,
        block_id: str | None = None,
        name: str | None = None,
        data: Raw | UnsetType = UNSET,
    ) -> Open:
        self.begun = True
        opened = self.open[key] = Open(self._next_block, kind, id=block_id)
        self._next_block += 1
        self._out.append(BlockStartEvent(opened.number, kind, block_id, name, data))
        return opened

    def _close_continued(self) -> None:
        """Close the stream's open text block when the provider has nothing to add to it."""
        if self._continued is not None:
            self._out.append(BlockStopEvent(self._continued))
            self._continued = None


def given(value: object) -> bool:
    """Tell whether a raw field is there and says something: no null, and nothing empty."""
    return isinstance(value, Raw) and bytes(value) not in (b"null", b"[]", b"{}", b'""')


def decoded(raw: Raw) -> object:
    """Return what a raw value says."""
    return msgspec.json.decode(raw)


def _file_name(model: str | None) -> str | None:
    """Return a model's name without the directories that servers of local files put before it: clients see it."""
    return model if model is None or not model.startswith("/") else model.rsplit("/", 1)[-1]
