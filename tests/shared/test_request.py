"""Requests: everything a client may say is checked once, strictly, and nothing is dropped or changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.request import CancelAfter, StreamRequest
from tests.support_events import JSON_VALUES, TEXTS

HELLO = [{"role": "user", "content": "Hello"}]
BLOCK = {"type": "text", "text": "Hello"}
FULL: dict[str, Any] = {
    "model": "claude-sonnet-5-5",
    "provider": "anthropic",
    "messages": [*HELLO, {"role": "assistant", "content": [BLOCK]}],
    "system": [BLOCK],
    "max_tokens": 100,
    "temperature": 1,
    "top_p": 0.5,
    "stop": ["END"],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "tools": [{"name": "t", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"},
    "provider_options": {"service_tier": "auto", "deep": [{"x": 1}]},
    "metadata": {"user": "u1"},
    "when_abandoned": {"cancel_after_s": 30},
    "on_interruption": "restart",
    "max_delay_ms": 50,
}


def parse(body: object) -> StreamRequest:
    """Return the request in ``body`` as the relay reads it: from JSON."""
    return StreamRequest.model_validate_json(json.dumps(body))


def test_a_question_is_enough() -> None:
    """Everything else has a default: keep going when nobody reads, continue after a crash, hold nothing back."""
    request = parse({"messages": HELLO})
    assert (request.when_abandoned, request.on_interruption, request.max_delay_ms) == ("continue", None, None)
    assert request.options() == {}
    assert request.model is None


def test_everything_can_be_said_at_once() -> None:
    """All documented fields together, read back as they were given."""
    request = parse(FULL)
    assert json.loads(request.model_dump_json()) == FULL
    assert request.when_abandoned == CancelAfter(cancel_after_s=30)


@given(st.dictionaries(TEXTS, JSON_VALUES, max_size=4), TEXTS.filter(bool))
def test_what_the_record_keeps_is_what_the_client_said(block: dict[str, Any], text: str) -> None:
    """The worker reads the record; blocks that we know nothing of come through unchanged."""
    request = parse({"messages": [{"role": "user", "content": [block]}, {"role": "user", "content": text}]})
    again = StreamRequest.model_validate_json(request.model_dump_json(exclude_none=True))
    assert again == request
    assert again.messages[0].content == [block]
    assert again.messages[1].content == text


def test_options_are_what_goes_to_the_provider() -> None:
    """Only what was given, and nothing that is ours."""
    names = ("system", "temperature", "top_p", "stop", "thinking", "tools", "tool_choice", "provider_options")
    assert parse(FULL).options() == {name: FULL[name] for name in names}
    assert parse({"messages": HELLO, "temperature": 0}).options() == {"temperature": 0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"messages": "Hello"},
        {"messages": None},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": ["x"]}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": "x", "name": "y"}]},
        {"message": "x"},
        {"stream": True},
        {"model": ""},
        {"model": "m" * 257},
        {"model": 5},
        {"system": ""},
        {"max_tokens": 0},
        {"max_tokens": -1},
        {"max_tokens": 1.5},
        {"max_tokens": "100"},
        {"max_tokens": True},
        {"temperature": -0.1},
        {"temperature": 2.1},
        {"temperature": "1"},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": 1.1},
        {"stop": "END"},
        {"stop": [""]},
        {"stop": ["x"] * 17},
        {"thinking": True},
        {"tools": {"name": "t"}},
        {"tools": ["t"]},
        {"tools": [{}] * 1001},
        {"tools": [{"name": "t", "deep": [{"x": float("nan")}]}]},
        {"messages": [{"role": "user", "content": [{"x": float("inf")}]}]},
        {"provider_options": [1]},
        {"provider_options": {"x": float("nan")}},
        {"metadata": {"user": 1}},
        {"metadata": {"": "x"}},
        {"metadata": {"user": "x" * 1025}},
        {"metadata": {str(number): "x" for number in range(33)}},
        {"when_abandoned": "later"},
        {"when_abandoned": {}},
        {"when_abandoned": {"cancel_after_s": -1}},
        {"when_abandoned": {"cancel_after_s": 86_401}},
        {"when_abandoned": {"cancel_after_s": 5, "then": "x"}},
        {"on_interruption": "retry"},
        {"max_delay_ms": -1},
        {"max_delay_ms": 1001},
    ],
    ids=lambda wrong: json.dumps(wrong)[:50],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    """Wrong types, unknown fields, empty texts, values out of range: refused at the edge, before anything is spent."""
    with pytest.raises(ValidationError):
        parse({"messages": HELLO} | wrong)


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '"x"', "\x00", '{"messages":[{"role":"user","content":"\\ud800"}]}']
)
def test_what_is_no_json_object_is_refused(body: str) -> None:
    """Nothing but a validation error comes of it, half a surrogate pair included."""
    with pytest.raises(ValidationError):
        StreamRequest.model_validate_json(body)


def test_json_that_is_nested_without_end_is_refused() -> None:
    """A small body must not exhaust the stack."""
    with pytest.raises(ValidationError):
        StreamRequest.model_validate_json('{"messages":[{"role":"user","content":[{"a":' + "[" * 100_000)


def test_a_request_cannot_be_changed() -> None:
    """What was validated is what runs."""
    with pytest.raises(ValidationError):
        parse({"messages": HELLO}).max_tokens = 5  # type: ignore[misc]
