"""What an upstream cannot be told is named before anything is spent; what it can be told is let through."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import InvalidRequestError
from shared.expressible import refuse_unsupported, unsupported_fields
from shared.models import Model
from shared.request import StreamRequest

ANTHROPIC = Model(provider="anthropic")
CHAT = Model(provider="openai")
RESPONSES = Model(provider="openai", api="responses")
GOOGLE = Model(provider="google")
TRANSLATED = (CHAT, RESPONSES, GOOGLE)
PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
HINT = {"cache_control": {"type": "ephemeral"}}
TOOL = {"name": "t", "description": "d", "input_schema": {"type": "object"}, **HINT}


def request(content: list[dict[str, Any]] | str = "hi", role: str = "user", **options: Any) -> StreamRequest:
    """Return a request of one message."""
    return StreamRequest.model_validate({"messages": [{"role": role, "content": content}], **options})


def whole_conversation() -> StreamRequest:
    """Return a request with everything that every wire has words for."""
    return StreamRequest.model_validate(
        {
            "system": [{"type": "text", "text": "s", **HINT}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "see", **HINT}, PIXEL]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                        {"type": "text", "text": "I ask."},
                        {"type": "tool_use", "id": "a", "name": "t", "input": {"x": 1}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "r"}]},
                        {"type": "tool_result", "tool_use_id": "b", "content": "r", "is_error": True},
                    ],
                },
            ],
            "thinking": {"type": "enabled", "budget_tokens": 5000},
            "tools": [TOOL],
            "tool_choice": {"type": "tool", "name": "t"},
            "temperature": 0.5,
            "provider_options": {"seed": 1},
        }
    )


@pytest.mark.parametrize("model", [ANTHROPIC, *TRANSLATED, Model(provider="sim")], ids=lambda model: model.provider)
def test_what_every_wire_has_words_for_is_let_through(model: Model) -> None:
    """Hints that change no meaning too."""
    assert unsupported_fields(model, whole_conversation()) == []
    refuse_unsupported(model, whole_conversation())


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (request([{"type": "search_result", "source": "x"}]), "messages.0.content.0.type"),
        (request([{"type": "text"}]), "messages.0.content.0.text"),
        (request([{"type": "image", "source": {"type": "file", "file_id": "f"}}]), "messages.0.content.0.source.type"),
        (request([{"type": "image"}]), "messages.0.content.0.source.type"),
        (request([{"type": "image", "source": {"type": []}}]), "messages.0.content.0.source.type"),
        (request([{"type": ["text"]}]), "messages.0.content.0.type"),
        (request([{"type": "tool_result"}]), "messages.0.content.0.tool_use_id"),
        (request([{"type": "tool_use", "id": "a", "name": "t", "input": {}}]), "messages.0.content.0.type"),
        (request([{"type": "redacted_thinking", "data": "x"}], "assistant"), "messages.0.content.0.type"),
        (request([{"type": "tool_use", "id": "a", "name": "t"}], "assistant"), "messages.0.content.0.input"),
        (request(system=[{"type": "image"}]), "system.0"),
        (request(tools=[{"type": "web_search_20250305", "name": "web_search"}]), "tools.0.type"),
        (request(tools=[{**TOOL, "defer_loading": True}]), "tools.0.defer_loading"),
        (request(tools=[{"name": ""}]), "tools.0.name"),
        (request(tool_choice={"type": "some"}), "tool_choice.type"),
        (request(tool_choice={"type": "tool"}), "tool_choice.name"),
        (request(thinking={"type": "odd"}), "thinking.type"),
        (request(thinking={"type": "enabled"}), "thinking.budget_tokens"),
        (request(provider_options={"model": "x"}), "provider_options.model"),
        (request(provider_options={"temperature": 1}), "provider_options.temperature"),
        (request(provider_options={"tools": {}}), "provider_options.tools"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_what_no_other_wire_has_words_for_is_named(wrong: StreamRequest, named: str) -> None:
    """By its place in the request."""
    for model in TRANSLATED:
        if named == "provider_options.temperature" and model is GOOGLE:
            continue  # it is inside generationConfig there
        problems = unsupported_fields(model, wrong)
        assert [problem for problem in problems if problem.startswith(f"{named}:")], problems
        with pytest.raises(InvalidRequestError, match=named):
            refuse_unsupported(model, wrong)


@pytest.mark.parametrize(
    ("model", "wrong", "named"),
    [
        (GOOGLE, request("Be brief.", "system"), "messages.0.role"),
        (CHAT, request([{"type": "image"}], "system"), "messages.0.content.0.type"),
        (CHAT, request(provider_options={"n": 2}), "provider_options.n"),
        (CHAT, request([{"type": "tool_result", "tool_use_id": "a", "content": [PIXEL]}]), "messages.0.content.0"),
        (CHAT, request(thinking={"type": "adaptive"}, provider_options={"reasoning_effort": "low"}), "provider_opt"),
        (RESPONSES, request(stop=["X"]), "stop"),
        (RESPONSES, request(provider_options={"previous_response_id": "x"}), "provider_options.previous_response_id"),
        (GOOGLE, request([{"type": "image", "source": {"type": "url", "url": "u"}}]), "messages.0.content.0.source"),
        (GOOGLE, request(tool_choice={"type": "any", "disable_parallel_tool_use": True}), "tool_choice.disable"),
        (GOOGLE, request(provider_options={"generationConfig": {"candidateCount": 2}}), "provider_options.generation"),
        (GOOGLE, request(provider_options={"generationConfig": 5}), "provider_options.generationConfig"),
        (ANTHROPIC, request(provider_options={"max_tokens": 5}), "provider_options.max_tokens"),
        (ANTHROPIC, request(provider_options={"betas": ["a\nb"]}), "provider_options.betas"),
        (CHAT.model_copy(update={"thinking": "none"}), request(thinking={"type": "adaptive"}), "thinking"),
    ],
)
def test_what_one_wire_lacks_is_named(model: Model, wrong: StreamRequest, named: str) -> None:
    """Each wire has its own gaps."""
    (problem,) = unsupported_fields(model, wrong)
    assert problem.startswith(named)


def test_the_anthropic_wire_judges_its_own_requests() -> None:
    """What is new there must not have to wait for us."""
    odd = request(
        [{"type": "brand_new"}], "system", tools=[{"type": "new_2030", "name": "n"}], thinking={"type": "odd"}
    )
    assert unsupported_fields(ANTHROPIC, odd) == []


def test_a_request_with_many_faults_is_refused_in_one_short_sentence() -> None:
    """A thousand wrong blocks make no error of a thousand lines."""
    with pytest.raises(InvalidRequestError) as caught:
        refuse_unsupported(CHAT, request([{"type": "odd"}] * 1000))
    assert caught.value.message.endswith("and 995 more")
