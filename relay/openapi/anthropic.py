"""The Anthropic Messages API in our own description: what the routes take and answer, and Anthropic's errors."""

from __future__ import annotations

from itertools import groupby

from relay.dialects.anthropic_errors import anthropic_status, error_body
from relay.dialects.anthropic_request import MessagesBody
from relay.openapi.parts import RETRY_AFTER, START_REFUSALS, STREAM_HEADERS, TEXT, Part, answer, content, parameters
from relay.openapi.schemas import ref
from shared import errors
from shared.errors import TailraceError

_SHOULD_RETRY: Part = {"x-should-retry": {"required": True, "schema": TEXT | {"enum": ["true", "false"]}}}
_EXAMPLE = """: open
id: k3f9-00000001-00000003-001-000
event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}

"""
_EVENTS: Part = {"text/event-stream": {"schema": TEXT, "example": _EXAMPLE}}


def anthropic_schemas() -> dict[str, Part]:
    """Return the schemas of this dialect by name; what it shares with Anthropic is described there."""
    request = MessagesBody.model_json_schema(ref_template="#/components/schemas/{model}")
    parts: dict[str, Part] = request.pop("$defs")
    for name in ("CancelAfter", "Message"):  # the native request's
        parts.pop(name)
    message: Part = {
        "type": "object",
        "description": "A message as Anthropic describes it. `stop_reason` may also be `cancelled`.",
        "properties": {"id": TEXT, "type": {"const": "message"}, "content": {"type": "array"}},
        "required": ["id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"],
    }
    fields: Part = {
        "type": TEXT,
        "message": TEXT | {"description": "A sentence that says what to do."},
        "details": {"type": "object", "properties": {"error_code": TEXT}, "required": ["error_code"]},
    }
    error: Part = {
        "type": "object",
        "description": "What went wrong, in Anthropic's shape; `error_code` is the native code.",
        "properties": {
            "type": {"const": "error"},
            "error": {"type": "object", "properties": fields, "required": list(fields)},
        },
        "required": ["type", "error"],
    }
    return {"MessagesRequest": request, "AnthropicMessage": message, "AnthropicError": error} | parts


def anthropic_paths() -> dict[str, Part]:
    """Return the path items of this dialect."""
    return {
        "/v1/messages": {"post": _create()},
        "/v1/messages/{stream_id}/events": {"get": _resume()},
        "/v1/messages/count_tokens": {"post": _count()},
    }


def _create() -> Part:
    return {
        "operationId": "createMessage",
        "summary": "Anthropic Messages: start a stream, or attach to the one that was started before",
        "description": "With `stream: true` the events come at once.",
        "tags": ["dialects"],
        "parameters": parameters("IdempotencyKey"),
        "requestBody": {"required": True, "content": content("MessagesRequest")},
        "responses": {"200": answer("The answer.", content("AnthropicMessage") | _EVENTS, STREAM_HEADERS)}
        | _refusals(*START_REFUSALS, errors.ProviderError)
        | {"504": answer("The provider did not answer in time.", content("AnthropicError"), _SHOULD_RETRY)},
    }


def _resume() -> Part:
    return {
        "operationId": "resumeMessage",
        "summary": "A message's events after those that the client has, live until the end",
        "description": "For the stream's id or its message's, `msg_` and the stream's.",
        "tags": ["dialects"],
        "parameters": parameters("StreamId", "LastEventId", "Offset"),
        "responses": {
            "200": answer("The events.", _EVENTS, STREAM_HEADERS),
            "204": answer("The client has the end.", headers=STREAM_HEADERS),
        }
        | _refusals(
            errors.InvalidOffsetError,
            errors.NotFoundError,
            errors.GoneError,
            errors.LimitError,
            errors.OverloadedError,
            errors.UnavailableError,
        ),
    }


def _count() -> Part:
    return {
        "operationId": "countMessageTokens",
        "summary": "Not served: always 404. An answer's usage has what it took",
        "tags": ["dialects"],
        "responses": _refusals(errors.NotFoundError, errors.UnavailableError),
    }


def _refusals(*kinds: type[TailraceError]) -> dict[str, Part]:
    """Return the responses of these errors in Anthropic's shape, and of those that any route may give, by status."""
    all_kinds: set[type[TailraceError]] = {*kinds, errors.UnauthorizedError, errors.InternalError}
    told = sorted(all_kinds, key=lambda kind: (anthropic_status(kind), kind.code))
    return {str(status): _refusal(list(group)) for status, group in groupby(told, key=anthropic_status)}


def _refusal(kinds: list[type[TailraceError]]) -> Part:
    types = sorted({error_body(kind.code, "")["error"]["type"] for kind in kinds})
    narrowed = {"properties": {"error": {"properties": {"type": {"enum": types}}}}}
    body = {"application/json": {"schema": {"allOf": [ref("AnthropicError"), narrowed]}}}
    about = " ".join(f"`{kind.code}`: {(kind.__doc__ or '').strip()}" for kind in kinds)
    always = all(kind in (errors.LimitError, errors.OverloadedError, errors.UnavailableError) for kind in kinds)
    return answer(about, body, _SHOULD_RETRY | (RETRY_AFTER if always else {}))
