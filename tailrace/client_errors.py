"""What a client's caller may have to catch: the server's errors by their codes, and those of the way to it."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from shared import errors
from shared.errors import ProviderError, TailraceError

if TYPE_CHECKING:
    from shared.answer import Answer

_SHOWN_CHARACTERS = 120
_TOLD_TO_WAIT = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Statuses that may pass by themselves when they come from something that does not speak our error shape."""


class ConnectionLostError(TailraceError):
    """Nothing answers, or the connection was cut or fell silent, and coming back did not work in time."""

    code, status, retryable = "connection_lost", 0, True


class AnswerTimeoutError(TailraceError, TimeoutError):
    """The ``total_s`` the caller allowed is over. The stream itself goes on and can be followed."""

    code, status = "client_timeout", 0


class UnexpectedAnswerError(TailraceError):
    """What answered is no relay, or not one this client understands; the same request will not work."""

    code, status = "unexpected_answer", 0


class ForeignAnswerError(UnexpectedAnswerError):
    """Something that is no relay answered: a web site, a proxy's page, a redirect. On a resumption it may pass."""


class ServerTroubleError(TailraceError):
    """A server or a proxy failed in a way that may pass by itself."""

    code, status, retryable = "server_trouble", 0, True


class AnswerFailedError(TailraceError):
    """The answer ended as failed. ``answer`` holds what came before, ``failure_code`` the error event's code."""

    code, status = "answer_failed", 0

    def __init__(self, message: str, *, answer: Answer, failure_code: str, stream_id: str | None = None) -> None:
        """Take the failure's sentence and code, and the answer as far as it came."""
        super().__init__(message, stream_id=stream_id)
        self.answer = answer
        self.failure_code = failure_code


def _codes() -> dict[str, type[TailraceError]]:
    """Return the server's error classes by code; each is made from a message alone."""
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TailraceError)]
    return {kind.code: kind for kind in found if kind not in (TailraceError, ProviderError)}


_BY_CODE = _codes()


def may_retry(error: TailraceError) -> bool:
    """Tell whether the same request may work later."""
    return error.retryable


def error_of(status: int, headers: Mapping[str, str], body: bytes, url: str) -> TailraceError:
    """Return the error that an HTTP answer other than success stands for."""
    wait_s = retry_after_s(headers)
    shaped = _in_our_shape(body, wait_s)
    if shaped is not None:
        return shaped
    if 300 <= status < 400:  # noqa: PLR2004
        target = headers.get("Location", "elsewhere")[:_SHOWN_CHARACTERS]
        # Never followed: an API key must not travel to where somebody else points.
        return ForeignAnswerError(f"{url} redirects to {target}; use the address of the relay itself")
    kind = headers.get("Content-Type", "no content type").split(";")[0]
    told = f"{url} answered HTTP {status} with {kind}, which is not a relay's error"
    if status in _TOLD_TO_WAIT:
        return ServerTroubleError(f"{told}; a proxy may have lost its relays", retry_after_s=wait_s)
    return ForeignAnswerError(f"{told}; is this the address of a relay?")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a ``Retry-After`` header asks for, given as seconds or as a date; ``None`` without one."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0) if text else None
    except (ValueError, OverflowError):
        return None


def error_told(told: Any, wait_s: float | None = None) -> TailraceError | None:
    """Return the error that ``told``, the fields of the relay's error shape, stands for; ``None`` for anything else.

    ``wait_s`` is what a ``Retry-After`` beside it says; it wins.
    """
    try:
        code, message, retryable = str(told["code"]), str(told["message"]), bool(told["retryable"])
        own_wait_s = None if told.get("retry_after_s") is None else float(told["retry_after_s"])
        stream_id = told.get("stream_id")
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
    wait_s = own_wait_s if wait_s is None else wait_s
    if code == ProviderError.code:
        return ProviderError(message, kind="remote", retryable=retryable, retry_after_s=wait_s)
    fallback = ServerTroubleError if retryable else UnexpectedAnswerError
    return _BY_CODE.get(code, fallback)(message, retry_after_s=wait_s, stream_id=stream_id)


def _in_our_shape(body: bytes, wait_s: float | None) -> TailraceError | None:
    """Return the error a body in the relay's error shape tells of, or ``None`` for any other body."""
    try:
        told: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    return error_told(told.get("error"), wait_s) if isinstance(told, dict) else None
