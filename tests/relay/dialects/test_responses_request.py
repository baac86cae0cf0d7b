"""Responses requests: what becomes of every field, and that whatever cannot be expressed is refused by its name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from pydantic import ValidationError

from relay.dialects.responses_body import ResponsesBody
from relay.dialects.responses_object import Asked, input_items, response_object
from relay.dialects.responses_request import asked_from, asked_of, canonical_request, kept, said_before
from shared.answer import Answer
from shared.entry import Entry
from shared.errors import InvalidRequestError
from shared.events import BlockStartEvent, BlockStopEvent, DeltaEvent, EndEvent, StartEvent
from shared.models import Model
from shared.request import StreamRequest
from tests.relay.dialects.random_logs import STREAM, logs

SIM = Model(provider="sim")
CLAUDE = Model(provider="anthropic")
GPT = Model(provider="openai", api="responses")
VLLM = Model(provider="openai")
GEMINI = Model(provider="google")
MOST = 8192
PIXEL = "iVBORw0KGgo="
TOOL = {"type": "function", "name": "look_up", "description": "Looks up.", "parameters": {"type": "object"}}
CALL = {"type": "function_call", "call_id": "c1", "name": "look_up", "arguments": '{"q":1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "2"}


def body(**fields: Any) -> ResponsesBody:
    """Return a body as it comes off the wire."""
    return ResponsesBody.model_validate_json(json.dumps({"model": "claude-sonnet-5-5", "input": "Hi"} | fields))


def asked(model: Model = SIM, earlier: list[dict[str, Any]] | None = None, **fields: Any) -> StreamRequest:
    """Return what a body comes to, for a model."""
    return canonical_request(body(**fields), model, MOST, earlier or [])


def messages(*items: dict[str, Any], model: Model = SIM) -> list[dict[str, Any]]:
    """Return the conversation that items come to."""
    return [message.model_dump() for message in asked(model, input=items).messages]


def refused(model: Model = SIM, earlier: list[dict[str, Any]] | None = None, **fields: Any) -> InvalidRequestError:
    """Return why a body is refused. Fails if it is not."""
    with pytest.raises(InvalidRequestError) as caught:
        asked(model, earlier, **fields)
    return caught.value


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return a user's turn."""
    return {"role": "user", "content": list(parts)}


def text(words: str) -> dict[str, str]:
    """Return a canonical text."""
    return {"type": "text", "text": words}


def test_text_alone_is_what_a_user_says() -> None:
    """Nothing else is asked for."""
    wanted = asked()
    assert [message.model_dump() for message in wanted.messages] == [{"role": "user", "content": [text("Hi")]}]
    assert wanted.model_dump(exclude_unset=True).keys() == {"model", "messages"}


def test_plain_fields_have_their_canonical_names() -> None:
    """Instructions come before those among the items."""
    wanted = asked(
        instructions="Be brief.",
        input=[{"role": "developer", "content": "In rhyme."}, {"role": "user", "content": "Hi"}],
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        metadata={"k": "v"},
    )
    assert wanted.system == "Be brief.\n\nIn rhyme."
    assert (wanted.max_tokens, wanted.temperature, wanted.top_p, wanted.metadata) == (9, 0.5, 0.9, {"k": "v"})


def test_what_each_side_says_in_a_row_is_one_message() -> None:
    """As the canonical conversation has it: thoughts, words and calls; then their results and what the user adds."""
    items: list[dict[str, Any]] = [
        {"role": "user", "content": "What is 1?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2ln"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Wait.", "annotations": []}],
        },
        CALL | {"id": "fc_1", "status": "completed"},
        OUTPUT,
        {"role": "user", "content": [{"type": "input_text", "text": "Well?"}, {"type": "input_text", "text": ""}]},
    ]
    assert messages(*items) == [
        {"role": "user", "content": [text("What is 1?")]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "", "signature": "c2ln"},
                text("Wait."),
                {"type": "tool_use", "id": "c1", "name": "look_up", "input": {"q": 1}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [text("2")]}, text("Well?")],
        },
    ]


def test_images_and_documents_are_blocks() -> None:
    """By address or with all they hold; also as what a tool answered."""
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"}
    far = {"type": "input_image", "image_url": "https://example.org/a.png"}
    file = {"type": "input_file", "file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "a.pdf"}
    (told,) = messages(user(image, far, file))
    assert told["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PIXEL},
            "title": "a.pdf",
        },
    ]
    result = messages(user({"type": "input_text", "text": "x"}), CALL, OUTPUT | {"output": [far]})[-1]["content"][0]
    assert result["content"] == [told["content"][1]]


def test_thoughts_without_a_seal_go_only_where_none_is_asked_for() -> None:
    """The APIs that seal thoughts refuse those that are not."""
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]}
    said = {"role": "assistant", "content": "Yes."}
    turn: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}, thought, said, {"role": "user", "content": "?"}]
    assert messages(*turn, model=CLAUDE)[1]["content"] == [text("Yes.")]
    assert messages(*turn, model=VLLM)[1]["content"][0] == {"type": "thinking", "thinking": "Hm", "signature": ""}


@pytest.mark.parametrize(
    ("choice", "canonical"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "name": "look_up"}, {"type": "tool", "name": "look_up"}),
    ],
)
def test_tools_and_the_choice_among_them(choice: Any, canonical: dict[str, str]) -> None:
    """One at a time, where that is asked for."""
    wanted = asked(tools=[TOOL | {"strict": True}], tool_choice=choice)
    assert wanted.tools == [
        {"name": "look_up", "description": "Looks up.", "input_schema": {"type": "object"}, "strict": True}
    ]
    assert wanted.tool_choice == canonical
    single = asked(tools=[TOOL], tool_choice=choice, parallel_tool_calls=False).tool_choice
    assert single == (canonical if choice == "none" else canonical | {"disable_parallel_tool_use": True})


@pytest.mark.parametrize(
    ("model", "fields", "options"),
    [
        (GPT, {"truncation": "auto", "prompt_cache_key": "k"}, {"truncation": "auto", "prompt_cache_key": "k"}),
        (VLLM, {"prompt_cache_key": "k", "user": "u"}, {"prompt_cache_key": "k", "user": "u"}),
        (CLAUDE, {"user": "u"}, {"metadata": {"user_id": "u"}}),
        (GPT, {"text": {"verbosity": "low"}}, {"text": {"verbosity": "low"}}),
        (VLLM, {"text": {"verbosity": "low"}}, {"verbosity": "low"}),
        (GPT, {"text": {"format": {"type": "json_object"}}}, {"text": {"format": {"type": "json_object"}}}),
        (GPT, {"reasoning": {"summary": "detailed"}}, {"reasoning": {"summary": "detailed"}}),
        (VLLM, {"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}),
    ],
)
def test_each_provider_is_told_in_its_own_words(model: Model, fields: dict[str, Any], options: dict[str, Any]) -> None:
    """What the canonical request has no name for."""
    assert asked(model, **fields).provider_options == options


def test_a_schema_goes_to_those_who_have_schemas() -> None:
    """Under each one's name for it."""
    named = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    assert asked(GPT, text={"format": named}).provider_options == {"text": {"format": named}}
    claude = asked(CLAUDE, text={"format": named}).provider_options
    assert claude == {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}


def test_effort_is_thinking() -> None:
    """By a number of tokens for those who are told one, with room for the answer."""
    wanted = asked(reasoning={"effort": "low", "summary": "auto"})
    assert wanted.thinking == {"type": "enabled", "budget_tokens": 1024}
    assert wanted.max_tokens == MOST


@pytest.mark.parametrize(
    "fields",
    [
        {"truncation": "disabled"},
        {"service_tier": "auto"},
        {"top_logprobs": 0},
        {"conversation": None, "prompt": None, "moderation": None, "max_tool_calls": None},
        {"include": ["reasoning.encrypted_content"]},
        {"text": {"format": {"type": "text"}, "verbosity": "medium"}},
        {"reasoning": {"effort": None, "summary": "auto"}},
        {"stream": True, "stream_options": {"include_obfuscation": False}},
        {"store": False, "background": True},
    ],
)
def test_what_changes_nothing_is_taken_from_everybody(fields: dict[str, Any]) -> None:
    """Many programs send it always."""
    assert asked(**fields) == asked()


FAR = {"type": "input_image", "image_url": "http://example.org/a.png"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"max_tool_calls": 3}, "max_tool_calls"),
        ({"nonsense": 1}, "nonsense"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format.type"),
        ({"reasoning": {"summary": "concise"}}, "reasoning.summary"),
        ({"reasoning": {"effort": "low"}, "max_output_tokens": 100}, "reasoning.effort"),
        ({"stream_options": {}}, "stream_options"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "tools": []}}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
        ({"input": [{"type": "compaction", "id": "msg_1"}]}, "input.0.type"),
        ({"input": [{"role": "user", "content": ""}]}, "input.0.content"),
        ({"input": [{"role": "system", "content": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]}, "input.1.role"),
        ({"input": [user({"type": "input_audio", "data": "x"})]}, "input.0.content.0.type"),
        ({"input": [user({"type": "output_text", "text": "x"})]}, "input.0.content.0.type"),
        ({"input": [user({"type": "input_text", "text": "x", "more": 1})]}, "input.0.content.0.more"),
        ({"input": [user(FAR)]}, "input.0.content.0.image_url"),
        ({"input": [user(FAR | {"detail": "high"})]}, "input.0.content.0.detail"),
        ({"input": [user({"type": "input_image", "file_id": "f"})]}, "input.0.content.0.image_url"),
        ({"input": [CALL | {"arguments": "{"}]}, "input.0.arguments"),
        ({"input": [CALL | {"arguments": '{"a":NaN}'}]}, "input.0.arguments"),
        ({"input": [OUTPUT]}, "input.0.call_id"),
        ({"input": [{"role": "user", "content": "x"}, CALL]}, "input"),
        ({"input": [CALL, OUTPUT | {"name": "other"}]}, "input.1.name"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_name(fields: dict[str, Any], field: str) -> None:
    """In a sentence that begins with the field, under which programs find it too."""
    error = refused(**fields)
    assert error.field == field
    assert field in error.message


@pytest.mark.parametrize(
    ("model", "fields", "field"),
    [
        (CLAUDE, {"temperature": 1.5}, "temperature"),
        (VLLM, {"truncation": "auto"}, "truncation"),
        (GEMINI, {"tools": [TOOL | {"strict": True}]}, "tools.0.strict"),
        (GEMINI, {"tools": [TOOL], "parallel_tool_calls": False}, "parallel_tool_calls"),
    ],
)
def test_what_a_provider_does_not_have_is_refused(model: Model, fields: dict[str, Any], field: str) -> None:
    """Others have it."""
    assert refused(model, **fields).field == field


@pytest.mark.parametrize(
    "fields",
    [
        {"input": []},
        {"input": ""},
        {"input": 5},
        {"tools": [{"type": "web_search"}]},
        {"include": ["message.output_text.logprobs"]},
        {"stream_options": {"include_obfuscation": True}},
        {"max_output_tokens": 0},
        {"text": {"format": {"type": "json_schema", "name": "n"}}},
        {"metadata": {"k": 5}},
    ],
)
def test_a_body_of_another_shape_is_no_body(fields: dict[str, Any]) -> None:
    """The problem's place begins with the field."""
    with pytest.raises(ValidationError) as caught:
        body(**fields)
    (name,) = fields
    assert {problem["loc"][0] for problem in caught.value.errors()} == {name}


def test_what_was_asked_is_repeated_and_kept() -> None:
    """Field by field as it was given; the conversation as items, each with an id."""
    given = body(instructions="Be brief.", tools=[TOOL], text={"format": {"type": "text"}}, store=True, stream=True)
    found = asked_from(kept(asked_of(given, [CALL])))
    assert found is not None
    assert found.fields == {
        "instructions": "Be brief.",
        "tools": [TOOL],
        "text": {"format": {"type": "text"}},
        "store": True,
    }
    first, second = input_items(STREAM, found)
    assert first == CALL | {"id": f"in_{STREAM}_0", "status": "completed"}
    assert second["content"] == [{"type": "input_text", "text": "Hi"}]
    assert asked_from(None) is None


def test_an_earlier_response_is_gone_on_from() -> None:
    """Its input, its output, the new input; a call that it did not finish is left out."""
    answer = Answer()
    for event in (
        StartEvent(STREAM, "sim", "sim", 1, 1),
        BlockStartEvent(0, "thinking"),
        DeltaEvent(0, text="Hm"),
        DeltaEvent(0, signature="c2ln"),
        BlockStopEvent(0),
        BlockStartEvent(1, "tool_use", "c1", "look_up"),
        BlockStopEvent(1),
        BlockStartEvent(2, "tool_use", "c2", "look_up"),
        DeltaEvent(2, json='{"q'),
        BlockStartEvent(3, "text"),
        DeltaEvent(3, text="So"),
        EndEvent("cancelled"),
    ):
        answer.apply(event)
    earlier = said_before(STREAM, asked_of(body(), []), answer)
    wanted = asked(earlier=earlier, input=[OUTPUT])
    assert [message.model_dump() for message in wanted.messages] == [
        {"role": "user", "content": [text("Hi")]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
                {"type": "tool_use", "id": "c1", "name": "look_up", "input": {}},
                text("So"),
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [text("2")]}]},
    ]
    assert refused(earlier=earlier, input="And?").field == "input"


@given(entries=logs())
def test_any_answer_can_be_gone_on_from(entries: list[Entry]) -> None:
    """Once its calls are answered; and sending its output back by oneself comes to the same."""
    answer = Answer()
    for entry in entries:
        answer.apply_entry(entry)
    earlier = said_before(STREAM, asked_of(body(), []), answer)
    calls = [item["call_id"] for item in earlier if item["type"] == "function_call"]
    results = [{"type": "function_call_output", "call_id": call, "output": "x"} for call in calls]
    turn = [*results, {"role": "user", "content": "And?"}]
    chained = asked(earlier=earlier, input=turn)
    shown = [item for item in response_object(STREAM, answer, Asked())["output"] if item["id"] in _ids(earlier)]
    sent = asked(input=[{"role": "user", "content": "Hi"}, *shown, *turn])
    assert chained.messages == sent.messages


def _ids(items: list[dict[str, Any]]) -> set[str]:
    return {item["id"] for item in items if "id" in item}
