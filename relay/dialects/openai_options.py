"""What OpenAI's clients ask for beside the conversation, as the model's provider has it; shared by both dialects."""

from __future__ import annotations

from typing import Any, Literal

from relay.parsing import refuse
from shared.models import Model, claude_continuation

Fields = dict[str, Any]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 31_999, "max": 31_999}
"""Tokens to think, for models that are told a number; those of Google's own OpenAI-compatible API."""
_LEAST_BUDGET = 1024
_MOST_CLAUDE_TEMPERATURE = 1


def thinking(
    effort: Effort | None, model: Model, name: str, most_tokens: int, *at: str
) -> tuple[Fields | None, Fields]:
    """Return ``thinking`` and ``provider_options`` for an effort asked for ``at`` this place of the body.

    ``name`` is the model's, ``most_tokens`` what the answer may have. Raises ``InvalidRequestError``.
    """
    if effort is None:
        return None, {}
    if model.thinking == "none" and effort != "none":
        refuse("this model does not think", *at)
    if model.provider == "openai":
        return _openai_thinking(effort, model)
    if effort == "none":
        return {"type": "disabled"}, {}
    if model.provider == "anthropic" and claude_continuation(model.upstream or name) == "user_turn":
        told = "low" if effort == "minimal" else effort
        return {"type": "adaptive", "display": "summarized"}, {"output_config": {"effort": told}}
    budget = min(_BUDGETS[effort], most_tokens // 2)
    if budget < _LEAST_BUDGET:
        refuse(f"needs at least {2 * _LEAST_BUDGET} tokens for the answer with this model", *at)
    return {"type": "enabled", "budget_tokens": budget}, {}


def _openai_thinking(effort: Effort, model: Model) -> tuple[Fields | None, Fields]:
    """Return the effort as it is, but where asking for it in our own words also brings what was thought."""
    if model.api == "chat":
        return None, {"reasoning_effort": effort}
    if effort in ("low", "medium", "high"):
        return {"type": "enabled", "budget_tokens": _BUDGETS[effort]}, {}
    return None, {"reasoning": {"effort": effort}}


def end_user(user: str | None, safety_identifier: str | None, model: Model) -> Fields:
    """Return who the end user is. Where a provider has no field for it, it stays in the stream's metadata."""
    named = {"user": user, "safety_identifier": safety_identifier}
    given = {name: value for name, value in named.items() if value is not None}
    if model.provider == "openai":
        return given
    if model.provider == "anthropic" and given:
        return {"metadata": {"user_id": safety_identifier or user}}
    return {}


def text_format(kind: str, named: Fields, model: Model) -> Fields | None:
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


def refuse_too_hot(temperature: float | None, model: Model) -> None:
    """Raise ``InvalidRequestError`` for a temperature that OpenAI's models have and this one does not."""
    if model.provider == "anthropic" and (temperature or 0) > _MOST_CLAUDE_TEMPERATURE:
        refuse("must be at most 1 for this model", "temperature")
