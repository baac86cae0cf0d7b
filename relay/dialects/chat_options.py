"""What Chat Completions may ask for beside the conversation, as the model's provider has it; or else a refusal.

Nothing that is asked for is dropped: what a provider cannot be told, and what could not be told back, is a 400 that
names the field. Values that mean what happens anyway are taken from everybody, since many programs send them always.
"""

from __future__ import annotations

from typing import Any

from relay.dialects.chat_body import ChatBody, ResponseFormat
from relay.dialects.openai_options import Fields, end_user, merged, refuse_too_hot, text_format
from relay.parsing import refuse
from shared.models import Model

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
    options = merged(options, end_user(body.user, body.safety_identifier, model))
    if body.response_format is not None:
        options = merged(options, _format(body.response_format, model))
    refuse_too_hot(body.temperature, model)
    return options


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


def _format(asked: ResponseFormat, model: Model) -> Fields:
    """Return what the answer's text must be."""
    if asked.type == "text":
        return {}
    if asked.type == "json_schema" and asked.json_schema is None:
        refuse("is missing", "response_format", "json_schema")
    schema = asked.json_schema.model_dump(by_alias=True, exclude_unset=True) if asked.json_schema else {}
    told = text_format(asked.type, schema, model)
    if told is None:
        refuse(f"models of provider {model.provider} do not have {asked.type}", "response_format", "type")
    return told
