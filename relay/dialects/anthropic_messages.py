"""The Anthropic Messages dialect: a stream as the ``anthropic`` SDKs, and programs built on them, read it.

However many attempts and provider calls made the answer, it is told as one message: one ``message_start``, the blocks
that survive under contiguous indices, one ``message_delta`` with the usage of all attempts, one ``message_stop``.

- A cancelled answer ends as a message too, with what it has of text, and the ``stop_reason`` ``cancelled``, which is
  ours. An error would throw away what somebody else, perhaps on another device, was reading when its owner stopped it;
  any of the API's own reasons would tell a program that the model had come to its end. The API says that reasons may
  be added, and its SDKs take any.
- The head tells the tokens of the input if the provider tells them before the first block; otherwise, as with those
  that count at the end, ``message_delta`` alone does, which the SDKs take over.
- A failed answer ends with an ``error`` event; blocks that were open stay open, as they do when the API itself fails.
- The API cannot take back what it told. A reader who has discarded blocks gets an error that is worth a retry.
- Several blocks may be open at once, if they were with the provider: clients go by the index.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from relay.dialects import anthropic_blocks as blocks
from relay.dialects.anthropic_errors import body_of, error_body
from relay.dialects.dialect import Body, Dialect, WireEvent
from shared.answer import Answer
from shared.errors import TailraceError
from shared.events import (
    BlockKind,
    BlockStartEvent,
    BlockStopEvent,
    DataEvent,
    DeltaEvent,
    EndEvent,
    ErrorEvent,
    Event,
    StartEvent,
    StepEvent,
    Usage,
    UsageEvent,
)
from shared.record import Record

_OWN_NAMES = frozenset(
    (
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
        "completion",
    )
)
"""What no event of a provider's may be called: clients would take it for a part of the message."""
_MORE_OF_THE_END = ("stop_details", "container")
_STOP = WireEvent(b'{"type":"message_stop"}', "message_stop")
_encode = msgspec.json.Encoder().encode


class _LastDelta(msgspec.Struct):
    delta: dict[str, msgspec.Raw] = {}


_last_delta: msgspec.json.Decoder[_LastDelta] = msgspec.json.Decoder(_LastDelta)


class MessagesProjection:
    """One stream as Messages events; see ``Projection``."""

    def __init__(self, stream_id: str) -> None:
        """Take the stream's id, from which the message's is made."""
        self._message_id = message_id(stream_id)
        self._model = ""
        self._begun = False
        self._begun_by: int | None = None
        """The block that the head was told with, where no event before it would do."""
        self._usage: dict[int, Usage] = {}
        self._places: dict[int, tuple[int, BlockKind]] = {}
        """The index and the kind of each surviving block."""
        self._open: list[int] = []
        self._more: dict[str, msgspec.Raw] = {}
        self._error: ErrorEvent | None = None

    def feed(self, event: Event, t_ms: int) -> Sequence[WireEvent]:
        """Return what the event comes to; see ``Projection``."""
        match event:
            case DeltaEvent():
                index, kind = self._places[event.block]
                told = b'{"type":"content_block_delta","index":%d,"delta":%s}' % (index, blocks.piece(event, kind))
                return (WireEvent(told, "content_block_delta"),)
            case BlockStartEvent():
                if not self._begun:
                    self._begun_by = event.block
                return [*self._head(), self._opened(event)]
            case BlockStopEvent():
                return (self._closed(event.block),)
            case UsageEvent():
                self._usage[event.step] = event.usage
                return self._head()  # not at the step's start: the head tells the tokens of the input
            case DataEvent():
                return self._passed_on(event)
            case EndEvent():
                return self._end(event)
            case _:
                self._note(event)
        _ = t_ms
        return ()

    def _note(self, event: Event) -> None:
        """Keep what later events are told with."""
        match event:
            case StartEvent():
                self._model = event.model
            case StepEvent(phase="start"):
                self._more = {}  # of a call that the answer did not end with
            case ErrorEvent():
                self._error = event
            case _:
                pass

    def discard(self, keep_blocks: int) -> None:
        """Forget the blocks, and the head with the block it was told with; the dialect cannot say that."""
        if self._begun_by is not None and self._begun_by >= keep_blocks:
            self._begun, self._begun_by = False, None
        self._places = {block: place for block, place in self._places.items() if block < keep_blocks}
        self._open = [block for block in self._open if block < keep_blocks]

    def fail(self, error: TailraceError) -> Sequence[WireEvent]:
        """Return the ``error`` event."""
        return (WireEvent(_encode(body_of(error)), "error"),)

    def _head(self) -> Sequence[WireEvent]:
        """Return ``message_start``, once."""
        if self._begun:
            return ()
        self._begun = True
        message: Body = {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_body(sum(self._usage.values(), Usage())),
        }
        return (WireEvent(_encode({"type": "message_start", "message": message}), "message_start"),)

    def _opened(self, event: BlockStartEvent) -> WireEvent:
        index = len(self._places)
        self._places[event.block] = index, event.kind
        self._open.append(event.block)
        told = b'{"type":"content_block_start","index":%d,"content_block":%s}' % (index, blocks.opened(event))
        return WireEvent(told, "content_block_start")

    def _closed(self, block: int) -> WireEvent:
        self._open.remove(block)
        told = b'{"type":"content_block_stop","index":%d}' % self._places[block][0]
        return WireEvent(told, "content_block_stop")

    def _passed_on(self, event: DataEvent) -> Sequence[WireEvent]:
        """Return a provider's own event, which clients ignore if they do not know it; keep what is for the end."""
        if event.name == "message_delta":
            self._more = _more_of_the_end(event.data)
        if event.name in _OWN_NAMES or not event.name.isprintable() or self._begun_by is not None:
            return ()  # a reader who is not told a discarded block may not have the head yet, if that came with it
        data = blocks.with_type(bytes(event.data), event.name)
        return [*self._head(), WireEvent(data, event.name)]

    def _end(self, event: EndEvent) -> Sequence[WireEvent]:
        """Return the rest of the message, or the error."""
        if event.status == "failed":
            error = self._error or ErrorEvent("internal", "the answer failed", retryable=True)
            kind = event.stop_reason if error.code == "provider_error" else None
            return (WireEvent(_encode(error_body(error.code, error.message, kind)), "error"),)
        delta = {"stop_reason": stop_reason(event), "stop_sequence": event.stop_sequence, **self._more}
        told = {"type": "message_delta", "delta": delta, "usage": usage_body(event.usage)}
        closed = [self._closed(block) for block in list(self._open)]
        return [*self._head(), *closed, WireEvent(_encode(told), "message_delta"), _STOP]


def message_id(stream_id: str) -> str:
    """Return the id of a stream's message."""
    return f"msg_{stream_id}"


def stop_reason(end: EndEvent) -> str:
    """Return why an answer ended, in the API's words where it has any."""
    if end.status == "cancelled":
        return "cancelled"
    if end.stop_reason == "stream_too_long":
        return "max_tokens"  # the nearest there is: the answer came to a limit and was cut off
    return end.stop_reason or "end_turn"


def usage_body(usage: Usage) -> dict[str, int]:
    """Return the tokens used under the API's names."""
    return {
        "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens,
    }


def whole(stream_id: str, record: Record, answer: Answer) -> Body:
    """Return the message of an answer that has ended; of one that failed, the error."""
    end = answer.end or EndEvent("incomplete", usage=answer.usage)
    if end.status == "failed":
        error = answer.error or ErrorEvent("internal", "the answer failed", retryable=True)
        return error_body(error.code, error.message, end.stop_reason if error.code == "provider_error" else None)
    return {
        "id": message_id(stream_id),
        "type": "message",
        "role": "assistant",
        "model": record.model,
        "content": [blocks.whole(block) for block in answer.blocks],
        "stop_reason": stop_reason(end),
        "stop_sequence": end.stop_sequence,
        "usage": usage_body(end.usage),
        **_more_of_the_end(answer.asides.get("message_delta", b"{}")),
    }


def _more_of_the_end(raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return what the provider's own ``message_delta`` says of the end beside what every provider says."""
    try:
        told = _last_delta.decode(raw).delta
    except msgspec.DecodeError:  # of another provider's, and something else
        return {}
    return {name: told[name] for name in _MORE_OF_THE_END if name in told}


ANTHROPIC = Dialect("anthropic", MessagesProjection, whole)
