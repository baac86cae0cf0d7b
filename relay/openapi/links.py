"""The routes of signed links as OpenAPI path items, and the schema of what they answer."""

from __future__ import annotations

from relay.openapi.parts import STREAM_HEADERS, TEXT, Part, answer, content, parameters, refusals
from relay.routes.links import LinkRequest
from shared import errors


def link_schemas() -> dict[str, Part]:
    """Return the schemas of links by name."""
    fields: Part = {
        "url": {"type": "string", "format": "uri-reference", "description": "For an EventSource; read only."},
        "token": TEXT | {"description": "What is in it; also for a WebSocket. Whoever has it may read the stream."},
        "expires_ms": {"type": "integer", "minimum": 0, "description": "Unix time in milliseconds."},
    }
    about = "A way to read one stream for a while, with nothing else to show."
    link: Part = {"type": "object", "description": about, "properties": fields, "required": list(fields)}
    return {"LinkRequest": LinkRequest.model_json_schema(), "Link": link | {"additionalProperties": False}}


def link_paths() -> dict[str, Part]:
    """Return the path items of links."""
    return {"/v1/streams/{stream_id}/links": {"post": _make(), "delete": _revoke()}}


def _make() -> Part:
    return {
        "operationId": "makeLink",
        "summary": "A short-lived link to the stream's events, for what cannot send headers",
        "tags": ["streams"],
        "parameters": parameters("StreamId"),
        "requestBody": {"required": False, "content": content("LinkRequest")},
        "responses": {"201": answer("The link.", content("Link"), STREAM_HEADERS)}
        | refusals(
            errors.InvalidRequestError,
            errors.NotFoundError,
            errors.GoneError,
            errors.TooLargeError,
            errors.UnsupportedMediaTypeError,
            errors.UnavailableError,
        ),
    }


def _revoke() -> Part:
    return {
        "operationId": "revokeLinks",
        "summary": "Have no link to the stream work that was made before now",
        "tags": ["streams"],
        "parameters": parameters("StreamId"),
        "responses": {"204": answer("Revoked.", None, STREAM_HEADERS)}
        | refusals(errors.NotFoundError, errors.UnavailableError),
    }
