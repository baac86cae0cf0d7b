"""The body of ``POST /v1/messages`` as the canonical request; what that cannot say is refused by name.

The two have nearly the same shape. Fields of the API that the canonical request has no name for go to Anthropic's own
models as they are (``provider_options``); for any other model they are a 400, but for ``cache_control``, which changes
what an answer costs and nothing of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.errors import InvalidRequestError
from shared.models import Interruption, Model
from shared.request import CancelAfter, JsonObject, JsonPart, Message, Name, StreamRequest

_NEWEST = "2026-10-21"
_VERSIONS = ("2023-06-01", _NEWEST)
"""Both have the same answers; the newest takes a little less. Anthropic's own models are told which it is."""
_HINTS = frozenset(("cache_control",))
_MOST_BETAS = 50
_BY_HEADER = {"betas": "anthropic-beta", "anthropic_version": "anthropic-version"}


class MessagesMetadata(BaseModel):
    """About the request."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    user_id: Annotated[str, StringConstraints(max_length=1024)] | None = None


class MessagesBody(BaseModel):
    """The body. Fields that are not here end up in ``model_extra``: Anthropic's own models may take them."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    __pydantic_extra__: dict[str, JsonPart]

    model: Name
    messages: Annotated[list[Message], Field(min_length=1, max_length=10_000)]
    max_tokens: Annotated[int, Field(gt=0)]
    system: str | list[JsonObject] | None = None
    stop_sequences: Annotated[list[Name], Field(max_length=16)] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    thinking: JsonObject | None = None
    tools: Annotated[list[JsonObject], Field(max_length=1000)] | None = None
    tool_choice: JsonObject | None = None
    metadata: MessagesMetadata | None = None
    when_abandoned: Literal["continue", "cancel"] | CancelAfter | None = Field(None, description="Not Anthropic's.")
    on_interruption: Interruption | None = Field(None, description="Not Anthropic's.")
    max_delay_ms: Annotated[int, Field(ge=0, le=1000)] | None = Field(None, description="Not Anthropic's.")


@dataclass(frozen=True)
class Asked:
    """What the request's headers say."""

    version: str = _NEWEST
    betas: tuple[str, ...] = ()

    @classmethod
    def by(cls, headers: Mapping[str, str]) -> Asked:
        """Return what these headers say. Raises ``InvalidRequestError``, which names the header."""
        version = headers.get("anthropic-version", _NEWEST)
        if version not in _VERSIONS:
            message = f"anthropic-version: this service speaks {' and '.join(_VERSIONS)}"
            raise InvalidRequestError(message, field="anthropic-version")
        names = tuple(name for part in headers.get("anthropic-beta", "").split(",") if (name := part.strip()))
        if len(names) > _MOST_BETAS or not all(name.isascii() and name.isprintable() for name in names):
            message = f"anthropic-beta: must be at most {_MOST_BETAS} names with commas between them"
            raise InvalidRequestError(message, field="anthropic-beta")
        return cls(version, names)

    def options(self) -> dict[str, Any]:
        """Return what Anthropic's own models are told of it."""
        told: dict[str, Any] = {} if self.version == _NEWEST else {"anthropic_version": self.version}
        return told | ({"betas": list(self.betas)} if self.betas else {})


def canonical_request(body: MessagesBody, model: Model, asked: Asked) -> StreamRequest:
    """Return the request that ``body`` is, for ``model``. Raises ``InvalidRequestError``, which names the field.

    Betas are told to Anthropic's own models. Others know none, and what a beta adds to the body is refused.
    """
    fields: dict[str, Any] = {
        "model": body.model,
        "messages": body.messages,
        "max_tokens": body.max_tokens,
        "system": body.system or None,
        "stop": body.stop_sequences,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "thinking": body.thinking,
        "tools": body.tools,
        "tool_choice": body.tool_choice,
        "provider_options": _own_fields(body, model, asked) or None,
        "metadata": _kept(body),
        "when_abandoned": body.when_abandoned,
        "on_interruption": body.on_interruption,
        "max_delay_ms": body.max_delay_ms,
    }
    return StreamRequest(**{name: value for name, value in fields.items() if value is not None})


def _own_fields(body: MessagesBody, model: Model, asked: Asked) -> dict[str, Any]:
    """Return what goes to the provider under its own names."""
    extra = {name: value for name, value in (body.model_extra or {}).items() if value is not None}
    if model.provider != "anthropic":
        if refused := sorted(extra.keys() - _HINTS):
            why = f"models of provider {model.provider} cannot be told this; leave it out"
            raise InvalidRequestError("; ".join(f"{name}: {why}" for name in refused), field=refused[0])
        return {}
    for name, header in _BY_HEADER.items():
        if name in extra:
            message = f"{name}: say this in the header {header}"
            raise InvalidRequestError(message, field=name)
    return extra | asked.options() | _about(body)


def _about(body: MessagesBody) -> dict[str, Any]:
    """Return the metadata that the provider is told, which is who the user is."""
    return {"metadata": kept} if (kept := _kept(body)) else {}


def _kept(body: MessagesBody) -> dict[str, str] | None:
    """Return the metadata that is kept with the stream, to find it by."""
    user = None if body.metadata is None else body.metadata.user_id
    return None if user is None else {"user_id": user}
