"""Errors in OpenAI's shape: what its SDKs read from body, status and headers."""

from __future__ import annotations

import json

import pytest

from relay.dialects.openai_errors import openai_error, openai_error_answer
from shared.errors import (
    ConflictError,
    DiscardedError,
    InvalidRequestError,
    LimitError,
    ProviderError,
    TailraceError,
    UnauthorizedError,
    UnknownModelError,
)


@pytest.mark.parametrize(
    ("error", "kind", "param", "code"),
    [
        (InvalidRequestError("Not so.", field="n"), "invalid_request_error", "n", "invalid_request"),
        (InvalidRequestError("Not so."), "invalid_request_error", None, "invalid_request"),
        (UnknownModelError("None such."), "invalid_request_error", "model", "model_not_found"),
        (UnauthorizedError("Who?"), "authentication_error", None, "invalid_api_key"),
        (LimitError("Too many."), "rate_limit_error", None, "rate_limit_exceeded"),
        (DiscardedError("Read anew."), "server_error", None, "discarded"),
        (ProviderError("Down.", kind="overloaded", retryable=True), "server_error", None, "provider_error"),
    ],
)
def test_an_error_has_the_four_fields(error: TailraceError, kind: str, param: str | None, code: str) -> None:
    """``message``, ``type``, ``param`` and ``code``, under the names that programs look for."""
    assert openai_error(error) == {"message": error.message, "type": kind, "param": param, "code": code}


def test_the_answer_says_whether_a_retry_may_help() -> None:
    """The SDKs repeat 409 and 5xx unless the header says no, and wait as long as they are told."""
    conflict = openai_error_answer(ConflictError("Another request.", stream_id="k3f9"))
    assert conflict.status == 409
    assert conflict.headers["x-should-retry"] == "false"
    assert conflict.headers["X-Stream-Id"] == "k3f9"
    limit = openai_error_answer(LimitError("Too many.", retry_after_s=1.2))
    assert limit.headers["x-should-retry"] == "true"
    assert limit.headers["Retry-After"] == "2"
    assert isinstance(limit.body, bytes)
    assert json.loads(limit.body).keys() == {"error"}
