"""What the AI SDK's clients send, as a canonical request: ``{id, messages, trigger, messageId}`` and fields of ours.

Whatever the app adds to the body must be a field of ``POST /v1/streams``. The messages are the client's own UI
messages; what their parts come to for the model is in ``ui_content``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from relay.dialects.ui_content import assistant_turns, system_text, user_content
from relay.dialects.ui_messages import MESSAGE_ID
from shared.chats import CHAT_ID
from shared.errors import InvalidRequestError
from shared.request import JsonObject

Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class UiMessage(BaseModel):
    """One message of a chat. ``metadata`` is the app's, and no matter of the model's."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: Id
    role: Literal["system", "user", "assistant"]
    parts: Annotated[list[JsonObject], Field(max_length=10_000)]
    metadata: JsonValue = None


class UiRequest(BaseModel):
    """The body of ``POST /api/chat``. Its other fields are those of a canonical request."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    id: Id | None = None
    messages: Annotated[list[UiMessage], Field(min_length=1, max_length=10_000)] | None = None
    message: UiMessage | None = None
    """In place of ``messages``, where the app's server keeps the others. This one keeps none, so it is all there is."""
    trigger: Literal["submit-message", "regenerate-message"] | None = None
    messageId: Id | None = None  # noqa: N815 - the client's name for it
    """The message that is to be made again, or that goes on. ``messages`` says so already."""


class StopRequest(BaseModel):
    """The body of ``POST /api/chat/{id}/stop``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    activeStreamId: Id | None = None  # noqa: N815 - the client's name for it
    """Stop nothing unless this is the chat's stream."""
    assistantMessage: JsonValue = None  # noqa: N815 - likewise
    """What the client has of the answer; for servers that keep messages."""


def canonical(body: UiRequest) -> dict[str, Any]:
    """Return the fields of the canonical request, to be validated as such. Raises ``InvalidRequestError``."""
    named = _messages(body)
    turns: list[dict[str, Any]] = []
    fields: dict[str, Any] = {**(body.model_extra or {}), "messages": turns}
    for path, message in named:
        if message.role == "user":
            turns.append({"role": "user", "content": user_content(message.parts, path)})
        elif message.role == "assistant":
            turns += assistant_turns(message.parts, path)
        elif turns or "system" in fields:
            sentence = f"{path}: give one system message before all others, or the field system, not both"
            raise InvalidRequestError(sentence, field=path)
        else:
            fields["system"] = system_text(message.parts, path)
    if not turns:
        sentence = "there is nothing in the messages that a model could answer"
        raise InvalidRequestError(sentence, field="messages")
    _, last = named[-1]
    remembered = {} if body.id is None else {CHAT_ID: body.id}
    remembered |= {MESSAGE_ID: last.id} if last.role == "assistant" else {}
    given = fields.get("metadata", {})
    if remembered and isinstance(given, dict):
        fields["metadata"] = remembered | given
    return fields


def _messages(body: UiRequest) -> list[tuple[str, UiMessage]]:
    """Return the messages with their paths. Raises ``InvalidRequestError`` unless they are told in one of the ways."""
    if body.messages is not None and body.message is None:
        return [(f"messages.{number}", message) for number, message in enumerate(body.messages)]
    if body.message is not None and body.messages is None:
        return [("message", body.message)]
    sentence = "send either messages, or, for a chat of one message, message"
    raise InvalidRequestError(sentence, field="messages")
