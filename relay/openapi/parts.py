"""What the descriptions of routes are made of: parameters, contents, answers and refusals."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from relay.dialects.registry import DIALECTS
from relay.openapi.schemas import ref
from shared import errors
from shared.errors import InternalError, TailraceError, UnauthorizedError

Part = dict[str, Any]

TEXT: Part = {"type": "string"}
_SECONDS: Part = {"type": "number", "minimum": 0}
_SSE_EXAMPLE = """retry: 1000

: open

id: k3f9-00000001-00000003-001
event: delta
data: {"type":"delta","block":0,"text":"Hello"}

"""


def _query(name: str, schema: Part, about: str) -> Part:
    return {"name": name, "in": "query", "schema": schema, "description": about}


def _header(name: str, about: str, **schema: Any) -> Part:
    return {"name": name, "in": "header", "schema": TEXT | schema, "description": about}


PARAMETERS: dict[str, Part] = {
    "StreamId": {"name": "stream_id", "in": "path", "required": True, "schema": TEXT},
    "IdempotencyKey": _header(
        "Idempotency-Key",
        "Attaches to the stream that this key started before. Another request under the same key is 409. The key "
        "lives as long as its stream and is the tenant's own.",
        minLength=1,
        maxLength=256,
    ),
    "LastEventId": _header("Last-Event-ID", "The id of the last event the reader has. Wins over `offset`."),
    "Offset": _query("offset", TEXT, "An event's id, or `now` for only what comes. Without it: from the start."),
    "Mode": _query("mode", {"enum": ["sse", "poll"], "default": "sse"}, "`poll` answers the next events as JSON."),
    "Format": _query(
        "format", {"enum": ["native", *DIALECTS], "default": "native"}, "The dialect to be told the stream in."
    ),
    "PollWait": _query("wait", _SECONDS | {"default": 20}, "How long a poll waits for the first event, in seconds."),
    "Token": _query("token", TEXT, "Of a signed link, which then stands in for the API key."),
    "Wait": _query("wait", _SECONDS, "How long to wait for the finished answer, in seconds. Not with event streams."),
    "Status": _query("status", ref("Status"), "Only streams in this status."),
    "Limit": _query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Streams per page."),
    "Cursor": _query("cursor", TEXT, "The `next_cursor` of the page before."),
    "Metadata": _query(
        "filter",
        {"type": "object", "propertyNames": {"pattern": r"^metadata\."}, "additionalProperties": TEXT},
        "Only streams with this metadata, as `metadata.KEY=VALUE`; may be repeated.",
    )
    | {"style": "form", "explode": True},
}
STREAM_HEADERS: Part = {
    "X-Stream-Id": {"required": True, "schema": TEXT, "description": "The stream it is about."},
    "Location": {"required": True, "schema": {"type": "string", "format": "uri-reference"}},
}
RETRY_AFTER: Part = {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 0}}}
_CHALLENGE: Part = {"WWW-Authenticate": {"required": True, "schema": TEXT}}


def parameters(*names: str) -> list[Part]:
    """Return references to these of ``PARAMETERS``."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def content(schema: str) -> Part:
    """Return JSON of the schema called ``schema``."""
    return {"application/json": {"schema": ref(schema)}}


def sse_content() -> Part:
    """Return server-sent events; the schema of one event is under the name that OpenAPI 3.2 has for it."""
    media: Part = {"schema": TEXT, "x-itemSchema": ref("SseEvent"), "example": _SSE_EXAMPLE}
    return {"text/event-stream": media}


def answer(about: str, content: Part | None = None, headers: Part | None = None) -> Part:
    """Return one response."""
    return (
        {"description": about} | ({"content": content} if content else {}) | ({"headers": headers} if headers else {})
    )


START_REFUSALS = (
    errors.InvalidRequestError,
    errors.UnknownModelError,
    errors.ConflictError,
    errors.GoneError,
    errors.TooLargeError,
    errors.UnsupportedMediaTypeError,
    errors.LimitError,
    errors.OverloadedError,
    errors.UnavailableError,
)
"""What a route that starts streams may refuse."""


def refusals(*kinds: type[TailraceError]) -> dict[str, Part]:
    """Return the responses of these errors and of those that any route under ``/v1`` may give, by status."""
    all_kinds: set[type[TailraceError]] = {*kinds, UnauthorizedError, InternalError}
    told = sorted(all_kinds, key=lambda kind: (kind.status, kind.code))
    return {str(status): _refusal(list(group)) for status, group in groupby(told, key=lambda kind: kind.status)}


def _refusal(kinds: list[type[TailraceError]]) -> Part:
    """Return the response for errors of one status."""
    codes = {"properties": {"error": {"properties": {"code": {"enum": [kind.code for kind in kinds]}}}}}
    body = {"application/json": {"schema": {"allOf": [ref("Error"), codes]}}}
    about = " ".join(f"`{kind.code}`: {(kind.__doc__ or '').strip()}" for kind in kinds)
    headers: Part = {}
    if kinds[0].retryable and kinds[0] is not InternalError:
        headers = RETRY_AFTER
    elif UnauthorizedError in kinds:
        headers = _CHALLENGE
    return answer(about, body, headers)
