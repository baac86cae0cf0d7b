"""The JSON schemas of what goes in and out. Requests come from pydantic, events from msgspec; neither can drift."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from shared.errors import TailraceError
from shared.events import BlockKind, EndStatus, KnownEvent
from shared.request import StreamRequest

Schema = dict[str, Any]

_PREFIX = "#/components/schemas/"
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": ["number", "null"], "minimum": 0}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_TIMINGS: Schema = {
    "queued_ms": _TIME | {"description": "From the request to the first attempt."},
    "first_token_ms": _TIME | {"description": "From the request to the first delta."},
    "duration_ms": _TIME | {"description": "From the request to the end."},
    "tokens_per_second": _TIME | {"description": "Output tokens per second from the first delta to the end."},
}


def ref(name: str) -> Schema:
    """Return a reference to the schema called ``name``."""
    return {"$ref": _PREFIX + name}


def schemas() -> dict[str, Schema]:
    """Return every schema of the API by name."""
    return _request() | _events() | _streams() | _service() | {"Error": _error()}


def error_kinds() -> list[type[TailraceError]]:
    """Return the classes of errors that our own table names, each once."""
    unseen, kinds = [TailraceError], []
    while unseen:
        children = [kind for kind in unseen.pop().__subclasses__() if kind.__module__ == TailraceError.__module__]
        kinds += children
        unseen += children
    return kinds


def _closed(properties: dict[str, Schema], *, optional: tuple[str, ...] = (), about: str) -> Schema:
    """Return an object that has these fields and no others."""
    return {
        "type": "object",
        "description": about,
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _request() -> dict[str, Schema]:
    """Return the request to start a stream, and what it is made of."""
    request = StreamRequest.model_json_schema(ref_template=_PREFIX + "{model}")
    parts: dict[str, Schema] = request.pop("$defs")
    return {"StreamRequest": request} | parts


def _events() -> dict[str, Schema]:
    """Return the events, their union, and their framing as server-sent events."""
    (union,), parts = msgspec.json.schema_components([KnownEvent], ref_template=_PREFIX + "{name}")
    union["description"] = "One event of a stream. Clients ignore types and fields that they do not know."
    parts["ErrorEvent"]["properties"]["stream_id"] = _TEXT | {
        "description": "Only where the error is about the reading and is not part of the stream."
    }
    frame = {
        "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": ref("Event")},
        "event": {"type": "string", "description": "The event's `type`."},
        "id": {"type": "string", "description": "The offset: what to send as `Last-Event-ID` to go on from here."},
        "retry": {"type": "integer", "minimum": 0, "description": "Milliseconds; sent once, before all events."},
    }
    about = "One server-sent event. Lines that begin with a colon are comments; they fill silence."
    sse: Schema = {"type": "object", "description": about, "properties": frame, "required": ["data", "event"]}
    polled = _closed(
        {"id": _TEXT, "event": _TEXT, "data": ref("Event")}, about="An event with its offset, as a poll answers it."
    )
    batch = {"events": {"type": "array", "items": ref("PolledEvent")}, "offset": _TEXT, "done": {"type": "boolean"}}
    about = "What came after the offset; ask again from the new `offset` unless `done`."
    return parts | {"Event": union, "SseEvent": sse, "PolledEvent": polled, "Poll": _closed(batch, about=about)}


def _streams() -> dict[str, Schema]:
    """Return the states of streams."""
    summary: dict[str, Schema] = {
        "id": {"type": "string", "pattern": "^[a-z2-7]{26}$"},
        "status": ref("Status"),
        "model": _TEXT,
        "provider": _TEXT,
        "metadata": {"type": "object", "additionalProperties": _TEXT},
        "created_ms": _COUNT | {"description": "Unix time in milliseconds."},
        "events_url": {"type": "string", "format": "uri-reference"},
    }
    state = summary | {
        "offset": _TEXT | {"description": "Of the last event there is."},
        "blocks": {"type": "array", "items": ref("Block")},
        "text": _TEXT | {"description": "All text blocks, joined."},
        "stop_reason": _MAYBE_TEXT,
        "stop_sequence": _MAYBE_TEXT,
        "usage": ref("Usage") | {"description": "Of all attempts so far."},
        "attempts": _COUNT,
        "timings": _closed(_TIMINGS, about="Null where not known yet."),
        "error": {"anyOf": [ref("StreamError"), {"type": "null"}]},
    }
    error: dict[str, Schema] = {"code": _TEXT, "message": _TEXT, "retryable": {"type": "boolean"}}
    error |= {"retry_after_s": {"type": "number", "minimum": 0}}
    page = {"streams": {"type": "array", "items": ref("StreamSummary")}, "next_cursor": _MAYBE_TEXT}
    return {
        "Status": {"type": "string", "enum": ["queued", "running", *get_args(EndStatus)]},
        "StreamSummary": _closed(summary, about="A stream in a list."),
        "StreamState": _closed(state, about="All that a stream is now."),
        "StreamError": _closed(error, optional=("retry_after_s",), about="Why the stream failed."),
        "StreamPage": _closed(page, about="Newest first; the next page is at `cursor=next_cursor`."),
        "Block": _block(),
    }


def _block() -> Schema:
    """Return one block of an answer so far."""
    fields: dict[str, Schema] = {
        "block": _COUNT,
        "kind": {"type": "string", "enum": list(get_args(BlockKind))},
        "complete": {"type": "boolean"},
        "id": _TEXT | {"description": "The tool call's id."},
        "name": _TEXT | {"description": "The tool's name, or the provider's name for an opaque block."},
        "source": _TEXT,
        "text": _TEXT | {"description": "Of `text` and `thinking`."},
        "signature": _TEXT | {"description": "Of `thinking`, byte for byte as the provider gave it."},
        "json": _TEXT | {"description": "Of `tool_use`: the arguments so far, as JSON text."},
        "data": {"description": "Of `tool_result` and `data`: whatever the provider sent."},
    }
    optional = tuple(name for name in fields if name not in ("block", "kind", "complete"))
    return _closed(fields, optional=optional, about="One block of an answer so far.")


def _service() -> dict[str, Schema]:
    """Return what operators and tools are answered."""
    model: dict[str, Schema] = {
        "id": _TEXT | {"description": "The name to ask for."},
        "provider": _TEXT,
        "max_tokens": {"type": "integer", "minimum": 1, "description": "More is clamped to this."},
        "default": {"type": "boolean", "description": "Whether a request without a model gets this one."},
        "object": {"const": "model"},
        "created": {"const": 0},
        "owned_by": _TEXT | {"description": "The provider."},
        "type": {"const": "model"},
        "display_name": _TEXT | {"description": "The name again."},
        "created_at": {"type": "string", "format": "date-time"},
    }
    many: Schema = {"type": "array", "items": ref("Model")}
    page: dict[str, Schema] = {
        "models": many,
        "object": {"const": "list"},
        "data": many | {"description": "The same, where the SDKs of other APIs look for it."},
        "has_more": {"const": False},
        "first_id": _MAYBE_TEXT,
        "last_id": _MAYBE_TEXT,
    }
    return {
        "Model": _closed(model, about="A model that can be asked for."),
        "ModelList": _closed(page, about="The models on offer."),
        "Health": _closed({"status": _TEXT}, about="How the relay is."),
    }


def _error() -> Schema:
    """Return the one shape of every error, with the codes there are."""
    fields: dict[str, Schema] = {
        "code": {"type": "string", "enum": sorted({kind.code for kind in error_kinds()})},
        "message": _TEXT | {"description": "A sentence that says what to do."},
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "retry_after_s": {"type": "number", "minimum": 0},
        "stream_id": _TEXT | {"description": "The stream it is about."},
    }
    told = _closed(fields, optional=("retry_after_s", "stream_id"), about="What went wrong.")
    return _closed({"error": told}, about="Every error has this shape.")
