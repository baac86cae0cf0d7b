"""What Chat Completions may ask for beside the conversation, as the model's provider has it; or else a refusal.

Nothing that is asked for is dropped: what a provider cannot be told, and what could not be told back, is a 400 that
names the field. Values that mean what happens anyway are taken from everybody, since many programs send them always.
"""

from __future__ import annotations

from typing import Any

from relay.dialects.chat_body import ChatBody, Effort, ResponseFormat
from relay.parsing import refuse
from shared.models import Model, claude_continuation

Fields = dict[str, Any]

_AS_IT_IS: Fields = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "store": (False,),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
}
"""Values that change nothing."""
_NEVER = {
    "n": "one answer is made per request; send the request again for another",
    "logprobs": "is not told here",
    "top_logprobs": "is not told here",
    "modalities": "answers here are text",
    "audio": "answers here are text",
    "functions": "is what tools was called once; send tools",
    "function_call": "is what tool_choice was called once; send tool_choice",
    "web_search_options": "what such a search finds is not told here",
    "moderation": "what it finds is not told here",
}
"""Fields whose effect could not be told back, whatever the provider."""
_OF_RESPONSES = frozenset(("service_tier", "prompt_cache_key", "prompt_cache_retention"))
"""Fields that OpenAI's Responses API calls the same."""
_OF_GOOGLE = {"frequency_penalty": "frequencyPenalty", "presence_penalty": "presencePenalty", "seed": "seed"}
"""What Gemini calls its fields of the same meaning."""
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 31_999, "max": 31_999}
"""Tokens to think, for models that are told a number; those of Google's own OpenAI-compatible API."""
_LEAST_BUDGET = 1024
_MOST_CLAUDE_TEMPERATURE = 1


def further_options(body: ChatBody, model: Model) -> Fields:
    """Return ``provider_options`` for what the canonical request has no field for. Raises ``InvalidRequestError``."""
    options: Fields = {}
    for name, value in (body.model_extra or {}).items():
        if value is None or value in _AS_IT_IS.get(name, ()):
            continue
        if name in _NEVER:
            refuse(_NEVER[name], name)
        own = _own(name, value, model)
        if own is None:
            refuse(f"unknown field, or one that models of provider {model.provider} do not have", name)
        options = merged(options, own)
    options = merged(options, _who(body, model))
    if body.response_format is not None:
        options = merged(options, _format(body.response_format, model))
    if model.provider == "anthropic" and (body.temperature or 0) > _MOST_CLAUDE_TEMPERATURE:
        refuse("must be at most 1 for this model", "temperature")
    return options


def thinking(body: ChatBody, model: Model, most_tokens: int) -> tuple[Fields | None, Fields]:
    """Return ``thinking`` and ``provider_options`` for ``reasoning_effort``. Raises ``InvalidRequestError``.

    ``most_tokens`` is the most that the answer may have; for models that are told how many tokens to think.
    """
    effort = body.reasoning_effort
    if effort is None:
        return None, {}
    if model.thinking == "none" and effort != "none":
        refuse("this model does not think", "reasoning_effort")
    if model.provider == "openai":
        return _openai_thinking(effort, model)
    if effort == "none":
        return {"type": "disabled"}, {}
    if model.provider == "anthropic" and claude_continuation(model.upstream or body.model) == "user_turn":
        told = "low" if effort == "minimal" else effort
        return {"type": "adaptive", "display": "summarized"}, {"output_config": {"effort": told}}
    budget = min(_BUDGETS[effort], most_tokens // 2)
    if budget < _LEAST_BUDGET:
        refuse(f"needs at least {2 * _LEAST_BUDGET} tokens for the answer with this model", "reasoning_effort")
    return {"type": "enabled", "budget_tokens": budget}, {}


def _openai_thinking(effort: Effort, model: Model) -> tuple[Fields | None, Fields]:
    """Return the effort as it is, but where asking for it in our own words also brings what was thought."""
    if model.api == "chat":
        return None, {"reasoning_effort": effort}
    if effort in ("low", "medium", "high"):
        return {"type": "enabled", "budget_tokens": _BUDGETS[effort]}, {}
    return None, {"reasoning": {"effort": effort}}


def _own(name: str, value: Any, model: Model) -> Fields | None:
    """Return a field as the provider has it, None where it has none."""
    match model.provider:
        case "openai" if model.api == "chat":
            return {name: value}
        case "openai" if name in _OF_RESPONSES:
            return {name: value}
        case "openai" if name == "verbosity":
            return {"text": {"verbosity": value}}
        case "google" if name in _OF_GOOGLE:
            return {"generationConfig": {_OF_GOOGLE[name]: value}}
        case _:
            return None


def _who(body: ChatBody, model: Model) -> Fields:
    """Return who the end user is. Where a provider has no field for it, it stays in the stream's metadata."""
    named = {"user": body.user, "safety_identifier": body.safety_identifier}
    given = {name: value for name, value in named.items() if value is not None}
    if model.provider == "openai":
        return given
    if model.provider == "anthropic" and given:
        return {"metadata": {"user_id": body.safety_identifier or body.user}}
    return {}


def _format(asked: ResponseFormat, model: Model) -> Fields:
    """Return what the answer's text must be."""
    if asked.type == "text":
        return {}
    if asked.type == "json_schema" and asked.json_schema is None:
        refuse("is missing", "response_format", "json_schema")
    schema = asked.json_schema.model_dump(by_alias=True, exclude_unset=True) if asked.json_schema else {}
    told = _format_of(asked.type, schema, model)
    if told is None:
        refuse(f"models of provider {model.provider} do not have {asked.type}", "response_format", "type")
    return told


def _format_of(kind: str, named: Fields, model: Model) -> Fields | None:
    """Return a format as the provider has it, None where it has none."""
    match model.provider:
        case "openai" if model.api == "chat":
            return {"response_format": {"type": kind} | ({"json_schema": named} if named else {})}
        case "openai":
            return {"text": {"format": {"type": kind, **named}}}
        case "anthropic" if named:
            return {"output_config": {"format": {"type": kind, "schema": named["schema"]}}}
        case "google":
            schema = {"responseJsonSchema": named["schema"]} if named else {}
            return {"generationConfig": {"responseMimeType": "application/json", **schema}}
        case _:
            return None


def merged(options: Fields, more: Fields) -> Fields:
    """Return both; where both have an object under a name, the fields of both."""
    told = dict(options)
    for name, value in more.items():
        known = told.get(name)
        told[name] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
    return told
