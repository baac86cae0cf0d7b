"""The request for an answer, as clients send it and as the record keeps it."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from shared.models import Interruption

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _finite(value: JsonValue) -> JsonValue:
    """Refuse NaN and infinity: JSON has neither, yet the parser takes them and would write them back as null."""
    unseen = [value]
    while unseen:
        item = unseen.pop()
        if isinstance(item, float) and not isfinite(item):
            message = "numbers must be finite"
            raise ValueError(message)
        if isinstance(item, (dict, list)):
            unseen.extend(item.values() if isinstance(item, dict) else item)
    return value


JsonPart = Annotated[JsonValue, AfterValidator(_finite)]
JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_finite)]


class CancelAfter(BaseModel):
    """Cancel the stream this many seconds after its last viewer has gone."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    cancel_after_s: float = Field(ge=0, le=86_400)


class Message(BaseModel):
    """One turn of the conversation; content is text or blocks in the Anthropic Messages shape."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    role: Literal["user", "assistant", "system"] = Field(
        description="Instructions in the middle of a conversation (system) are not for models of provider google."
    )
    content: Annotated[str, StringConstraints(min_length=1)] | Annotated[list[JsonObject], Field(min_length=1)]


class StreamRequest(BaseModel):
    """Everything a client may say when it starts a stream. Unknown fields are refused, never dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: Name | None = Field(None, description="One of GET /v1/models; the configured default if not given.")
    provider: Name | None = Field(None, description="Refuses the request unless the model is served by this provider.")
    messages: Annotated[list[Message], Field(min_length=1, max_length=10_000)]
    system: Annotated[str, StringConstraints(min_length=1)] | list[JsonObject] | None = None
    max_tokens: int | None = Field(None, gt=0, description="Clamped to the cap; the start event says so.")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    stop: Annotated[list[Name], Field(max_length=16)] | None = Field(None, description="Texts that end the answer.")
    thinking: JsonObject | None = None
    tools: Annotated[list[JsonObject], Field(max_length=1000)] | None = None
    tool_choice: JsonObject | None = None
    provider_options: JsonObject | None = Field(
        None, description="Fields of the provider's own API that have no name here, sent to it as they are."
    )
    metadata: Annotated[dict[Name, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=32)] = {}
    when_abandoned: Literal["continue", "cancel"] | CancelAfter = "continue"
    on_interruption: Interruption | None = Field(
        None, description="What happens when a worker or the provider dies mid-answer; by default what the model says."
    )
    max_delay_ms: int | None = Field(
        None, ge=0, le=1000, description="How long deltas may be gathered before they are sent; none means no delay."
    )

    def options(self) -> dict[str, Any]:
        """Return the optional fields that are for the provider."""
        names = ("system", "temperature", "top_p", "stop", "thinking", "tools", "tool_choice", "provider_options")
        return {name: value for name in names if (value := getattr(self, name)) is not None}
