"""The routes of the API as OpenAPI path items: what each takes, and every status that it answers."""

from __future__ import annotations

from relay.openapi.ai_sdk import ai_sdk_paths
from relay.openapi.anthropic import anthropic_paths
from relay.openapi.chat import chat_paths
from relay.openapi.links import link_paths
from relay.openapi.parts import (
    RETRY_AFTER,
    START_REFUSALS,
    STREAM_HEADERS,
    TEXT,
    Part,
    answer,
    content,
    parameters,
    refusals,
    sse_content,
)
from relay.openapi.responses import responses_paths
from relay.openapi.socket import socket_paths
from shared import errors


def paths() -> dict[str, Part]:
    """Return every path of the API."""
    stream = "/v1/streams/{stream_id}"
    return {
        "/v1/streams": {"post": _start(), "get": _listing()},
        stream: {"get": _look(), "delete": _delete()},
        f"{stream}/events": {"get": _follow()},
        f"{stream}/cancel": {"post": _cancel()},
        **link_paths(),
        **chat_paths(),
        **responses_paths(),
        **ai_sdk_paths(),
        **anthropic_paths(),
        **socket_paths(),
        "/v1/models": {"get": _models()},
        "/v1/models/{model}": {"get": _model()},
        **_service(),
    }


def _start() -> Part:
    """Return ``POST /v1/streams``."""
    answered = content("StreamState") | sse_content()
    return {
        "operationId": "startStream",
        "summary": "Start a stream, or attach to the one that the idempotency key started",
        "description": "With `Accept: text/event-stream` the events come at once. With `wait`, the finished answer.",
        "tags": ["streams"],
        "parameters": parameters("IdempotencyKey", "Wait"),
        "requestBody": {"required": True, "content": content("StreamRequest")},
        "responses": {
            "200": answer("The events, the finished answer, or the stream attached to.", answered, STREAM_HEADERS),
            "201": answer("Started.", content("StreamState"), STREAM_HEADERS),
            "202": answer(
                "Not finished within `wait`: the state so far.", content("StreamState"), STREAM_HEADERS | RETRY_AFTER
            ),
        }
        | refusals(*START_REFUSALS),
    }


def _follow() -> Part:
    """Return ``GET /v1/streams/{id}/events``."""
    return {
        "operationId": "followStream",
        "summary": "Follow a stream from any place, live until its end",
        "tags": ["streams"],
        "parameters": parameters("StreamId", "LastEventId", "Offset", "Mode", "Format", "PollWait", "Token"),
        "responses": {
            "200": answer("The events after the offset.", sse_content() | content("Poll"), STREAM_HEADERS),
            "204": answer("The reader has the end already.", None, STREAM_HEADERS),
        }
        | refusals(
            errors.InvalidRequestError,
            errors.InvalidOffsetError,
            errors.NotFoundError,
            errors.NotAcceptableError,
            errors.GoneError,
            errors.LimitError,
            errors.OverloadedError,
            errors.UnavailableError,
        ),
    }


def _listing() -> Part:
    """Return ``GET /v1/streams``."""
    return {
        "operationId": "listStreams",
        "summary": "The tenant's streams, newest first",
        "tags": ["streams"],
        "parameters": parameters("Status", "Metadata", "Limit", "Cursor"),
        "responses": {"200": answer("One page.", content("StreamPage"))}
        | refusals(errors.InvalidRequestError, errors.UnavailableError),
    }


def _look() -> Part:
    """Return ``GET /v1/streams/{id}``."""
    return {
        "operationId": "getStream",
        "summary": "The stream's state and the answer so far",
        "description": "With `format`, the answer as that dialect has it, once it has ended: 503 until then.",
        "tags": ["streams"],
        "parameters": parameters("StreamId", "Format", "Wait"),
        "responses": {
            "200": answer("The state, or the answer in a dialect.", content("StreamState"), STREAM_HEADERS),
        }
        | refusals(
            errors.InvalidRequestError,
            errors.NotFoundError,
            errors.GoneError,
            errors.ProviderError,
            errors.OverloadedError,
            errors.UnavailableError,
        ),
    }


def _cancel() -> Part:
    """Return ``POST /v1/streams/{id}/cancel``."""
    return {
        "operationId": "cancelStream",
        "summary": "End the stream; one that had ended is answered with how it did",
        "tags": ["streams"],
        "parameters": parameters("StreamId"),
        "responses": {"200": answer("It has ended.", content("StreamState"), STREAM_HEADERS)}
        | refusals(errors.NotFoundError, errors.GoneError, errors.UnavailableError),
    }


def _delete() -> Part:
    """Return ``DELETE /v1/streams/{id}``."""
    return {
        "operationId": "deleteStream",
        "summary": "End the stream if it runs and erase it; from then on it is 410",
        "tags": ["streams"],
        "parameters": parameters("StreamId"),
        "responses": {"204": answer("Erased.", None, STREAM_HEADERS)}
        | refusals(errors.NotFoundError, errors.UnavailableError),
    }


def _models() -> Part:
    """Return ``GET /v1/models``."""
    return {
        "operationId": "listModels",
        "summary": "The models that can be asked for",
        "tags": ["service"],
        "responses": {"200": answer("The models.", content("ModelList"))} | refusals(),
    }


def _model() -> Part:
    """Return ``GET /v1/models/{model}``."""
    return {
        "operationId": "getModel",
        "summary": "One of the models",
        "tags": ["service"],
        "parameters": [{"name": "model", "in": "path", "required": True, "schema": TEXT}],
        "responses": {"200": answer("The model.", content("Model"))} | refusals(errors.NotFoundError),
    }


def _service() -> dict[str, Part]:
    """Return the routes that need no key."""
    json_object = {"application/json": {"schema": {"type": "object"}}}
    away = answer("Shutting down, or Redis has been away for long.", content("Health"), RETRY_AFTER)
    operations: dict[str, tuple[str, str, Part]] = {
        "/healthz": ("getHealth", "Whether the process lives", {"200": answer("It does.", content("Health"))}),
        "/readyz": (
            "getReadiness",
            "Whether to send requests here",
            {"200": answer("Yes.", content("Health")), "503": away},
        ),
        "/metrics": (
            "getMetrics",
            "Metrics for Prometheus",
            {"200": answer("Prometheus's text format.", {"text/plain": {"schema": TEXT}})},
        ),
        "/openapi.json": ("getOpenapi", "This description", {"200": answer("OpenAPI 3.1.", json_object)}),
    }
    return {
        path: {"get": {"operationId": name, "summary": about, "tags": ["service"], "security": [], "responses": told}}
        for path, (name, about, told) in operations.items()
    }
