"""The OpenAI Chat Completions dialect: a stream as ``chat.completion.chunk`` frames, or whole as one completion.

What this format has no word for is left out, and stays in the native log: signatures of thinking, citations, what
tools did on the provider's side. It cannot take back what it told either. The answer's text blocks are one text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from relay.dialects.chat_parts import finish_reason, told_call_id, usage_body
from relay.dialects.dialect import Body, Dialect, WireEvent
from relay.dialects.openai_errors import openai_code, openai_error
from shared.answer import Answer
from shared.errors import TailraceError
from shared.events import (
    BlockKind,
    BlockStartEvent,
    BlockStopEvent,
    DeltaEvent,
    EndEvent,
    ErrorEvent,
    Event,
    StartEvent,
)
from shared.record import Record

_encode = msgspec.json.encode
_TEXT_FIELDS: dict[BlockKind, str] = {"text": "content", "thinking": "reasoning_content"}
"""``reasoning_content`` is what vLLM, llama.cpp and DeepSeek call it; OpenAI's own API tells no thinking here."""
_DONE = WireEvent(b"[DONE]")


class ChatProjection:
    """See ``Projection``. The first chunk, with the role, comes with the start event, before there is any token."""

    def __init__(self, stream_id: str, *, include_usage: bool) -> None:
        """Tell the stream ``stream_id``; with ``include_usage`` as ``stream_options.include_usage`` has it told."""
        self._stream_id = stream_id
        self._include_usage = include_usage
        self._head = b""
        self._tail = b',"usage":null}' if include_usage else b"}"
        self._kinds: dict[int, BlockKind] = {}
        self._calls: dict[int, int] = {}
        """The place among the answer's tool calls of each ``tool_use`` block."""
        self._without_arguments: set[int] = set()
        self._error: ErrorEvent | None = None
        """Told with the end, which follows it: there is no frame for the end of an answer that failed."""

    def feed(self, event: Event, t_ms: int) -> Sequence[WireEvent]:  # noqa: ARG002 - when makes no difference here
        """See ``Projection.feed``."""
        match event:
            case DeltaEvent():
                return self._delta(event)
            case BlockStartEvent():
                return self._open(event)
            case BlockStopEvent():
                return self._close(event.block)
            case StartEvent():
                return self._start(event)
            case ErrorEvent():
                self._error = event
            case EndEvent():
                return self._end(event)
            case _:
                pass
        return []

    def discard(self, keep_blocks: int) -> Sequence[WireEvent] | None:
        """See ``Projection.discard``: a delta told cannot be taken back."""
        self._kinds = {block: kind for block, kind in self._kinds.items() if block < keep_blocks}
        self._calls = {block: place for block, place in self._calls.items() if block < keep_blocks}
        self._without_arguments &= self._calls.keys()
        return None

    def fail(self, error: TailraceError) -> Sequence[WireEvent]:
        """See ``Projection.fail``: the SDKs raise at a frame with ``error``; ``[DONE]`` would say all went well."""
        return [_error(openai_error(error))]

    def _start(self, event: StartEvent) -> list[WireEvent]:
        fields = {
            "id": f"chatcmpl-{self._stream_id}",
            "object": "chat.completion.chunk",
            "created": event.created_ms // 1000,
            "model": event.model,
        }
        self._head = _encode(fields)[:-1] + b',"choices":['
        return [self._chunk({"role": "assistant", "content": ""})]

    def _open(self, event: BlockStartEvent) -> list[WireEvent]:
        self._kinds[event.block] = event.kind
        if event.kind != "tool_use":
            return []
        place = self._calls[event.block] = len(self._calls)
        self._without_arguments.add(event.block)
        function = {"name": event.name or "", "arguments": ""}
        call_id = told_call_id(self._stream_id, event.block, event.id)
        call = {"index": place, "id": call_id, "type": "function", "function": function}
        return [self._chunk({"tool_calls": [call]})]

    def _delta(self, event: DeltaEvent) -> list[WireEvent]:
        kind = self._kinds.get(event.block, "data")
        if event.text and (field := _TEXT_FIELDS.get(kind)):
            return [self._chunk({field: event.text})]
        if event.json and kind == "tool_use":
            self._without_arguments.discard(event.block)
            return [self._arguments(event.block, event.json)]
        return []

    def _close(self, block: int) -> list[WireEvent]:
        """Give a call that was told no arguments an empty object: clients parse what they have, and text it is not."""
        if block not in self._without_arguments:
            return []
        self._without_arguments.discard(block)
        return [self._arguments(block, "{}")]

    def _end(self, event: EndEvent) -> list[WireEvent]:
        if self._error is not None:
            error = {"message": self._error.message, "type": "server_error", "param": None}
            return [_error(error | {"code": openai_code(self._error.code)})]
        told = [self._chunk({}, finish_reason(event))]
        if self._include_usage:
            usage = _encode(usage_body(event.usage))
            told.append(WireEvent(self._head + b'],"usage":' + usage + b"}"))
        return [*told, _DONE]

    def _arguments(self, block: int, piece: str) -> WireEvent:
        return self._chunk({"tool_calls": [{"index": self._calls[block], "function": {"arguments": piece}}]})

    def _chunk(self, delta: Body, reason: str | None = None) -> WireEvent:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return WireEvent(self._head + _encode(choice) + b"]" + self._tail)


def _error(error: Body) -> WireEvent:
    return WireEvent(_encode({"error": error}))


def completion(stream_id: str, record: Record, answer: Answer) -> Body:
    """Return the ``chat.completion`` of an answer that has ended; its usage is always told."""
    assert answer.end is not None
    calls = [
        {
            "id": told_call_id(stream_id, block.block, block.id),
            "type": "function",
            "function": {"name": block.name or "", "arguments": block.json or ("{}" if block.complete else "")},
        }
        for block in answer.blocks
        if block.kind == "tool_use"
    ]
    message: Body = {"role": "assistant", "content": answer.text or (None if calls else ""), "refusal": None}
    if thoughts := "".join(block.text for block in answer.blocks if block.kind == "thinking"):
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(answer.end)}
    return {
        "id": f"chatcmpl-{stream_id}",
        "object": "chat.completion",
        "created": record.created_ms // 1000,
        "model": record.model,
        "choices": [choice],
        "usage": usage_body(answer.end.usage),
    }


def chat_dialect(*, include_usage: bool) -> Dialect:
    """Return the dialect, with or without usage. Both number their wire events alike up to the usage itself."""
    name = "openai-chat-usage" if include_usage else "openai-chat"
    return Dialect(name, partial(ChatProjection, include_usage=include_usage), completion)


CHAT = chat_dialect(include_usage=False)
CHAT_WITH_USAGE = chat_dialect(include_usage=True)
