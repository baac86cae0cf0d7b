"""What Responses may ask for beside the conversation, as the model's provider has it; or else a refusal.

Nothing that is asked for is dropped: what a provider cannot be told, and what could not be told back, is a 400 that
names the field. Values that mean what happens anyway are taken from everybody, since many programs send them always.
"""

from __future__ import annotations

from typing import Any

from relay.dialects.openai_options import Fields, end_user, merged, refuse_too_hot, text_format
from relay.dialects.responses_body import ResponsesBody, TextOptions
from relay.parsing import refuse
from shared.models import Model

_AS_IT_IS: Fields = {"truncation": ("disabled",), "service_tier": ("auto", "default"), "top_logprobs": (0,)}
"""Values that change nothing."""
_NEVER = {
    "conversation": "there are none here; send previous_response_id",
    "prompt": "there are no prompt templates here; send input",
    "top_logprobs": "is not told here",
    "moderation": "what it finds is not told here",
    "context_management": "is not told here",
    "background_options": "background responses run at once, and take the time they need",
    "max_tool_calls": "there are no built-in tools here",
}
"""Fields whose effect could not be told back, whatever the provider."""
_OF_CHAT = frozenset(("service_tier", "prompt_cache_key", "prompt_cache_retention"))
"""Fields that OpenAI's Chat Completions calls the same."""


def further_options(body: ResponsesBody, model: Model) -> Fields:
    """Return ``provider_options`` for what the canonical request has no field for. Raises ``InvalidRequestError``."""
    options: Fields = {}
    for name, value in (body.model_extra or {}).items():
        if value is None or value in _AS_IT_IS.get(name, ()):
            continue
        if name in _NEVER:
            refuse(_NEVER[name], name)
        if not _has(model, name):
            refuse(f"unknown field, or one that models of provider {model.provider} do not have", name)
        options[name] = value
    options = merged(options, end_user(body.user, body.safety_identifier, model))
    options = merged(options, _text(body.text or TextOptions(), model))
    options = merged(options, _summary(body, model))
    refuse_too_hot(body.temperature, model)
    return options


def _has(model: Model, name: str) -> bool:
    """Tell whether a field of this API goes to the provider as it is."""
    return model.provider == "openai" and (model.api == "responses" or name in _OF_CHAT)


def _text(asked: TextOptions, model: Model) -> Fields:
    """Return how the answer's text is to be."""
    told: Fields = {}
    if asked.format is not None and asked.format.type != "text":
        named: dict[str, Any] = asked.format.model_dump(by_alias=True, exclude_none=True, exclude={"type"})
        found = text_format(asked.format.type, named, model)
        if found is None:
            refuse(f"models of provider {model.provider} do not have {asked.format.type}", "text", "format", "type")
        told = found
    if asked.verbosity in (None, "medium"):
        return told
    if model.provider != "openai":
        refuse(f"models of provider {model.provider} do not have it", "text", "verbosity")
    verbosity: Fields = {"verbosity": asked.verbosity}
    return merged(told, {"text": verbosity} if model.api == "responses" else verbosity)


def _summary(body: ResponsesBody, model: Model) -> Fields:
    """Return how thoughts are to be told. What a provider tells of them is told here without being asked for."""
    asked = body.reasoning.summary if body.reasoning else None
    if asked is None or (asked == "auto" and (model.provider != "openai" or model.api == "chat")):
        return {}
    if model.provider != "openai" or model.api == "chat":
        refuse("must be auto for this model", "reasoning", "summary")
    return {"reasoning": {"summary": asked}}
