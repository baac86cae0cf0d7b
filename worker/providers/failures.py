"""What a provider's failure means: which kind it is, whether another attempt may help, and what to tell the client."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from shared.errors import ProviderError

_DETAIL_CHARS = 300
_SECRET = re.compile(r"(sk-|AIza|Bearer\s+|api[_-]?key[=:]\s*)[\w.~+/-]{6,}", re.IGNORECASE)
_NOT_FOUND = 404
_SERVER_ERROR = 500
_REDIRECTS = range(300, 400)
"""They are not followed: the key must not go where they lead."""


class _Failure(NamedTuple):
    kind: str
    retryable: bool
    sentence: str
    tells_detail: bool = False
    """Whether the provider's own words help the client, and are about the client's request."""


_RATE_LIMITED = _Failure("rate_limited", True, "The provider's rate limit has been reached; try again later.")
_OVERLOADED = _Failure("overloaded", True, "The provider is overloaded; try again later.")
_SERVER = _Failure("server_error", True, "The provider failed internally; try again.")
_TIMEOUT = _Failure("timeout", True, "The provider did not answer in time; try again.")
_CONFLICT = _Failure("conflict", True, "The provider reported a conflict with another request; try again.")
_INVALID = _Failure("invalid_request", False, "The provider refused the request as invalid; change it.", True)
_TOO_LARGE = _Failure("too_large", False, "The request is too large for the provider; shorten it.", True)
_UNKNOWN = _Failure("not_found", False, "The provider does not have what was asked for; check the model's name.", True)
_MOVED = _Failure("not_found", False, "The provider's address leads elsewhere; its operator must correct it.")
_KEY = _Failure("authentication", False, "The provider refused this service's credentials; its operator must fix them.")
_PERMISSION = _Failure("permission", False, "The provider does not allow this service's account to do this.")
_BILLING = _Failure("billing", False, "The account of this service with the provider cannot pay for the request.")

_BY_TYPE = {
    "rate_limit_error": _RATE_LIMITED,
    "overloaded_error": _OVERLOADED,
    "api_error": _SERVER,
    "timeout_error": _TIMEOUT,
    "conflict_error": _CONFLICT,
    "invalid_request_error": _INVALID,
    "request_too_large": _TOO_LARGE,
    "not_found_error": _UNKNOWN,
    "authentication_error": _KEY,
    "permission_error": _PERMISSION,
    "billing_error": _BILLING,
}
_BY_CODE = {
    "insufficient_quota": _BILLING,  # comes as 429, but no wait of ours outlasts an empty account
    "billing_not_active": _BILLING,
    "invalid_api_key": _KEY,
    "API_KEY_INVALID": _KEY,  # comes as 400
    "rate_limit_exceeded": _RATE_LIMITED,
    "context_length_exceeded": _TOO_LARGE,
    "model_not_found": _UNKNOWN,
    "invalid_prompt": _INVALID,
    "server_is_overloaded": _OVERLOADED,
    "slow_down": _OVERLOADED,
}
"""More exact than status and type, where a provider gives it."""
_BY_STATUS = dict.fromkeys(_REDIRECTS, _MOVED) | {
    400: _INVALID,
    401: _KEY,
    402: _BILLING,
    403: _PERMISSION,
    _NOT_FOUND: _UNKNOWN,
    408: _TIMEOUT,
    409: _CONFLICT,
    413: _TOO_LARGE,
    422: _INVALID,
    429: _RATE_LIMITED,
    _SERVER_ERROR: _SERVER,
    504: _TIMEOUT,
    529: _OVERLOADED,
}


def refused(status: int, message: str | None, code: str | None, retry_after_s: float | None) -> ProviderError:
    """Return the error for an HTTP answer that is not a stream: its status, and its body's message and error code."""
    failure = _BY_CODE.get(code or "") or _of_status(status)
    if code is not None and code.endswith("spend_limit_reached"):
        failure = _BILLING  # comes as 429, but no wait of ours outlasts a spending limit
    return _error(failure, message, retry_after_s)


def told_in_stream(error_type: str, message: str | None, code: str | int | None = None) -> ProviderError:
    """Return the error for one told in the middle of an answer: by its code, which may be an HTTP status, or its type.

    One of an unknown type counts as the provider's own failure.
    """
    if isinstance(code, int):
        return _error(_of_status(code), message, None)
    return _error(_BY_CODE.get(code or "") or _BY_TYPE.get(error_type, _SERVER), message, None)


def never_began(limit_s: float) -> ProviderError:
    """Return the error for a provider that has not begun its answer within ``limit_s``."""
    message = f"The provider did not begin its answer within {limit_s:g} s; try again."
    return ProviderError(message, kind="timeout", retryable=True)


def fell_silent(limit_s: float) -> ProviderError:
    """Return the error for a provider that has said nothing for ``limit_s`` in the middle of its answer."""
    message = f"The provider fell silent for {limit_s:g} s in the middle of its answer; try again."
    return ProviderError(message, kind="timeout", retryable=True)


def unreachable() -> ProviderError:
    """Return the error for a provider that could not be connected to."""
    return ProviderError("The provider cannot be reached; try again.", kind="connection", retryable=True)


def cut() -> ProviderError:
    """Return the error for a stream that ended before the provider said so."""
    return ProviderError("The provider's answer broke off; try again.", kind="cut", retryable=True)


def unsupported(problems: Sequence[str]) -> ProviderError:
    """Return the error for a request that the provider's wire has no words for; relays mostly refuse it before."""
    message = f"The provider's API has no words for a part of the request: {'; '.join(problems)}"
    return ProviderError(message[:_DETAIL_CHARS], kind=_INVALID.kind, retryable=False)


def malformed() -> ProviderError:
    """Return the error for bytes that are not the provider's protocol."""
    message = "The provider sent something that cannot be understood; try again."
    return ProviderError(message, kind="malformed", retryable=True)


def _of_status(status: int) -> _Failure:
    return _BY_STATUS.get(status) or (_SERVER if status >= _SERVER_ERROR else _INVALID)


def _error(failure: _Failure, message: str | None, retry_after_s: float | None) -> ProviderError:
    sentence = failure.sentence
    if failure.tells_detail and message:
        words = " ".join(_SECRET.sub("[hidden]", message).split())
        sentence = f"{sentence} It says: {words[:_DETAIL_CHARS]}"
    wait_s = retry_after_s if failure.retryable else None
    return ProviderError(sentence, kind=failure.kind, retryable=failure.retryable, retry_after_s=wait_s)
