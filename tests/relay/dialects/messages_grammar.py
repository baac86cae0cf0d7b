"""The grammar of an Anthropic Messages stream: checks one event after the other, and adds up the message.

The sum is made as the official SDKs make it, so that a stream that they would misread fails here too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from relay.dialects.dialect import WireEvent

_BLOCK_TYPES = {"text_delta": ("text",), "thinking_delta": ("thinking",), "signature_delta": ("thinking",)}
_USAGE = {"input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"}


class MessagesGrammar:
    """Feed it all events of one stream, then ``ended`` says whether it has come to an end, and ``message`` what to."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self.message: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.ended = False
        self._open: set[int] = set()
        self._json: dict[int, str] = {}

    def feed_all(self, events: Iterable[WireEvent]) -> MessagesGrammar:
        """Take in several events. Raises ``AssertionError`` at the first that is out of place."""
        for event in events:
            self.feed(event.name, event.data)
        return self

    def feed(self, name: str, data: bytes) -> None:
        """Take in one event. Raises ``AssertionError`` if it may not come here."""
        assert b"\n" not in data
        assert b"\r" not in data
        assert not self.ended, f"{name} after the end"
        told = json.loads(data)
        assert told["type"] == name
        if name == "error":
            assert {"type", "message"} <= told["error"].keys()
            self.error, self.ended = told["error"], True
        elif name == "message_start":
            self._start(told)
        else:
            assert self.message is not None, f"{name} before message_start"
            handle = getattr(self, f"_on_{name}", None)
            if handle is not None:
                handle(told)

    def _start(self, told: dict[str, Any]) -> None:
        assert self.message is None, "a second message_start"
        message = told["message"]
        assert message["content"] == []
        assert message["stop_reason"] is None
        assert message["usage"].keys() == _USAGE
        self.message = message

    def _on_content_block_start(self, told: dict[str, Any]) -> None:
        assert self.message is not None
        assert self.message["stop_reason"] is None
        assert told["index"] == len(self.message["content"]), "indices are contiguous"
        assert told["content_block"]["type"]
        self.message["content"].append(told["content_block"])
        self._open.add(told["index"])
        self._json[told["index"]] = ""

    def _on_content_block_delta(self, told: dict[str, Any]) -> None:
        assert self.message is not None
        assert told["index"] in self._open, "a delta of a block that is not open"
        block, delta = self.message["content"][told["index"]], told["delta"]
        assert block["type"] in _BLOCK_TYPES.get(delta["type"], (block["type"],))
        if delta["type"] in ("text_delta", "thinking_delta"):
            block[block["type"]] += delta[block["type"]]
        elif delta["type"] == "signature_delta":
            block["signature"] = delta["signature"]
        elif delta["type"] == "input_json_delta":
            self._json[told["index"]] += delta["partial_json"]
        elif delta["type"] == "citations_delta":
            block.setdefault("citations", []).append(delta["citation"])
        else:
            block.update({name: value for name, value in delta.items() if name != "type"})

    def _on_content_block_stop(self, told: dict[str, Any]) -> None:
        assert self.message is not None
        self._open.remove(told["index"])
        if text := self._json[told["index"]]:
            try:
                arguments = json.loads(text)
            except ValueError:
                arguments = {"INVALID_JSON": text}
            self.message["content"][told["index"]]["input"] = arguments

    def _on_message_delta(self, told: dict[str, Any]) -> None:
        assert self.message is not None
        assert not self._open, "the end comes after every block's stop"
        assert self.message["stop_reason"] is None, "a second message_delta"
        assert told["delta"]["stop_reason"]
        assert told["usage"].keys() == _USAGE
        self.message |= told["delta"]
        self.message["usage"] = told["usage"]

    def _on_message_stop(self, _told: dict[str, Any]) -> None:
        assert self.message is not None
        assert self.message["stop_reason"] is not None, "message_stop without message_delta"
        self.ended = True
