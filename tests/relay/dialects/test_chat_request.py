"""Chat Completions requests as canonical ones: everything that can be said, and a refusal by name for the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dialects.chat_body import ChatBody
from relay.dialects.chat_request import canonical_request
from relay.parsing import checked
from shared.errors import InvalidRequestError
from shared.expressible import refuse_unsupported
from shared.models import Model
from shared.request import StreamRequest
from tests.support_events import JSON_VALUES

CLAUDE = Model(provider="anthropic", upstream="claude-opus-5-5", max_tokens=32_000)
OLD_CLAUDE = Model(provider="anthropic", upstream="claude-haiku-4-5", max_tokens=32_000)
OPENAI = Model(provider="openai", max_tokens=32_000)
RESPONSES = Model(provider="openai", api="responses", max_tokens=32_000)
GEMINI = Model(provider="google", max_tokens=32_000)
SIM = Model(provider="sim")
EVERY = [CLAUDE, OLD_CLAUDE, OPENAI, RESPONSES, GEMINI, SIM]
HELLO: dict[str, Any] = {"role": "user", "content": "Hello"}
LOOK: dict[str, Any] = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
PIXEL = "data:image/png;base64,aGVsbG8="


def parsed(model: Model = SIM, /, **fields: Any) -> StreamRequest:
    """Return the canonical request of a body with these fields, which the model's upstream can be told."""
    body = checked(ChatBody, {"model": "m", "messages": [HELLO]} | fields)
    request = canonical_request(body, model, 32_000)
    refuse_unsupported(model, request)
    return request


def talk(*messages: dict[str, Any], model: Model = SIM) -> list[dict[str, Any]]:
    """Return the canonical messages of a conversation."""
    return [message.model_dump() for message in parsed(model, messages=list(messages)).messages]


def refusal(model: Model = SIM, /, **fields: Any) -> str | None:
    """Return the field by which such a request is refused."""
    with pytest.raises(InvalidRequestError) as caught:
        parsed(model, **fields)
    assert caught.value.field is not None
    assert caught.value.field in caught.value.message
    return caught.value.field


def test_plain_fields_keep_their_meaning() -> None:
    """Each under the name that the canonical request has for it."""
    request = parsed(
        max_completion_tokens=7,
        temperature=1.5,
        top_p=0.5,
        stop="end",
        metadata={"a": "b"},
        user="u1",
        when_abandoned="cancel",
        on_interruption="fail",
        max_delay_ms=20,
    )
    assert request.model == "m"
    assert request.max_tokens == 7
    assert request.temperature == 1.5
    assert request.top_p == 0.5
    assert request.stop == ["end"]
    assert request.metadata == {"a": "b", "user": "u1"}
    assert (request.when_abandoned, request.on_interruption, request.max_delay_ms) == ("cancel", "fail", 20)
    assert parsed(max_tokens=8, stop=["a", "b"]).stop == ["a", "b"]
    assert parsed(max_tokens=8).max_tokens == parsed(max_tokens=8, max_completion_tokens=8).max_tokens == 8


@pytest.mark.parametrize("model", EVERY, ids=lambda model: f"{model.provider}-{model.api}")
def test_what_changes_nothing_is_taken_by_every_model(model: Model) -> None:
    """Programs send defaults and nulls that they do not mean."""
    idle: dict[str, Any] = {
        "n": 1,
        "stream": None,
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "logprobs": False,
        "top_logprobs": None,
        "store": False,
        "modalities": ["text"],
        "service_tier": "auto",
        "response_format": {"type": "text"},
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "seed": None,
        "functions": None,
    }
    assert parsed(model, **idle) == parsed(model)


def test_instructions_come_first_or_stay_where_they_are() -> None:
    """The first, however many, are one; empty ones say nothing."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}, {"type": "text", "text": ""}]},
        {"role": "system", "content": ""},
        HELLO,
    ]
    assert parsed(messages=messages).system == "Be brief.\n\nBe kind."
    late = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert talk(HELLO, messages[0], HELLO) == [HELLO, late, HELLO]
    assert refusal(GEMINI, messages=[HELLO, messages[0]]) == "messages.1.role"
    assert refusal(messages=messages[:2]) == "messages"


def test_a_conversation_with_tools() -> None:
    """Calls and results are blocks; the results of one turn are one message."""
    calls = [
        {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"at": [1, {"x": null}]}'}},
        {"id": "b", "type": "function", "index": 1, "function": {"name": "wait", "arguments": ""}},
    ]
    messages = talk(
        HELLO,
        {"role": "assistant", "content": "Let me see.", "refusal": None, "annotations": [], "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "sunny"},
        {"role": "tool", "tool_call_id": "b", "name": "wait", "content": [{"type": "text", "text": "done"}]},
        {"role": "assistant", "content": "", "tool_calls": [calls[0]]},
        {"role": "tool", "tool_call_id": "a", "content": ""},
        HELLO,
    )
    assert messages == [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "a", "name": "look", "input": {"at": [1, {"x": None}]}},
                {"type": "tool_use", "id": "b", "name": "wait", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "sunny"}]},
                {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "done"}]},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "a", "name": "look", "input": {"at": [1, {"x": None}]}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
        {"role": "user", "content": "Hello"},
    ]


def test_an_answer_of_ours_can_be_sent_back_as_it_came() -> None:
    """Thinking goes to models whose API has a place for it without its signature; an empty answer is none."""
    told = {"role": "assistant", "content": "Yes", "reasoning_content": "hm", "refusal": None}
    assert talk(HELLO, told, HELLO)[1]["content"] == [{"type": "text", "text": "Yes"}]
    thought = {"type": "thinking", "thinking": "hm", "signature": ""}
    assert talk(HELLO, told, HELLO, model=OPENAI)[1]["content"] == [thought, {"type": "text", "text": "Yes"}]
    empty = {"role": "assistant", "content": "", "refusal": None}
    assert talk(HELLO, empty, HELLO) == [HELLO, HELLO]


def test_parts_of_a_user_are_blocks() -> None:
    """Text, images by address and by content, and PDF documents."""
    (message,) = talk(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What are these?"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "auto"}},
                {"type": "image_url", "image_url": {"url": PIXEL}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
            ],
        }
    )
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
    assert message["content"] == [
        {"type": "text", "text": "What are these?"},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}},
        {"type": "document", "source": pdf, "title": "a.pdf"},
    ]


def test_tools_and_which_of_them_to_call() -> None:
    """In the canonical words for them."""
    request = parsed(
        tools=[
            {"type": "function", "function": {"name": "look", "description": "Look.", "strict": True}},
            LOOK,
        ],
        tool_choice={"type": "function", "function": {"name": "look"}},
        parallel_tool_calls=False,
    )
    assert request.tools == [
        {
            "name": "look",
            "input_schema": {"type": "object", "properties": {}},
            "description": "Look.",
            "strict": True,
        },
        {"name": "look", "input_schema": {"type": "object"}},
    ]
    assert request.tool_choice == {"type": "tool", "name": "look", "disable_parallel_tool_use": True}
    for said, told in (("none", "none"), ("auto", "auto"), ("required", "any")):
        assert parsed(tools=[LOOK], tool_choice=said).tool_choice == {"type": told}
    assert parsed(tools=[LOOK], parallel_tool_calls=False).tool_choice == {
        "type": "auto",
        "disable_parallel_tool_use": True,
    }
    assert parsed(tool_choice="none").tool_choice is None


@pytest.mark.parametrize(
    ("model", "fields", "options"),
    [
        (OPENAI, {"seed": 1, "top_k": 5, "store": True}, {"seed": 1, "top_k": 5, "store": True}),
        (OPENAI, {"user": "u", "reasoning_effort": "xhigh"}, {"user": "u", "reasoning_effort": "xhigh"}),
        (RESPONSES, {"verbosity": "low"}, {"text": {"verbosity": "low"}}),
        (RESPONSES, {"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}}),
        (GEMINI, {"seed": 1}, {"generationConfig": {"seed": 1}}),
        (CLAUDE, {"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
    ],
)
def test_fields_of_the_provider_go_to_it(model: Model, fields: dict[str, Any], options: dict[str, Any]) -> None:
    """Under the names that its own API has for them."""
    assert parsed(model, **fields).provider_options == options


def test_a_schema_for_the_answer_is_told_as_each_provider_has_it() -> None:
    """And refused where there is nothing like it."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    asked = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    said = {"name": "n", "schema": schema, "strict": True}
    as_told = {
        "anthropic": {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        "openai": {"response_format": asked},
        "google": {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": schema}},
    }
    for model in (CLAUDE, OPENAI, GEMINI):
        assert parsed(model, response_format=asked).provider_options == as_told[model.provider]
    told = parsed(RESPONSES, response_format=asked, verbosity="low").provider_options
    assert told == {"text": {"verbosity": "low", "format": {"type": "json_schema", **said}}}
    json_object = {"type": "json_object"}
    assert parsed(OPENAI, response_format=json_object).provider_options == {"response_format": json_object}
    assert refusal(CLAUDE, response_format=json_object) == "response_format.type"
    assert refusal(SIM, response_format=asked) == "response_format.type"
    assert refusal(OPENAI, response_format={"type": "json_schema"}) == "response_format.json_schema"


def test_effort_is_told_as_each_model_has_it() -> None:
    """By a word, or by tokens, of which half are left for the answer."""
    claude = parsed(CLAUDE, reasoning_effort="minimal")
    assert claude.thinking == {"type": "adaptive", "display": "summarized"}
    assert claude.provider_options == {"output_config": {"effort": "low"}}
    old = parsed(OLD_CLAUDE, reasoning_effort="medium")
    assert old.thinking == {"type": "enabled", "budget_tokens": 8192}
    assert old.max_tokens == 32_000
    assert parsed(OLD_CLAUDE, reasoning_effort="high", max_tokens=4000).thinking == {
        "type": "enabled",
        "budget_tokens": 2000,
    }
    assert parsed(CLAUDE, reasoning_effort="none").thinking == {"type": "disabled"}
    assert parsed(RESPONSES, reasoning_effort="low").thinking == {"type": "enabled", "budget_tokens": 1024}
    assert refusal(OLD_CLAUDE, reasoning_effort="low", max_tokens=100) == "reasoning_effort"
    silent = Model(provider="openai", thinking="none")
    assert refusal(silent, reasoning_effort="low") == "reasoning_effort"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": []}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"max_tokens": "1"}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [LOOK], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
        ({"tools": [LOOK], "tool_choice": {"type": "function"}}, "tool_choice.function.name"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"metadata": {"a": 1}}, "metadata.a"),
    ],
)
@pytest.mark.parametrize("model", [OPENAI, SIM], ids=lambda model: str(model.provider))
def test_what_cannot_be_had_is_refused_by_name(model: Model, fields: dict[str, Any], named: str) -> None:
    """Also for a provider of the same family: its effect could not be told back."""
    assert refusal(model, **fields) == named


@pytest.mark.parametrize(
    ("model", "fields", "named"),
    [
        (CLAUDE, {"temperature": 1.5}, "temperature"),
        (CLAUDE, {"seed": 1}, "seed"),
        (CLAUDE, {"verbosity": "low"}, "verbosity"),
        (RESPONSES, {"logit_bias": {"1": 2}}, "logit_bias"),
        (GEMINI, {"service_tier": "flex"}, "service_tier"),
        (GEMINI, {"tools": [LOOK], "parallel_tool_calls": False}, "parallel_tool_calls"),
        (
            GEMINI,
            {"tools": [{"type": "function", "function": {"name": "a", "strict": True}}]},
            "tools.0.function.strict",
        ),
        (SIM, {"top_k": 1}, "top_k"),
    ],
)
def test_what_the_provider_does_not_have_is_refused_by_name(model: Model, fields: dict[str, Any], named: str) -> None:
    """Never dropped in silence."""
    assert refusal(model, **fields) == named


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"role": "function", "content": "x"}, "messages.1.role"),
        ({"content": "x"}, "messages.1.role"),
        ({"role": "user", "content": ""}, "messages.1.content"),
        ({"role": "user", "content": []}, "messages.1.content"),
        ({"role": "user", "content": "x", "name": "Ann"}, "messages.1.name"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "messages.1.content.0.type"),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},
            "messages.1.content.0.file.file_data",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]},
            "messages.1.content.0.image_url.url",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL + "*"}}]},
            "messages.1.content.0.image_url.url",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL, "detail": "high"}}]},
            "messages.1.content.0.image_url.detail",
        ),
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, "messages.1.audio"),
        ({"role": "tool", "content": "x", "tool_call_id": "none"}, "messages.1.tool_call_id"),
        (
            {
                "role": "assistant",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}],
            },
            "messages.1.tool_calls.0.function.arguments",
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a":NaN}'}}],
            },
            "messages.1.tool_calls.0.function.arguments",
        ),
    ],
)
def test_a_mistake_in_a_message_is_named_where_it_is(message: dict[str, Any], named: str) -> None:
    """By its place in the body that the client wrote."""
    assert refusal(messages=[HELLO, message]) == named


@given(
    fields=st.dictionaries(st.sampled_from([*ChatBody.model_fields, "n", "seed", "x"]), JSON_VALUES, max_size=5),
    message=st.dictionaries(
        st.sampled_from(["role", "content", "tool_calls", "tool_call_id", "name"]),
        JSON_VALUES | st.sampled_from(["user", "assistant", "tool", "system"]),
    ),
    model=st.sampled_from(EVERY),
)
def test_no_body_is_more_than_refused(fields: dict[str, Any], message: dict[str, Any], model: Model) -> None:
    """Whatever is in it: a request, or a sentence."""
    body = {"model": "m", "messages": [HELLO, message]} | fields
    try:
        request = canonical_request(checked(ChatBody, json.loads(json.dumps(body))), model, 4000)
    except InvalidRequestError:
        return
    assert StreamRequest.model_validate_json(request.model_dump_json())
