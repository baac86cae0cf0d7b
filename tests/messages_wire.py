"""The Anthropic Messages API, as the local provider speaks it."""

from __future__ import annotations

from typing import Any

from tests.messages_script import Script, error_body, frame, frames
from tests.wire import Wire, text_of

_NO_PREFILL = "claude-"
"""Models whose name begins so refuse a prefill, as Claude 4.6 and later do."""


def _problem(body: dict[str, Any]) -> str | None:
    """Return what the API would say is wrong with a request, if anything."""
    messages = body.get("messages")
    if not messages or not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        return "messages and max_tokens are required"
    if body.get("stream") is not True:
        return "this server streams only"
    budget = body.get("thinking", {}).get("budget_tokens", 0)
    if budget >= body["max_tokens"]:
        return "max_tokens must be greater than thinking.budget_tokens"
    for message in messages:
        for block in message["content"] if isinstance(message["content"], list) else []:
            if block.get("type") == "text" and not block["text"].strip():
                return "text content blocks must contain non-whitespace text"
    if messages[-1]["role"] == "assistant":
        if body["model"].startswith(_NO_PREFILL):
            return "This model does not support assistant message prefill."
        if text_of(messages[-1]["content"]) != text_of(messages[-1]["content"]).rstrip():
            return "final assistant content cannot end with trailing whitespace"
    return None


def _turns(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(message["role"], text_of(message["content"])) for message in body["messages"]]


def _error(script: Script) -> dict[str, Any]:
    return error_body(script.error_type, script.error_message, script.error_details)


def _error_frame(script: Script) -> bytes:
    return frame("error", error_body(script.error_type, script.error_message), script.newline).data


MESSAGES = Wire(
    "messages", "/v1/messages", frames, _turns, _error, _error_frame, ping=frame("ping", {}).data, problem=_problem
)
