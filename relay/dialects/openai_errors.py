"""Errors as the OpenAI API tells them, over HTTP and in a stream; shared by Chat Completions and Responses."""

from __future__ import annotations

from aiohttp import web

from relay.respond import error_headers, json_answer
from shared.errors import InvalidRequestError, TailraceError, UnknownModelError

_CODES = {
    "unauthorized": "invalid_api_key",
    "unknown_model": "model_not_found",
    "rate_limited": "rate_limit_exceeded",
}
"""Our codes for which programs written against OpenAI know another; all others go out as they are."""
_STATUSES = {"unknown_model": 404}
"""Likewise for statuses."""
_SERVER_ERROR = 500
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def openai_error(error: TailraceError) -> dict[str, object]:
    """Return the error's four fields: ``message``, ``type``, ``param`` (the request's field, or None) and ``code``."""
    param = error.field if isinstance(error, InvalidRequestError) else None
    if isinstance(error, UnknownModelError):
        param = "model"
    usual = "server_error" if error.status >= _SERVER_ERROR else "invalid_request_error"
    return {
        "message": error.message,
        "type": _TYPES.get(error.status, usual),
        "param": param,
        "code": openai_code(error.code),
    }


def openai_code(code: str) -> str:
    """Return what OpenAI calls one of our error codes, or the code itself."""
    return _CODES.get(code, code)


def openai_status(error: TailraceError | type[TailraceError]) -> int:
    """Return the HTTP status by which the OpenAI API tells such an error."""
    return _STATUSES.get(error.code, error.status)


def openai_error_answer(error: TailraceError) -> web.Response:
    """Return the HTTP answer for an error.

    ``x-should-retry`` says whether a retry may help: by status alone the SDKs would repeat every 409 and 5xx.
    """
    headers = error_headers(error) | {"x-should-retry": "true" if error.retryable else "false"}
    return json_answer({"error": openai_error(error)}, openai_status(error), headers)
