"""The OpenAI Responses API in our own description: what the routes take and answer."""

from __future__ import annotations

from relay.dialects.responses_body import ResponsesBody
from relay.openapi.chat import openai_refusals
from relay.openapi.parts import START_REFUSALS, STREAM_HEADERS, TEXT, Part, answer, content, parameters
from shared import errors

_EXAMPLE = """: open
id: k3f9-00000001-00000003-001-000
event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"msg_k3f9..._0","output_index":0,"content_index":0,"logprobs":[],\
"delta":"Hello","sequence_number":4}

"""
_EVENTS: Part = {"text/event-stream": {"schema": TEXT, "example": _EXAMPLE}}
_ID: Part = {
    "name": "response_id",
    "in": "path",
    "required": True,
    "schema": TEXT,
    "description": "`resp_` and the stream's id.",
}
_READING = (errors.NotFoundError, errors.GoneError, errors.UnavailableError)


def responses_schemas() -> dict[str, Part]:
    """Return the schemas of this dialect by name; what it shares with OpenAI is described there."""
    request = ResponsesBody.model_json_schema(ref_template="#/components/schemas/Responses{model}")
    parts: dict[str, Part] = {f"Responses{name}": part for name, part in request.pop("$defs").items()}
    response: Part = {
        "type": "object",
        "description": "A response as OpenAI describes it.",
        "properties": {
            "id": TEXT,
            "object": {"const": "response"},
            "status": {"enum": ["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]},
            "output": {"type": "array"},
        },
        "required": ["id", "object", "created_at", "status", "model", "output", "tools", "tool_choice", "usage"],
    }
    deleted: Part = {
        "type": "object",
        "properties": {"id": TEXT, "object": {"const": "response"}, "deleted": {"const": True}},
        "required": ["id", "object", "deleted"],
    }
    items: Part = {
        "type": "object",
        "properties": {"object": {"const": "list"}, "data": {"type": "array"}, "has_more": {"type": "boolean"}},
        "required": ["object", "data", "first_id", "last_id", "has_more"],
    }
    named = {"ResponsesRequest": request, "Response": response, "DeletedResponse": deleted, "ResponseItems": items}
    return named | parts


def responses_paths() -> dict[str, Part]:
    """Return the path items of this dialect."""
    one = "/v1/responses/{response_id}"
    return {
        "/v1/responses": {"post": _create()},
        one: {"get": _retrieve(), "delete": _plain("deleteResponse", "Erase a response", "DeletedResponse")},
        f"{one}/cancel": {"post": _plain("cancelResponse", "End a response", "Response")},
        f"{one}/input_items": {"get": _items()},
    }


def _create() -> Part:
    return {
        "operationId": "createResponse",
        "summary": "OpenAI Responses: start a stream, or attach to the one that was started before",
        "description": "With `stream: true` the events come at once, with `background: true` the response as it is.",
        "tags": ["dialects"],
        "parameters": parameters("IdempotencyKey"),
        "requestBody": {"required": True, "content": content("ResponsesRequest")},
        "responses": {"200": answer("The response.", content("Response") | _EVENTS, STREAM_HEADERS)}
        | openai_refusals(*START_REFUSALS, errors.ProviderError),
    }


def _retrieve() -> Part:
    query: list[Part] = [
        _query("stream", {"type": "boolean"}, "Its events, live until the end, instead of the response as it stands."),
        _query("starting_after", {"type": "integer", "minimum": 0}, "The `sequence_number` of the last event had."),
    ]
    return {
        "operationId": "retrieveResponse",
        "summary": "A response as it stands, or its events",
        "tags": ["dialects"],
        "parameters": [_ID, *query, *parameters("LastEventId", "Offset")],
        "responses": {
            "200": answer("The response.", content("Response") | _EVENTS, STREAM_HEADERS),
            "204": answer("The client has the end, by its `offset`.", headers=STREAM_HEADERS),
        }
        | openai_refusals(
            errors.InvalidRequestError,
            errors.InvalidOffsetError,
            *_READING,
            errors.LimitError,
            errors.OverloadedError,
        ),
    }


def _items() -> Part:
    query: list[Part] = [
        _query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Items per page."),
        _query("order", {"enum": ["asc", "desc"], "default": "desc"}, "Newest first, or oldest."),
        _query("after", TEXT, "The id of the last item of the page before."),
    ]
    return _plain("listInputItems", "What a response was made from", "ResponseItems") | {
        "parameters": [_ID, *query],
        "responses": {"200": answer("A page.", content("ResponseItems"), STREAM_HEADERS)}
        | openai_refusals(errors.InvalidRequestError, *_READING),
    }


def _plain(name: str, about: str, schema: str) -> Part:
    return {
        "operationId": name,
        "summary": about,
        "tags": ["dialects"],
        "parameters": [_ID],
        "responses": {"200": answer("Done.", content(schema), STREAM_HEADERS)} | openai_refusals(*_READING),
    }


def _query(name: str, schema: Part, about: str) -> Part:
    return {"name": name, "in": "query", "schema": schema, "description": about}
