"""OpenAI's Chat Completions, as the local provider speaks it; thoughts are told as vLLM and llama.cpp do. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from tests.messages_script import Frame, Script, pieces_of
from tests.wire import Body, Wire, text_of

_REASONS = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}
_TYPES = {"overloaded_error": ("server_error", "server_is_overloaded")}
_ARGUMENT_CHARS = 5


def _frames(script: Script, body: Body, said: str) -> Iterator[Frame]:
    """Yield the frames of an answer. Pieces of several tool calls come mixed."""
    yield _delta(body, {"role": "assistant", "content": None})
    for number in range(0 if said else script.thinking):
        yield _delta(body, {"reasoning_content": f"t{number} "})
    room = body.get("max_completion_tokens") or body["max_tokens"]
    pieces, limited = pieces_of(script, room, said)
    for number, text in pieces:
        yield _delta(body, {"content": text}, number)
    tools = () if limited else script.tools
    for at, tool in enumerate(tools):
        function = {"name": tool["name"], "arguments": ""}
        yield _delta(
            body, {"tool_calls": [{"index": at, "id": f"call_{at}", "type": "function", "function": function}]}
        )
    for row in zip_longest(*(arguments(tool) for tool in tools)):
        for at, piece in enumerate(row):
            if piece is not None:
                yield _delta(body, {"tool_calls": [{"index": at, "function": {"arguments": piece}}]})
    reason = script.stop_reason or ("max_tokens" if limited else "tool_use" if tools else "end_turn")
    yield _chunk(body, {"choices": [{"index": 0, "delta": {}, "finish_reason": _REASONS[reason]}]})
    if body.get("stream_options", {}).get("include_usage"):
        usage = {
            "prompt_tokens": 14,
            "completion_tokens": len(pieces) + 1,
            "prompt_tokens_details": {"cached_tokens": 3},
        }
        yield _chunk(body, {"choices": [], "usage": usage})
    yield Frame(b"data: [DONE]\n\n")


def arguments(tool: dict[str, Any]) -> list[str]:
    """Return the pieces in which a tool call's arguments are told."""
    text = json.dumps(tool["input"])
    return [text[at : at + _ARGUMENT_CHARS] for at in range(0, len(text), _ARGUMENT_CHARS)]


def _delta(body: Body, delta: dict[str, Any], number: int | None = None) -> Frame:
    return _chunk(body, {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}, number)


def _chunk(body: Body, more: dict[str, Any], number: int | None = None) -> Frame:
    chunk = {"id": "chatcmpl-local", "object": "chat.completion.chunk", "created": 1, "model": body["model"], **more}
    return Frame(b"data: " + json.dumps(chunk).encode() + b"\n\n", number)


def _turns(body: Body) -> list[tuple[str, str]]:
    return [(one["role"], text_of(one["content"])) for one in body["messages"] if one["role"] != "system"]


def error(script: Script) -> Body:
    """Return an error as OpenAI words it."""
    kind, code = _TYPES.get(script.error_type, (script.error_type, None))
    code = (script.error_details or {}).get("error_code", code)
    return {"error": {"message": script.error_message, "type": kind, "param": None, "code": code}}


def _error_frame(script: Script) -> bytes:
    return b"data: " + json.dumps(error(script)).encode() + b"\n\n"


CHAT = Wire("chat", "/v1/chat/completions", _frames, _turns, error, _error_frame)
