"""The grammar of a Responses stream: checks one event after the other, and adds up the response.

Every event must also be one that the types of the official SDK take, and its own accumulator must get through it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from openai import Omit
from openai.lib.streaming.responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from relay.dialects.dialect import WireEvent

_sdk_events: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
_TERMINAL = {
    "response.completed": {"completed"},
    "response.failed": {"failed"},
    "response.incomplete": {"incomplete", "cancelled"},
}
_PIECES = {
    "response.output_text": "text",
    "response.reasoning_summary_text": "text",
    "response.function_call_arguments": "arguments",
}


class ResponsesGrammar:
    """Feed it all events of one stream; ``response`` is what its end says, None before."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self.response: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.numbers: list[int] = []
        self._begun = False
        self._running = False
        self._items: list[dict[str, Any]] = []
        self._done: dict[int, dict[str, Any]] = {}
        self._told: dict[str, str] = {}
        self._parts: set[str] = set()
        self._sdk: ResponseStreamState[None] = ResponseStreamState(input_tools=Omit(), text_format=Omit())

    def feed_all(self, events: Iterable[WireEvent]) -> ResponsesGrammar:
        """Take in several events. Raises ``AssertionError`` at the first that is out of place."""
        for event in events:
            self.feed(event)
        return self

    def feed(self, event: WireEvent) -> None:
        """Take in one event. Raises ``AssertionError`` if it may not come here."""
        assert b"\n" not in event.data
        assert b"\r" not in event.data
        assert self.response is None, f"{event.name} after the end"
        assert self.error is None, f"{event.name} after an error"
        told = json.loads(event.data)
        assert told["type"] == event.name
        assert not told.get("error"), "the SDKs raise on it"
        self._sdk.handle_event(_sdk_events.validate_json(event.data))
        if event.name == "error":
            self.error = told
            return
        self.numbers.append(told["sequence_number"])
        if "response" in told:
            self._lifecycle(event.name, told["response"])
        else:
            assert self._running, f"{event.name} before response.in_progress"
            self._item(event.name, told)

    def _lifecycle(self, name: str, response: dict[str, Any]) -> None:
        if name == "response.created":
            assert not self._begun
            assert response["status"] == "queued"
            self._begun = True
        elif name == "response.in_progress":
            assert self._begun
            assert not self._running
            assert response["status"] == "in_progress"
            self._running = True
        else:
            assert response["status"] in _TERMINAL[name]
            assert len(self._done) == len(self._items), "every item that was added is done"
            assert response["output"] == [self._done[index] for index in range(len(self._items))]
            self.response = response

    def _item(self, name: str, told: dict[str, Any]) -> None:
        index = told["output_index"]
        if name == "response.output_item.added":
            assert index == len(self._items), "indices are contiguous"
            self._items.append(told["item"])
            return
        item = self._items[index]
        assert index not in self._done, f"{name} of an item that is done"
        if name == "response.output_item.done":
            assert item["id"] == told["item"]["id"]
            assert item["id"] not in self._parts, "every part that was added is done"
            self._done[index] = told["item"]
            return
        assert told["item_id"] == item["id"]
        self._content(name, told)

    def _content(self, name: str, told: dict[str, Any]) -> None:
        kind, _, what = name.rpartition(".")
        item = told["item_id"]
        if kind in ("response.content_part", "response.reasoning_summary_part"):
            if what == "added":
                assert told["part"]["text"] == ""
                self._parts.add(item)
            else:
                assert told["part"]["text"] == self._told.get(item, "")
                self._parts.remove(item)
        elif what == "delta":
            assert item in self._parts or kind == "response.function_call_arguments"
            self._told[item] = self._told.get(item, "") + told["delta"]
        else:
            assert told[_PIECES[kind]] == self._told.get(item, ""), "the whole is the sum of its deltas"
