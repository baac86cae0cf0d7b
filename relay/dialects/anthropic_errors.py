"""Errors as the Anthropic API tells them: which of its types each of ours is, over HTTP and in a stream."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from relay.respond import error_headers, json_answer
from shared.errors import ProviderError, TailraceError

_TYPES = {
    "invalid_request": "invalid_request_error",
    "invalid_offset": "invalid_request_error",
    "unknown_model": "not_found_error",
    "unauthorized": "authentication_error",
    "not_found": "not_found_error",
    "method_not_allowed": "invalid_request_error",
    "not_acceptable": "invalid_request_error",
    "idempotency_conflict": "conflict_error",
    "gone": "not_found_error",
    "too_large": "request_too_large",
    "unsupported_media_type": "invalid_request_error",
    "rate_limited": "rate_limit_error",
    "overloaded": "overloaded_error",
}
_TYPES_BY_KIND = {
    "invalid_request": "invalid_request_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "rate_limited": "rate_limit_error",
    "overloaded": "overloaded_error",
    "timeout": "timeout_error",
}
"""Of the provider's failures. The others are ``api_error``: that this service's account with the provider lacks a
right or money is no fault of the client's own key, which is what the types of that name would tell it."""
_STATUSES_BY_KIND = {
    "invalid_request": 400,
    "not_found": 404,
    "too_large": 413,
    "rate_limited": 429,
    "overloaded": 529,
    "timeout": 504,
}
_STATUSES = {"unknown_model": 404, "overloaded": 529}
"""Where the API answers with another status than our own."""


def request_id(stream_id: str) -> dict[str, str]:
    """Return the header by which the SDKs name a request; here it names the stream."""
    return {"request-id": f"req_{stream_id}"}


def error_body(code: str, message: str, kind: str | None = None) -> dict[str, Any]:
    """Return the body of an error: its ``type``, and ours as ``details.error_code``, which the SDKs hand out.

    ``kind`` is which failure of the provider's it was, where it was one.
    """
    named = _TYPES.get(code, "api_error") if kind is None else _TYPES_BY_KIND.get(kind, "api_error")
    details = {"error_code": code if kind is None else kind}
    return {"type": "error", "error": {"details": details, "type": named, "message": message}}


def body_of(error: TailraceError) -> dict[str, Any]:
    """Return the body of one of our errors."""
    return error_body(error.code, error.message, error.kind if isinstance(error, ProviderError) else None)


def anthropic_status(error: TailraceError | type[TailraceError]) -> int:
    """Return the HTTP status of one of our errors, or of a kind of them."""
    if isinstance(error, ProviderError):
        return _STATUSES_BY_KIND.get(error.kind, error.status)
    return _STATUSES.get(error.code, error.status)


def anthropic_error_answer(error: TailraceError) -> web.Response:
    """Return the HTTP answer for an error.

    ``x-should-retry`` says whether a retry may help: by status alone the SDKs would repeat every 409 and 5xx.
    """
    headers = error_headers(error) | {"x-should-retry": "true" if error.retryable else "false"}
    if error.stream_id is not None:
        headers |= request_id(error.stream_id)
    return json_answer(body_of(error), anthropic_status(error), headers)
