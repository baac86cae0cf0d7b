"""A request in the words of each wire: all that it says is told, each thing where the wire has its place for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.expressible import unsupported
from shared.models import Model
from tests.support_events import JSON_VALUES, TEXTS
from tests.worker.support_decoders import call
from worker.llm import Call
from worker.providers.chat_call import chat_body
from worker.providers.genai_call import genai_body
from worker.providers.responses_call import responses_body

CHAT = Model(provider="openai")
OWN = Model(provider="openai", base_url="http://own/v1", continuation="prefill")
RESPONSES = Model(provider="openai", api="responses")
GOOGLE = Model(provider="google")
BUILDERS = ((CHAT, chat_body), (OWN, chat_body), (RESPONSES, responses_body), (GOOGLE, genai_body))

PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
PAPER = {"type": "document", "title": "a.pdf", "source": {**PIXEL["source"], "media_type": "application/pdf"}}  # type: ignore[dict-item]
NOTE = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "note"}}
CONVERSATION: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}}, PIXEL]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "text", "text": "I ask."},
            {"type": "tool_use", "id": "a", "name": "one", "input": {"é": 1}},
            {"type": "tool_use", "id": "b", "name": "two", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "r"}]},
            {"type": "tool_result", "tool_use_id": "b", "content": "broken", "is_error": True},
            {"type": "text", "text": "go on"},
        ],
    },
    {"role": "user", "content": "now"},
]
TOOL = {"name": "one", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}
OPTIONS: dict[str, Any] = {
    "system": [{"type": "text", "text": "be"}, {"type": "text", "text": "brief"}],
    "temperature": 0.5,
    "top_p": 0.9,
    "thinking": {"type": "enabled", "budget_tokens": 5000},
    "tools": [TOOL],
    "tool_choice": {"type": "tool", "name": "one"},
}


def test_chat_completions_is_told_everything() -> None:
    """OpenAI's own server."""
    body = chat_body(call(CHAT, messages=CONVERSATION, options={**OPTIONS, "stop": ["X"]}))
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be\n\nbrief"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                ],
            },
            {
                "role": "assistant",
                "content": "I ask.",
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "one", "arguments": '{"é":1}'}},
                    {"id": "b", "type": "function", "function": {"name": "two", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "r"},
            {"role": "tool", "tool_call_id": "b", "content": "Error: broken"},
            {"role": "user", "content": "go on"},
            {"role": "user", "content": "now"},
        ],
        "max_completion_tokens": 1000,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["X"],
        "reasoning_effort": "medium",
        "tools": [
            {
                "type": "function",
                "function": {"name": "one", "description": "d", "parameters": {"type": "object"}},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "one"}},
    }


def test_a_server_of_ones_own_is_told_in_older_words() -> None:
    """And what the model thought, and that it goes on from a prefill."""
    prefill = [*CONVERSATION[:2], {"role": "assistant", "content": "One, two"}]
    body = chat_body(call(OWN, messages=prefill))
    assert body["max_tokens"] == 1000
    assert "max_completion_tokens" not in body
    assert body["messages"][1]["reasoning_content"] == "hm"
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert "continue_final_message" not in chat_body(call(OWN))


def test_the_responses_api_is_told_everything() -> None:
    """Thoughts as they were encrypted; nothing is kept there."""
    body = responses_body(call(RESPONSES, messages=CONVERSATION, options=OPTIONS))
    assert body == {
        "model": "m",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "look"},
                    {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"},
                ],
            },
            {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": "c2ln",
            },
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I ask."}]},
            {"type": "function_call", "call_id": "a", "name": "one", "arguments": '{"é":1}'},
            {"type": "function_call", "call_id": "b", "name": "two", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "r"},
            {"type": "function_call_output", "call_id": "b", "output": "Error: broken"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go on"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "now"}]},
        ],
        "max_output_tokens": 1000,
        "stream": True,
        "instructions": "be\n\nbrief",
        "temperature": 0.5,
        "top_p": 0.9,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "tools": [
            {
                "type": "function",
                "name": "one",
                "description": "d",
                "strict": False,
                "parameters": {"type": "object"},
            }
        ],
        "tool_choice": {"type": "function", "name": "one"},
    }


def test_gemini_is_told_everything() -> None:
    """A signature is on the part it came with; a call that has none says so, as the newer models insist."""
    options = {**OPTIONS, "stop": ["X"]}
    body = genai_body(call(GOOGLE, upstream="gemini-3-pro", messages=CONVERSATION, options=options))
    calls = [{"id": "a", "name": "one", "args": {"é": 1}}, {"id": "b", "name": "two", "args": {}}]
    assert body == {
        "contents": [
            {
                "role": "user",
                "parts": [{"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "", "thoughtSignature": "c2ln"},
                    {"text": "I ask."},
                    {"functionCall": calls[0], "thoughtSignature": "skip_thought_signature_validator"},
                    {"functionCall": calls[1]},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "a", "name": "one", "response": {"output": "r"}}},
                    {"functionResponse": {"id": "b", "name": "two", "response": {"error": "broken"}}},
                    {"text": "go on"},
                ],
            },
            {"role": "user", "parts": [{"text": "now"}]},
        ],
        "generationConfig": {
            "maxOutputTokens": 1000,
            "temperature": 0.5,
            "topP": 0.9,
            "stopSequences": ["X"],
            "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "medium"},
        },
        "systemInstruction": {"parts": [{"text": "be"}, {"text": "brief"}]},
        "tools": [
            {"functionDeclarations": [{"name": "one", "description": "d", "parametersJsonSchema": {"type": "object"}}]}
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["one"]}},
    }


@pytest.mark.parametrize(
    ("upstream", "hint", "thinking", "expected"),
    [
        ("gemini-2.5-flash", None, {"type": "enabled", "budget_tokens": 99}, {"thinkingBudget": 99}),
        ("gemini-2.5-flash", None, {"type": "adaptive"}, {"thinkingBudget": -1}),
        ("gemini-3-pro", None, {"type": "enabled", "budget_tokens": 99}, {"thinkingLevel": "low"}),
        ("gemini-3-pro", None, {"type": "enabled", "budget_tokens": 99_999}, {"thinkingLevel": "high"}),
        ("gemini-3-pro", None, {"type": "adaptive"}, {}),
        ("gemini-3-pro", "budget", {"type": "enabled", "budget_tokens": 99}, {"thinkingBudget": 99}),
        ("odd", None, {"type": "adaptive"}, {}),
    ],
)
def test_gemini_is_told_how_to_think_in_the_words_of_its_version(
    upstream: str, hint: Any, thinking: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Or in those that its configuration names."""
    model = GOOGLE.model_copy(update={"thinking": hint})
    config = genai_body(call(model, upstream=upstream, options={"thinking": thinking}))["generationConfig"]
    assert config["thinkingConfig"] == {"includeThoughts": True, **expected}


def test_gemini_is_told_not_to_think_where_it_can_be() -> None:
    """By a budget of nothing; unasked, it is the model's own choice."""
    off = {"thinking": {"type": "disabled"}}
    assert genai_body(call(GOOGLE, upstream="gemini-2.5-flash", options=off))["generationConfig"]["thinkingConfig"] == {
        "thinkingBudget": 0
    }
    for upstream, options in (("gemini-3-pro", off), ("gemini-2.5-flash", {})):
        told = genai_body(call(GOOGLE, upstream=upstream, options=options))
        assert "thinkingConfig" not in told["generationConfig"]


def test_fields_of_the_providers_own_go_beside_ours() -> None:
    """Its tools are added to the request's, its generation config to ours."""
    own = {"tools": [{"type": "web_search"}], "store": True, "include": ["message.output_text.logprobs"]}
    options = {"tools": [TOOL], "thinking": {"type": "adaptive"}, "provider_options": own}
    body = responses_body(call(RESPONSES, options=options))
    assert [tool["type"] for tool in body["tools"]] == ["function", "web_search"]
    assert body["store"] is True
    assert body["include"] == ["message.output_text.logprobs", "reasoning.encrypted_content"]
    extra = {"generationConfig": {"seed": 7}, "tools": [{"googleSearch": {}}], "safetySettings": []}
    told = genai_body(call(GOOGLE, options={"provider_options": extra}))
    assert told["generationConfig"] == {"seed": 7, "maxOutputTokens": 1000}
    assert (told["tools"], told["safetySettings"]) == ([{"googleSearch": {}}], [])
    assert chat_body(call(CHAT, options={"provider_options": {"seed": 7}}))["seed"] == 7


@pytest.mark.parametrize(
    ("choice", "expected"),
    [({"type": "auto"}, "auto"), ({"type": "any"}, "required"), ({"type": "none"}, "none")],
)
def test_a_choice_of_tools_has_its_name_on_each_wire(choice: dict[str, Any], expected: str) -> None:
    """Calls one at a time, too, where the wire has it."""
    alone = {"tool_choice": {**choice, "disable_parallel_tool_use": True}}
    for model, build in ((CHAT, chat_body), (RESPONSES, responses_body)):
        body = build(call(model, options=alone))
        assert (body["tool_choice"], body["parallel_tool_calls"]) == (expected, False)
    mode = genai_body(call(GOOGLE, options={"tool_choice": choice}))["toolConfig"]["functionCallingConfig"]["mode"]
    assert mode == choice["type"].upper()


def test_documents_and_results_with_images_are_told_where_they_can_be() -> None:
    """Each wire in its own way."""
    asked = [{"role": "user", "content": [PAPER, NOTE]}]
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}
    assert chat_body(call(CHAT, messages=asked))["messages"][0]["content"] == [
        {"type": "file", "file": file},
        {"type": "text", "text": "note"},
    ]
    assert responses_body(call(RESPONSES, messages=asked))["input"][0]["content"] == [
        {"type": "input_file", **file},
        {"type": "input_text", "text": "note"},
    ]
    assert genai_body(call(GOOGLE, messages=asked))["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "application/pdf", "data": "aGk="}},
        {"text": "note"},
    ]
    shown = {"type": "tool_result", "tool_use_id": "a", "content": [PIXEL], "is_error": True}
    (output,) = responses_body(call(RESPONSES, messages=[{"role": "user", "content": [shown]}]))["input"]
    assert [part["type"] for part in output["output"]] == ["input_text", "input_image"]


def test_instructions_in_the_middle_of_a_conversation_stay_there() -> None:
    """On the wires that have a place for them."""
    asked = [{"role": "user", "content": "a"}, {"role": "system", "content": [{"type": "text", "text": "be brief"}]}]
    assert chat_body(call(CHAT, messages=asked))["messages"][1] == {"role": "system", "content": "be brief"}
    assert responses_body(call(RESPONSES, messages=asked))["input"][1] == {
        "type": "message",
        "role": "system",
        "content": [{"type": "input_text", "text": "be brief"}],
    }


SOURCES = st.sampled_from([PIXEL["source"], NOTE["source"], {"type": "url", "url": "https://a.example/x"}, {}, None])
RESULT = {"type": "tool_result", "tool_use_id": "a"}
THOUGHT: list[dict[str, Any]] = [
    {"type": "adaptive"},
    {"type": "enabled", "budget_tokens": 9},
    {"type": "disabled"},
    {"type": "enabled"},
    {},
]
EXTRAS: list[dict[str, Any]] = [{"seed": 1}, {"generationConfig": {"seed": 1}}, {"tools": [{}]}, {"x": None}]
BLOCKS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
    st.builds(lambda kind, source: {"type": kind, "source": source}, st.sampled_from(["image", "document"]), SOURCES),
    st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": text}, TEXTS),
    st.builds(lambda value: {"type": "tool_use", "id": "a", "name": "n", "input": value}, JSON_VALUES),
    st.builds(lambda value: {**RESULT, "content": value}, JSON_VALUES),
    st.builds(
        lambda text: {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": text}]}, TEXTS
    ),
    st.sampled_from([{"type": "google_part", "text": "x"}, {"type": "web_search_call", "id": "w"}, {"type": "odd"}]),
    st.dictionaries(st.sampled_from(["type", "text", "id", "input"]), JSON_VALUES, max_size=3),
)
MESSAGES = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["user", "assistant", "system"]),
        st.one_of(TEXTS, st.lists(BLOCKS, min_size=1, max_size=3)),
    ),
    min_size=1,
    max_size=3,
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "system": st.one_of(TEXTS, st.lists(BLOCKS, max_size=2)),
        "thinking": st.sampled_from(
            [
                {"type": "adaptive"},
                {"type": "enabled", "budget_tokens": 9},
                {"type": "disabled"},
                {"type": "enabled"},
                {},
            ]
        ),
        "tools": st.lists(st.sampled_from([TOOL, {"name": "x"}, {"type": "bash", "name": "b"}, {}]), max_size=2),
        "tool_choice": st.sampled_from([{"type": "any"}, {"type": "tool", "name": "x"}, {"type": "tool"}, {}]),
        "provider_options": st.sampled_from(
            [{"seed": 1}, {"generationConfig": {"seed": 1}}, {"tools": [{}]}, {"x": None}]
        ),
    },
)


@given(MESSAGES, SETTINGS)
def test_what_is_found_expressible_is_expressed(messages: list[dict[str, Any]], options: dict[str, Any]) -> None:
    """The relay's check and the worker's translation agree: nothing that passes the one fails in the other."""
    for model, build in BUILDERS:
        asked: Call = call(model, messages=messages, options=options)
        if not unsupported(model, messages, options):
            json.dumps(build(asked))
