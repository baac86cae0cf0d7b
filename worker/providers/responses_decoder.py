"""Responses SSE bytes in, canonical events out. Pure: no clock, no network."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from shared.errors import ProviderError
from shared.events import Event
from worker.llm import Call, Finish
from worker.providers import failures
from worker.providers import responses_wire as wire
from worker.providers.sse_decoder import SseDecoder

_SILENT = frozenset(
    (
        *("response.in_progress", "response.queued", "keepalive", "ping"),
        *("response.content_part.added", "response.content_part.done", "response.output_text.done"),
        *("response.refusal.done", "response.function_call_arguments.done", "response.reasoning_text.done"),
        *("response.reasoning_summary_text.done", "response.reasoning_summary_part.done"),
    )
)
"""Events that say nothing new: what is done was told in pieces, and is told whole again at its item's end."""
_REASONS = {"max_output_tokens": "max_tokens", "content_filter": "refusal"}


class ResponsesDecoder(SseDecoder):
    """Decodes one answer. Feed it every chunk; it is done when ``finished`` is true, and cut if that never happens.

    A part of a message is a block, and so is a function's call, and a thought with its summary for text and its
    encrypted content for a signature. Items of other kinds are opaque blocks, told whole at their end.
    """

    def __init__(self, call: Call) -> None:
        """Take the call whose answer this is."""
        super().__init__(call)
        self._refused = False
        self._most_tokens = call.max_tokens
        self._events: dict[str, Callable[[bytes], None]] = {
            "response.output_text.delta": self._on_text,
            "response.function_call_arguments.delta": self._on_arguments,
            "response.reasoning_summary_text.delta": self._on_thought,
            "response.reasoning_text.delta": self._on_thought,
            "response.refusal.delta": self._on_refusal,
            "response.reasoning_summary_part.added": self._on_summary_part,
            "response.output_text.annotation.added": self._on_annotation,
            "response.output_item.added": self._on_item,
            "response.output_item.done": self._on_item_done,
            "response.created": self._on_created,
            "response.completed": self._on_completed,
            "response.incomplete": self._on_incomplete,
            "response.failed": self._on_failed,
            "error": self._on_error,
        }

    def at_end(self) -> list[Event | Finish]:
        """Return nothing: an answer ends by an event, so a body that ends before it was cut."""
        return []

    def _on_event(self, name: str, data: bytes) -> None:
        if data == b"[DONE]":
            return
        if name == "message":
            name = wire.typed.decode(data).type
        handle = self._events.get(name)
        if handle is not None:
            if name != "response.created":
                self._telling.step(None, None)
            handle(data)
        elif name not in _SILENT and data:
            self._telling.step(None, None)
            self._telling.event(name, wire.raw.decode(data))

    def _on_created(self, data: bytes) -> None:
        response = wire.response.decode(data).response
        self._telling.step(response.id, response.model)

    def _on_text(self, data: bytes) -> None:
        piece = wire.piece.decode(data)
        self._telling.text(_part(piece), piece.delta)

    def _on_refusal(self, data: bytes) -> None:
        self._refused = True
        self._on_text(data)

    def _on_thought(self, data: bytes) -> None:
        piece = wire.piece.decode(data)
        self._telling.thinking(_whole(piece), piece.delta)

    def _on_summary_part(self, data: bytes) -> None:
        piece = wire.piece.decode(data)
        if piece.summary_index:
            self._telling.thinking(_whole(piece), "\n\n")

    def _on_arguments(self, data: bytes) -> None:
        piece = wire.piece.decode(data)
        if _whole(piece) not in self._telling.open:
            raise failures.malformed()
        self._telling.arguments(_whole(piece), piece.delta)

    def _on_annotation(self, data: bytes) -> None:
        added = wire.annotation.decode(data)
        key = _part(wire.PieceEvent(added.item_id, added.output_index, added.content_index))
        if key in self._telling.open:
            self._telling.delta(key, added.annotation)
        else:
            self._telling.event("response.output_text.annotation.added", wire.raw.decode(data))

    def _on_item(self, data: bytes) -> None:
        event = wire.item_event.decode(data)
        item = wire.item.decode(event.item)
        key = _key(event.output_index, item.id)
        if item.type == "function_call":
            self._telling.tool(key, item.call_id, item.name or "")
            self._telling.arguments(key, item.arguments or "")
        elif item.type == "reasoning":
            self._telling.thinking(key, "")

    def _on_item_done(self, data: bytes) -> None:
        event = wire.item_event.decode(data)
        item = wire.item.decode(event.item)
        key = _key(event.output_index, item.id)
        match item.type:
            case "message":
                self._message_done(key, item)
            case "function_call":
                self._call_done(key, item)
            case "reasoning":
                self._thought_done(key, item)
            case _:
                self._telling.opaque(item.type, event.item)

    def _message_done(self, key: Hashable, item: wire.Item) -> None:
        """Close a message's texts, telling those that were not told in pieces."""
        for number, part in enumerate(item.content or ()):
            place = (key, number)
            if part.refusal is not None:
                self._refused = True
            if place not in self._telling.open and (text := part.text or part.refusal):
                self._telling.text(place, text)
            self._telling.close(place)
        for place in [one for one in self._telling.open if isinstance(one, tuple) and one[0] == key]:
            self._telling.close(place)

    def _call_done(self, key: Hashable, item: wire.Item) -> None:
        opened = self._telling.open.get(key)
        if opened is None:
            self._telling.tool(key, item.call_id, item.name or "")
            opened = self._telling.open[key]
        if not opened.told:
            self._telling.arguments(key, item.arguments or "")
        self._telling.close(key)

    def _thought_done(self, key: Hashable, item: wire.Item) -> None:
        opened = self._telling.open.get(key)
        if opened is None or not opened.told:
            parts = item.summary or item.content or ()
            self._telling.thinking(key, "\n\n".join(part.text for part in parts if part.text))
        if item.encrypted_content:
            self._telling.signature(key, item.encrypted_content)
        self._telling.close(key)

    def _on_completed(self, data: bytes) -> None:
        self._usage(wire.response.decode(data).response)
        reason = "refusal" if self._refused else "tool_use" if self._telling.tools else "end_turn"
        if reason == "end_turn" and self._telling.usage.output_tokens >= self._most_tokens:
            reason = "max_tokens"  # llama.cpp calls an answer complete that its limit has cut
        self._telling.finish(reason)

    def _on_incomplete(self, data: bytes) -> None:
        response = wire.response.decode(data).response
        self._usage(response)
        reason = response.incomplete_details.reason if response.incomplete_details else None
        self._telling.finish(_REASONS.get(reason or "max_output_tokens", reason))

    def _usage(self, response: wire.Response) -> None:
        if response.usage is not None:
            self._telling.tell_usage(response.usage.usage())

    def _on_failed(self, data: bytes) -> None:
        response = wire.response.decode(data).response
        self._usage(response)
        raise _told(response.error or wire.WireError())

    def _on_error(self, data: bytes) -> None:
        event = wire.error.decode(data)
        raise _told(event.error or wire.WireError(event.message, None, event.code))


def _key(output_index: int | None, item_id: str | None) -> Hashable:
    return item_id if output_index is None else output_index


def _whole(piece: wire.PieceEvent) -> Hashable:
    return _key(piece.output_index, piece.item_id)


def _part(piece: wire.PieceEvent) -> Hashable:
    return (_whole(piece), piece.content_index or 0)


def _told(error: wire.WireError) -> ProviderError:
    return failures.told_in_stream(error.type or "", error.message, error.code)
