"""Anthropic Messages SSE bytes in, canonical events out. Pure: no clock, no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, Raw

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
from shared.sse import SseLimitError, SseParser
from worker.llm import Call, Finish
from worker.providers import failures
from worker.providers import messages_wire as wire
from worker.providers.joint import Joint
from worker.providers.text_deltas import text_deltas

_TOOL_USE_FIELDS = frozenset(("type", "id", "name", "input"))
_THOUGHT = ("thinking", "redacted_thinking")
"""Block types that may come before the text that continues an open block."""


@dataclass
class _Open:
    """A block the provider has opened and not yet closed."""

    number: int
    joint: Joint | None = None
    whole_input: str = ""
    """A tool's arguments given at the block's start, told at its end unless they came in pieces after all."""


class MessagesDecoder:
    """Decodes one answer. Feed it every chunk; it is done when ``finished`` is true, and cut if that never happens."""

    def __init__(self, call: Call) -> None:
        """Take the call whose answer this is: it says which step it is and where its blocks go."""
        self.finished = False
        """Whether the provider has ended its answer."""
        self.begun = False
        """Whether the provider has said anything of its answer; pings and the message's head do not count."""
        self._parser = SseParser()
        self._step = call.step
        self._next_block = call.first_block
        self._continued = call.open_text_block
        """The stream's open text block, until the provider's first text has taken it over."""
        echo = call.prefill if call.model.echoes_prefill else ""
        self._joint = Joint(echo, call.overlap) if echo or call.overlap else None
        self._open: dict[int, _Open] = {}
        self._told_step = False
        self._usage = Usage()
        self._stop = wire.StopDelta()
        self._out: list[Event | Finish] = []
        self._frames: dict[str, Callable[[bytes], None]] = {
            "content_block_delta": self._on_block_delta,
            "content_block_start": self._on_block_start,
            "content_block_stop": self._on_block_stop,
            "message_start": self._on_message_start,
            "message_delta": self._on_message_delta,
            "message_stop": self._on_message_stop,
            "error": self._on_error,
        }

    def feed(self, chunk: bytes) -> list[Event | Finish]:
        """Return the events that ``chunk`` completes. Raises ``ProviderError`` for an error event or a malformed one.

        Events completed by a chunk that then raises are not lost: ``rest`` returns them.
        """
        try:
            if not self._takes_plainly(chunk):
                for sse in self._parser.feed(chunk):
                    if sse.data is not None and not self.finished:
                        self._on_frame(sse.event, sse.data)
        except (SseLimitError, msgspec.DecodeError, UnicodeDecodeError):
            raise failures.malformed() from None
        return self.rest()

    def _takes_plainly(self, chunk: bytes) -> bool:
        """Take in a chunk that goes on with open texts and does nothing else, or return False and do nothing."""
        if not (self.begun and self._parser.between) or self.finished:
            return False
        told = text_deltas(chunk)
        if told is None:
            return False
        for index, text in told:
            self._tell_text(self._opened(index), text)
        return True

    def rest(self) -> list[Event | Finish]:
        """Return events decoded and not yet returned."""
        out, self._out = self._out, []
        return out

    def at_end(self) -> list[Event | Finish]:
        """Return nothing: only ``message_stop`` ends an answer, so a body that ends before it was cut."""
        return []

    def _on_frame(self, name: str, data: bytes) -> None:
        handle = self._frames.get(name)
        if handle is not None and self._told_step:
            handle(data)
        else:
            self._on_rare_frame(name, data)

    def _on_rare_frame(self, name: str, data: bytes) -> None:
        """Take in a frame that is the first, of no name, or of one that has no handler."""
        if name == "message":
            name = wire.typed.decode(data).type  # a proxy that drops event names leaves the type in the data
        if name == "ping":
            return
        if not self._told_step and name not in ("message_start", "error"):
            self._tell_step(None, None)
        handle = self._frames.get(name)
        if handle is not None:
            handle(data)
        elif data:
            self._out.append(DataEvent(name, wire.raw.decode(data)))

    def _tell_step(self, message_id: str | None, model: str | None) -> None:
        self._told_step = True
        self._out.append(StepEvent("start", self._step, message_id, model))

    def _on_message_start(self, data: bytes) -> None:
        message = wire.message_start.decode(data).message
        if not self._told_step:
            self._tell_step(message.id, _file_name(message.model))
        self._tell_usage(message.usage)

    def _tell_usage(self, usage: wire.WireUsage | None) -> None:
        if usage is not None:
            self._usage = usage.over(self._usage)
            self._out.append(UsageEvent(self._step, self._usage))

    def _on_block_start(self, data: bytes) -> None:
        self.begun = True
        frame = wire.block_start.decode(data)
        block = wire.content_block.decode(frame.content_block)
        if block.type == "text":
            self._open_text(frame.index, block.text or "")
            return
        if block.type not in _THOUGHT:
            self._close_continued()
        opened = self._open[frame.index] = _Open(self._next_block)
        self._next_block += 1
        self._out.append(_block_start(opened.number, block, frame.content_block))
        if block.thinking:
            self._out.append(DeltaEvent(opened.number, text=block.thinking))
        if block.signature:
            self._out.append(DeltaEvent(opened.number, signature=block.signature))
        if block.type == "tool_use" and block.input is not UNSET and bytes(block.input) not in (b"{}", b"null"):
            opened.whole_input = bytes(block.input).decode()

    def _open_text(self, index: int, text: str) -> None:
        """Open a text block, or go on with the one the stream has open."""
        number, self._continued = self._continued, None
        opened = self._open[index] = _Open(self._next_block if number is None else number, self._joint)
        self._joint = None
        if number is None:
            self._next_block += 1
            self._out.append(BlockStartEvent(opened.number, "text"))
        if text:
            self._tell_text(opened, text)

    def _close_continued(self) -> None:
        """Close the stream's open text block when the provider has nothing to add to it."""
        if self._continued is not None:
            self._out.append(BlockStopEvent(self._continued))
            self._continued = None

    def _tell_text(self, opened: _Open, text: str) -> None:
        if opened.joint is not None:
            text = opened.joint.feed(text)
        if text:
            self._out.append(DeltaEvent(opened.number, text=text))

    def _on_block_delta(self, data: bytes) -> None:
        self.begun = True
        frame = wire.block_delta.decode(data)
        opened = self._opened(frame.index)
        delta = frame.delta
        if delta.type == "text_delta":
            self._tell_text(opened, delta.text)
        elif delta.type == "input_json_delta":
            if delta.partial_json:
                opened.whole_input = ""
                self._out.append(DeltaEvent(opened.number, json=delta.partial_json))
        elif delta.type == "thinking_delta":
            if delta.thinking:
                self._out.append(DeltaEvent(opened.number, text=delta.thinking))
        elif delta.type == "signature_delta":
            self._out.append(DeltaEvent(opened.number, signature=delta.signature))
        else:
            self._out.append(DeltaEvent(opened.number, data=wire.raw_block_delta.decode(data).delta))

    def _opened(self, index: int) -> _Open:
        opened = self._open.get(index)
        if opened is None:
            raise failures.malformed()
        return opened

    def _on_block_stop(self, data: bytes) -> None:
        index = wire.block_stop.decode(data).index
        self._close(self._opened(index))
        del self._open[index]

    def _close(self, opened: _Open) -> None:
        if opened.joint is not None and (held := opened.joint.flush()):
            self._out.append(DeltaEvent(opened.number, text=held))
        if opened.whole_input:
            self._out.append(DeltaEvent(opened.number, json=opened.whole_input))
        self._out.append(BlockStopEvent(opened.number))

    def _on_message_delta(self, data: bytes) -> None:
        self.begun = True
        frame = wire.message_delta.decode(data)
        if frame.delta.stop_reason is not None:
            self._stop = frame.delta
        if _given(frame.delta.stop_details) or _given(frame.delta.container):
            self._out.append(DataEvent("message_delta", Raw(data)))
        self._tell_usage(frame.usage)

    def _on_message_stop(self, _data: bytes) -> None:
        self.begun = self.finished = True
        for opened in self._open.values():
            self._close(opened)
        self._open.clear()
        self._close_continued()
        self._out.append(StepEvent("stop", self._step, stop_reason=self._stop.stop_reason))
        self._out.append(Finish(self._stop.stop_reason, self._stop.stop_sequence, self._usage))

    def _on_error(self, data: bytes) -> None:
        error = wire.error_frame.decode(data).error
        raise failures.told_in_stream(error.type, error.message)


def _file_name(model: str | None) -> str | None:
    """Return a model's name without the directories that servers of local files put before it: clients see it."""
    return model if model is None or not model.startswith("/") else model.rsplit("/", 1)[-1]


def _given(value: object) -> bool:
    return isinstance(value, Raw) and bytes(value) != b"null"


def _block_start(number: int, block: wire.ContentBlock, raw: Raw) -> BlockStartEvent:
    """Return the event that opens any block but text. What has no canonical form is kept as it stands."""
    if block.type == "thinking":
        return BlockStartEvent(number, "thinking")
    if block.type == "tool_use":
        more = wire.block_fields.decode(raw).keys() - _TOOL_USE_FIELDS
        return BlockStartEvent(number, "tool_use", block.id, block.name, raw if more else UNSET)
    kind: BlockKind = "tool_result" if block.type.endswith("tool_result") else "data"
    block_id = block.tool_use_id if kind == "tool_result" else None
    return BlockStartEvent(number, kind, block_id, block.type, raw)
