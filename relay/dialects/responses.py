"""The dialect of the OpenAI Responses API: a stream's events as its ``response.*`` events.

A text block is a message of one ``output_text`` part, a tool call a ``function_call``. A thinking block is a
``reasoning`` item whose text is its summary: that is what OpenAI itself sends of reasoning, hence what clients show;
its signature is the item's ``encrypted_content``. What has no form here is left out: the calls and results of a
provider's own tools, citations, events of unknown kinds. Several attempts and steps are one response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from relay.dialects import responses_object as told
from relay.dialects.dialect import Dialect, WireEvent
from relay.dialects.openai_errors import openai_error
from relay.dialects.responses_object import NOTHING_ASKED, Asked
from shared.answer import Answer, Block
from shared.errors import TailraceError
from shared.events import (
    AttemptEvent,
    BlockStartEvent,
    BlockStopEvent,
    DeltaEvent,
    EndEvent,
    Event,
    ResetEvent,
    StartEvent,
)
from shared.record import Record

_encode = msgspec.json.Encoder().encode
_DELTAS = {"text": "response.output_text.delta", "tool_use": "response.function_call_arguments.delta"}
_SUMMARY_DELTA = "response.reasoning_summary_text.delta"
_TERMINAL = {"completed": "response.completed", "failed": "response.failed"}
"""By status; there is no event for a cancelled response: it ends as one that is incomplete."""


@dataclass
class _Item:
    """An output item that has been told of."""

    block: Block
    output_index: int
    where: dict[str, Any]
    """What every event of its content carries."""
    delta: WireEvent
    """What every delta of it begins with, up to its text; most of a stream's events are deltas."""
    told_any: bool = False
    closed: bool = False


class ResponsesProjection:
    """One stream as the Responses API tells it; see ``Projection``. Holds the answer, which its last event repeats."""

    def __init__(self, stream_id: str, asked: Asked = NOTHING_ASKED) -> None:
        """Begin with nothing told. ``asked`` changes what the Response object repeats, and nothing else."""
        self._stream_id = stream_id
        self._asked = asked
        self._answer = Answer()
        self._items: dict[int, _Item] = {}
        self._next = 0
        """The number of the next wire event."""

    def feed(self, event: Event, t_ms: int) -> Sequence[WireEvent]:
        """Return what the event comes to; see ``Projection``."""
        first_attempt = isinstance(event, AttemptEvent) and not self._answer.attempts
        self._answer.apply(event, t_ms)
        match event:
            case DeltaEvent():
                return self._delta(event)
            case BlockStartEvent():
                return self._open(self._answer.blocks[-1])
            case BlockStopEvent():
                item = self._items.get(event.block)
                return self._close(item) if item else ()
            case StartEvent():
                return [self._response("response.created")]
            case AttemptEvent() if first_attempt:
                return [self._response("response.in_progress")]
            case EndEvent():
                return self._end()
            case _:
                return ()

    def discard(self, keep_blocks: int) -> None:
        """Forget blocks; that they are gone cannot be said here. The failure that some are told counts as an event."""
        self._answer.apply(ResetEvent(keep_blocks, ""))
        self._items = {number: item for number, item in self._items.items() if number < keep_blocks}
        self._next += 1

    def fail(self, error: TailraceError) -> Sequence[WireEvent]:
        """Return an ``error`` event, under the last number that was counted: a resume after it skips nothing."""
        shown = openai_error(error)
        data = {"type": "error", "code": shown["code"], "message": shown["message"], "param": shown["param"]}
        return [WireEvent(_encode(data | {"sequence_number": max(self._next - 1, 0)}), "error")]

    def _wire(self, kind: str, **fields: Any) -> WireEvent:
        """Return one wire event under the next number."""
        number = self._next
        self._next += 1
        return WireEvent(_encode({"type": kind, **fields, "sequence_number": number}), kind)

    def _response(self, kind: str) -> WireEvent:
        """Return an event that carries the whole Response."""
        return self._wire(kind, response=told.response_object(self._stream_id, self._answer, self._asked))

    def _open(self, block: Block) -> list[WireEvent]:
        """Tell of a new item, empty as yet."""
        shown = told.output_item(self._stream_id, block, self._answer)
        if shown is None:
            return []
        place: dict[str, Any] = {"item_id": shown["id"], "output_index": len(self._items)}
        part = {"text": {"content_index": 0}, "tool_use": {}}.get(block.kind, {"summary_index": 0})
        kind = _DELTAS.get(block.kind, _SUMMARY_DELTA)
        rest: dict[str, Any] = {"logprobs": []} if block.kind == "text" else {}
        delta = WireEvent(_encode({"type": kind, **place, **part, **rest})[:-1] + b',"delta":', kind)
        item = self._items[block.block] = _Item(block, len(self._items), place | part, delta)
        if block.kind != "text":
            return [self._wire("response.output_item.added", output_index=item.output_index, item=shown)]
        return [
            self._wire("response.output_item.added", output_index=item.output_index, item=shown | {"content": []}),
            self._wire("response.content_part.added", **item.where, part=told.text_part("")),
        ]

    def _delta(self, event: DeltaEvent) -> list[WireEvent]:
        """Tell more of an item. Signatures come with its end; what a provider adds beside text has no form."""
        item = self._items.get(event.block)
        more = event.json if item and item.block.kind == "tool_use" else event.text
        if item is None or not more:
            return []
        wire = []
        if not (item.told_any or item.block.kind in _DELTAS):
            wire.append(self._wire("response.reasoning_summary_part.added", **item.where, part=told.summary_part("")))
        item.told_any = True
        begun, kind = item.delta
        wire.append(WireEvent(b'%b%b,"sequence_number":%d}' % (begun, _encode(more), self._next), kind))
        self._next += 1
        return wire

    def _close(self, item: _Item) -> list[WireEvent]:
        """Tell the whole of an item once more, as its end."""
        if item.closed:
            return []
        item.closed = True
        shown = told.output_item(self._stream_id, item.block, self._answer)
        done = {"text": self._close_text, "tool_use": self._close_call}.get(item.block.kind, self._close_summary)
        return [*done(item), self._wire("response.output_item.done", output_index=item.output_index, item=shown)]

    def _close_text(self, item: _Item) -> list[WireEvent]:
        """End a message's part."""
        text = item.block.text
        return [
            self._wire("response.output_text.done", **item.where, text=text, logprobs=[]),
            self._wire("response.content_part.done", **item.where, part=told.text_part(text)),
        ]

    def _close_call(self, item: _Item) -> list[WireEvent]:
        """End a call's arguments; those that never came are told first, so that the pieces add up."""
        whole, wire = told.arguments(item.block), []
        if whole and not item.told_any:
            wire.append(self._wire("response.function_call_arguments.delta", **item.where, delta=whole))
        named = {"name": item.block.name or "", "arguments": whole}
        return [*wire, self._wire("response.function_call_arguments.done", **item.where, **named)]

    def _close_summary(self, item: _Item) -> list[WireEvent]:
        """End a summary, if there was any."""
        if not item.told_any:
            return []
        text = item.block.text
        return [
            self._wire("response.reasoning_summary_text.done", **item.where, text=text),
            self._wire("response.reasoning_summary_part.done", **item.where, part=told.summary_part(text)),
        ]

    def _end(self) -> list[WireEvent]:
        """Close what is open, and say how the response ended."""
        wire = [event for item in self._items.values() for event in self._close(item)]
        response = told.response_object(self._stream_id, self._answer, self._asked)
        return [*wire, self._wire(_TERMINAL.get(response["status"], "response.incomplete"), response=response)]


def responses_dialect(asked: Asked = NOTHING_ASKED) -> Dialect:
    """Return the dialect for a stream of which it is known what was asked."""

    def project(stream_id: str) -> ResponsesProjection:
        return ResponsesProjection(stream_id, asked)

    def whole(stream_id: str, _record: Record, answer: Answer) -> told.Body:
        return told.response_object(stream_id, answer, asked)

    return Dialect("openai-responses", project, whole)


RESPONSES = responses_dialect()
"""For streams that were started in another dialect."""
