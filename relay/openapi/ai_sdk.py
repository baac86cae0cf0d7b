"""The routes for Vercel's AI SDK as OpenAPI path items, and the schemas of what they take."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from pydantic import BaseModel

from relay.dialects.ui_request import StopRequest, UiRequest
from relay.openapi.parts import STREAM_HEADERS, TEXT, Part, answer, content, parameters
from shared import errors

_CHUNKS: Part = {
    "text/event-stream": {
        "schema": TEXT,
        "example": 'id: k3f9-00000001-00000003-001-000\ndata: {"type":"text-delta","id":"0","delta":"Hello"}\n\n',
    }
}
_RUN_HEADERS: Part = STREAM_HEADERS | {"x-workflow-run-id": {"required": True, "schema": TEXT}}
_START_ERRORS = (
    errors.InvalidRequestError,
    errors.UnknownModelError,
    errors.ConflictError,
    errors.TooLargeError,
    errors.UnsupportedMediaTypeError,
    errors.LimitError,
    errors.OverloadedError,
    errors.UnavailableError,
)
_READ_ERRORS = (errors.LimitError, errors.OverloadedError, errors.UnavailableError)


def ai_sdk_paths() -> dict[str, Part]:
    """Return the routes of both versions of the SDK."""
    return _paths("/api", "") | _paths("/api/v7", "V7")


def ai_sdk_schemas() -> dict[str, Any]:
    """Return the schemas of the bodies by name."""
    found: dict[str, Any] = {}
    kinds: tuple[type[BaseModel], ...] = (UiRequest, StopRequest)
    for kind in kinds:
        schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {})
        found[kind.__name__] = schema
    return found


def _paths(prefix: str, version: str) -> dict[str, Part]:
    """Return the routes of one version, whose operations are told apart by ``version``."""
    chat, run = _id("chat_id", "The id of the `useChat` chat."), _id("run_id", "The run's id, or its chat's.")
    index: Part = {
        "name": "startIndex",
        "in": "query",
        "schema": {"type": "integer"},
        "description": "How many chunks the client has; a negative number asks for the last ones.",
    }
    return {
        f"{prefix}/chat": {"post": _start(f"startChat{version}", STREAM_HEADERS)},
        f"{prefix}/chat/{{chat_id}}/stream": {
            "get": _read(f"resumeChat{version}", "Replay the chat's running answer, live until its end", [chat, _ENDED])
        },
        f"{prefix}/chat/{{chat_id}}/stop": {"post": _stop(f"stopChat{version}", chat)},
        f"{prefix}/workflow": {"post": _start(f"startRun{version}", _RUN_HEADERS)},
        f"{prefix}/workflow/{{run_id}}/stream": {
            "get": _read(
                f"resumeRun{version}",
                "Go on with an answer after so many chunks",
                [run, index],
                errors.InvalidRequestError,
                errors.NotFoundError,
                errors.GoneError,
            )
        },
    }


_ENDED: Part = {
    "name": "ended",
    "in": "query",
    "schema": {"enum": ["replay"]},
    "description": "Replay an answer that has ended, too.",
}


def _id(name: str, about: str) -> Part:
    """Return a parameter of the path."""
    return {"name": name, "in": "path", "required": True, "schema": TEXT, "description": about}


def _start(name: str, headers: Part) -> Part:
    """Return the start of an answer."""
    return {
        "operationId": name,
        "summary": "Start the answer to a chat's messages",
        "description": "Any further field of the body must be one of `POST /v1/streams`.",
        "tags": ["dialects"],
        "parameters": parameters("IdempotencyKey"),
        "requestBody": {"required": True, "content": content("UiRequest")},
        "responses": {"200": answer("The answer's chunks.", _CHUNKS, headers)} | _refusals(*_START_ERRORS),
    }


def _read(name: str, about: str, taken: list[Part], *kinds: type[errors.TailraceError]) -> Part:
    """Return the resume of an answer."""
    told = {"200": answer("Its chunks.", _CHUNKS, STREAM_HEADERS), "204": answer("There is nothing to read.")}
    return {
        "operationId": name,
        "summary": about,
        "tags": ["dialects"],
        "parameters": taken,
        "responses": told | _refusals(*kinds, *_READ_ERRORS),
    }


def _stop(name: str, chat: Part) -> Part:
    """Return the stop of a chat's answer."""
    done = {"type": "object", "properties": {"success": {"const": True}}, "required": ["success"]}
    return {
        "operationId": name,
        "summary": "Cancel the chat's running answer",
        "tags": ["dialects"],
        "parameters": [chat],
        "requestBody": {"content": content("StopRequest")},
        "responses": {"200": answer("Nothing of it runs any more.", {"application/json": {"schema": done}})}
        | _refusals(
            errors.InvalidRequestError,
            errors.TooLargeError,
            errors.UnsupportedMediaTypeError,
            errors.UnavailableError,
        ),
    }


def _refusals(*kinds: type[errors.TailraceError]) -> dict[str, Part]:
    """Return the errors by status: their body is the sentence alone, which the client shows."""
    all_kinds: set[type[errors.TailraceError]] = {*kinds, errors.UnauthorizedError, errors.InternalError}
    told = sorted(all_kinds, key=lambda kind: (kind.status, kind.code))
    return {
        str(status): answer(
            " ".join(f"`{kind.code}`: {(kind.__doc__ or '').strip()}" for kind in group),
            {"text/plain": {"schema": TEXT}},
        )
        for status, group in groupby(told, key=lambda kind: kind.status)
    }
