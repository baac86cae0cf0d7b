"""The UI message stream of Vercel's AI SDK, versions 6 and 7: chunks for ``useChat`` and ``WorkflowChatTransport``.

What its grammar asks for decides most of what is here. A delta or an end without its start throws in the client. The
end of a step closes every part in version 6, so a step is not finished while a block is open, and an attempt that goes
on in the middle of a text goes on in the same step. ``error`` is the last thing a client reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec

from relay.dialects.dialect import Dialect, WireEvent
from relay.dialects.ui_parts import Chunk, Part, part_of
from shared.errors import TailraceError
from shared.events import (
    BlockStartEvent,
    BlockStopEvent,
    DeltaEvent,
    EndEvent,
    ErrorEvent,
    Event,
    StartEvent,
    StepEvent,
)

Version = Literal[6, 7]

MESSAGE_ID = "ai_sdk_message_id"
"""In a stream's metadata: the id of the message that the answer goes on with, where it is not a new one."""
_DONE = WireEvent(b"[DONE]")
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_FINISHES: Mapping[str | None, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stream_too_long": "length",
    "tool_use": "tool-calls",
    "refusal": "content-filter",
}
_encode = msgspec.json.Encoder().encode


class UiMessages:
    """One stream as the AI SDK's client reads it; see ``Projection``."""

    def __init__(self, stream_id: str, *, version: Version, done: bool) -> None:
        """Take the client's major version, and whether it is sent ``[DONE]``, which no client counts as a chunk."""
        self._stream_id = stream_id
        self._version = version
        self._last = [_DONE] if done else []
        self._provider = ""
        self._parts: dict[int, Part] = {}
        """By block: all that were told and not discarded."""
        self._steps = 0
        self._in_step = False
        self._error: ErrorEvent | None = None

    def feed(self, event: Event, t_ms: int) -> Sequence[WireEvent]:
        """Return the event's chunks; the times of entries are not told."""
        _ = t_ms
        match event:
            case DeltaEvent():
                part = self._parts.get(event.block)
                chunks = [] if part is None else part.more(event)
            case BlockStartEvent():
                chunks = self._opened(event)
            case BlockStopEvent():
                part = self._parts.get(event.block)
                chunks = [] if part is None else part.close()
            case EndEvent():
                return [*map(_wire, self._ended(event)), *self._last]
            case _:
                chunks = self._about_the_message(event)
        return [_wire(chunk) for chunk in chunks]

    def discard(self, keep_blocks: int) -> Sequence[WireEvent] | None:
        """Forget the blocks; say so by ``reset-step`` if it takes away just their parts, those of the latest step."""
        gone = [part for block, part in self._parts.items() if block >= keep_blocks and part.told]
        self._parts = {block: part for block, part in self._parts.items() if block < keep_blocks}
        if not gone:
            return []
        kept = any(part.step == self._steps for part in self._parts.values() if part.told)
        within = self._in_step and all(part.step == self._steps for part in gone)
        return [_wire({"type": "reset-step"})] if self._version >= 7 and within and not kept else None  # noqa: PLR2004

    def fail(self, error: TailraceError) -> Sequence[WireEvent]:
        """Return an ``error`` chunk with the error's sentence, after which nothing is read, and the end."""
        return [_wire({"type": "error", "errorText": error.message}), _wire(_finish("error")), *self._last]

    def _about_the_message(self, event: Event) -> list[Chunk]:
        """Return the chunks of an event that is about no block."""
        match event:
            case StartEvent():
                self._provider = event.provider
                message_id = event.metadata.get(MESSAGE_ID) or f"msg_{self._stream_id}"
                return [{"type": "start", "messageId": message_id}]
            case StepEvent("start") if not self._in_step:
                self._in_step = True
                self._steps += 1
                return [{"type": "start-step"}]
            case StepEvent("stop") if self._in_step and not any(part.open for part in self._parts.values()):
                self._in_step = False
                return [{"type": "finish-step"}]
            case ErrorEvent():
                self._error = event
        return []

    def _opened(self, event: BlockStartEvent) -> list[Chunk]:
        """Return the chunks of a new block."""
        part = part_of(event, self._provider, self._steps)
        call = self._call(part.call_id) if event.kind == "tool_result" else None
        if call is not None:
            part.answers(call)
        self._parts[event.block] = part
        return part.begin()

    def _call(self, call_id: str) -> Part | None:
        """Return the part of the tool call that the provider itself has made, None where none was told."""
        parts = (part for part in self._parts.values() if part.by_provider and part.call_id == call_id)
        return next(parts, None)

    def _ended(self, end: EndEvent) -> list[Chunk]:
        """Return how the answer ends."""
        chunks = self._closed()
        reason = _FINISHES.get(end.stop_reason, "other")
        if end.status == "failed":
            text = self._error.message if self._error is not None else "the answer failed"
            chunks.append({"type": "error", "errorText": text})
            reason = "error"
        elif end.status == "cancelled":
            chunks.append({"type": "abort", "reason": end.stop_reason or "cancelled"})
            # Version 7 sends nothing by itself after this one, not even when all tool calls have their outputs.
            reason = "interrupted" if self._version >= 7 else "other"  # noqa: PLR2004
        return [*chunks, _finish(reason)]

    def _closed(self) -> list[Chunk]:
        """Return what closes all that is open. A tool call cut off stays without its input, as the client knows it."""
        chunks = [chunk for part in self._parts.values() if part.open for chunk in part.cut_off()]
        if self._in_step:
            self._in_step = False
            chunks.append({"type": "finish-step"})
        return chunks


def _finish(reason: str) -> Chunk:
    """Return the last chunk."""
    return {"type": "finish", "finishReason": reason}


def _wire(chunk: Mapping[str, Any]) -> WireEvent:
    """Return a chunk as a wire event, which is one line; a provider's raw JSON may have several."""
    line = _encode(chunk)
    return WireEvent(line.translate(_ONE_LINE) if b"\n" in line or b"\r" in line else line)


_HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
_FILLER = _wire({"type": "data-tailrace-withheld", "data": None, "transient": True})

AI_SDK_V6 = Dialect("ai-sdk-v6", partial(UiMessages, version=6, done=True), headers=_HEADERS)
AI_SDK_V7 = Dialect("ai-sdk-v7", partial(UiMessages, version=7, done=True), headers=_HEADERS)


def _workflow(version: Version) -> Dialect:
    """Return the dialect of ``WorkflowChatTransport``: it counts chunks, and comes back after a clean end as well."""
    project = partial(UiMessages, version=version, done=False)
    return Dialect(f"ai-sdk-workflow-v{version}", project, cut=False, filler=_FILLER, headers=_HEADERS)


WORKFLOW_V6 = _workflow(6)
WORKFLOW_V7 = _workflow(7)
