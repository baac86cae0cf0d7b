"""Chat Completions SSE bytes in, canonical events out. Pure: no clock, no network."""

from __future__ import annotations

import msgspec

from shared.errors import ProviderError
from shared.events import Event
from worker.llm import Call, Finish
from worker.providers import chat_wire as wire
from worker.providers import failures
from worker.providers.sse_decoder import SseDecoder
from worker.providers.telling import given

_TEXT, _THOUGHT = "text", "thought"
_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


class ChatDecoder(SseDecoder):
    """Decodes one answer. Feed it every chunk; it is done when ``finished`` is true, and cut if that never happens.

    The wire says neither where a block begins nor where it ends: a text and a thought end where something else
    begins, tool calls, of which pieces may come mixed, at the answer's end. What a model says in refusing is text.
    """

    def __init__(self, call: Call) -> None:
        """Take the call whose answer this is."""
        super().__init__(call)
        self._reason: str | None = None
        self._stop_sequence: str | None = None
        self._refused = False
        self._calls: dict[int, int] = {}
        """The wire's number of a tool call -> the key of the call that its pieces belong to now."""

    def at_end(self) -> list[Event | Finish]:
        """Return the finish where the answer had one: some servers leave ``[DONE]`` out."""
        if self._reason is not None:
            self._finish()
        return self._telling.take()

    def _on_event(self, _name: str, data: bytes) -> None:
        if data == b"[DONE]":
            self._finish()
        else:
            self._on_chunk(wire.chunk.decode(data))

    def _on_chunk(self, chunk: wire.Chunk) -> None:
        if given(chunk.error):
            assert isinstance(chunk.error, msgspec.Raw)
            raise _told(wire.error.decode(chunk.error))
        telling = self._telling
        telling.step(chunk.id, chunk.model)
        for choice in chunk.choices or ():
            if choice.index == 0:
                if choice.delta is not None:
                    self._on_delta(choice.delta)
                if choice.finish_reason is not None:
                    telling.begun = True
                    self._reason = choice.finish_reason
                    self._stop_sequence = choice.stop_reason if isinstance(choice.stop_reason, str) else None
        if chunk.usage is not None:
            telling.tell_usage(chunk.usage.usage())

    def _on_delta(self, delta: wire.Delta) -> None:
        telling = self._telling
        if thought := delta.reasoning_content or delta.reasoning:
            telling.close(_TEXT)
            telling.thinking(_THOUGHT, thought)
        if delta.refusal:
            self._refused = True
        if text := delta.content or delta.refusal:
            telling.close(_THOUGHT)
            telling.text(_TEXT, text)
        if delta.tool_calls:
            telling.close(_THOUGHT)
            telling.close(_TEXT)
            for call in delta.tool_calls:
                self._on_tool_call(call)
        for name, data in (("annotations", delta.annotations), ("reasoning_details", delta.reasoning_details)):
            if given(data):
                assert isinstance(data, msgspec.Raw)
                telling.event(name, data)

    def _on_tool_call(self, call: wire.ToolCall) -> None:
        """Take in a piece of a tool call. Servers that do not number their calls still give each its own id."""
        telling, function = self._telling, call.function or wire.Function()
        index = call.index or 0
        key = self._calls.get(index)
        opened = None if key is None else telling.open[key]
        if opened is None or (function.name and call.id and call.id != opened.id):
            if not function.name:
                raise failures.malformed()
            key = self._calls[index] = telling.tools
            telling.tool(key, call.id, function.name)
        assert key is not None
        telling.arguments(key, function.arguments or "")

    def _finish(self) -> None:
        reason = self._reason
        if reason is None and not self._telling.begun:
            raise failures.cut()  # an end of nothing
        stop_reason = _REASONS.get(reason or "stop", reason)
        if self._refused:
            stop_reason = "refusal"
        elif stop_reason == "end_turn" and self._telling.tools:
            stop_reason = "tool_use"
        elif stop_reason == "end_turn" and self._stop_sequence is not None:
            stop_reason = "stop_sequence"
        self._telling.finish(stop_reason, self._stop_sequence if stop_reason == "stop_sequence" else None)


def _told(error: wire.WireError | str) -> ProviderError:
    if isinstance(error, str):
        return failures.told_in_stream("", error)
    return failures.told_in_stream(error.type or "", error.message, error.code)
