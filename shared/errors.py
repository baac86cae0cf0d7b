"""The error tree: one class per way a caller acts, each with its code, HTTP status and whether a retry may help."""

from __future__ import annotations

from typing import ClassVar


class TailraceError(Exception):
    """Base of every error a client may see. ``message`` is a sentence that says what to do; never a secret."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: bool = False

    def __init__(self, message: str, *, retry_after_s: float | None = None, stream_id: str | None = None) -> None:
        """Take the sentence for the client, when to come back, and the stream it is about."""
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.stream_id = stream_id

    def body(self) -> dict[str, object]:
        """Return the JSON body of an HTTP error."""
        return {"error": self.fields()}

    def fields(self) -> dict[str, object]:
        """Return what every error tells, over HTTP and as an event."""
        error: dict[str, object] = {"code": self.code, "message": self.message, "retryable": self.retryable}
        if self.retry_after_s is not None:
            error["retry_after_s"] = self.retry_after_s
        if self.stream_id is not None:
            error["stream_id"] = self.stream_id
        return error


class InvalidRequestError(TailraceError):
    """The request cannot be understood; the same request will never work."""

    code, status = "invalid_request", 400

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry_after_s: float | None = None,
        stream_id: str | None = None,
    ) -> None:
        """Take what every error takes, and the path of the request's field that it is about, if it is about one."""
        super().__init__(message, retry_after_s=retry_after_s, stream_id=stream_id)
        self.field = field


class InvalidOffsetError(TailraceError):
    """The offset is malformed or belongs to another stream."""

    code, status = "invalid_offset", 400


class UnknownModelError(TailraceError):
    """No such model, or the provider named does not serve it."""

    code, status = "unknown_model", 400


class UnauthorizedError(TailraceError):
    """The API key is missing or not known."""

    code, status = "unauthorized", 401


class ForbiddenError(TailraceError):
    """A page of this origin may not do that."""

    code, status = "forbidden", 403


class NotFoundError(TailraceError):
    """No such route or stream, or the stream belongs to somebody else."""

    code, status = "not_found", 404


class MethodNotAllowedError(TailraceError):
    """The route exists, with other methods."""

    code, status = "method_not_allowed", 405


class NotAcceptableError(TailraceError):
    """The client accepts nothing this route can produce."""

    code, status = "not_acceptable", 406


class ConflictError(TailraceError):
    """The idempotency key was used with a different request."""

    code, status = "idempotency_conflict", 409


class DiscardedError(TailraceError):
    """What a reader was told was discarded since, and its dialect cannot say so; reading anew gives the answer."""

    code, status, retryable = "discarded", 503, True


class GoneError(TailraceError):
    """The stream existed; its log has expired or was deleted."""

    code, status = "gone", 410


class TooLargeError(TailraceError):
    """The body is over the limit."""

    code, status = "too_large", 413


class UnsupportedMediaTypeError(TailraceError):
    """The body is not JSON."""

    code, status = "unsupported_media_type", 415


class LimitError(TailraceError):
    """The tenant has reached one of its limits."""

    code, status, retryable = "rate_limited", 429, True


class OverloadedError(TailraceError):
    """The system is full or is shutting down."""

    code, status, retryable = "overloaded", 503, True


class UnavailableError(TailraceError):
    """Redis cannot be reached now."""

    code, status, retryable = "unavailable", 503, True


class ProviderError(TailraceError):
    """The LLM provider failed the call. ``retryable`` is decided per failure, not by class."""

    code, status = "provider_error", 502

    def __init__(self, message: str, *, kind: str, retryable: bool, retry_after_s: float | None = None) -> None:
        """Take the sentence, the failure's ``kind`` (a metric label, e.g. ``overloaded``), and how to go on."""
        super().__init__(message, retry_after_s=retry_after_s)
        self.kind = kind
        self.retryable = retryable


class InternalError(TailraceError):
    """A defect of ours; the log has the details under the connection's id."""

    code, status, retryable = "internal", 500, True


class ConfigurationError(Exception):
    """A program cannot start as configured; the message is one clear sentence for the person who started it."""
