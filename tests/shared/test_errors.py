"""Errors: one class per way a caller acts, one JSON shape, and statuses that HTTP clients understand."""

from __future__ import annotations

import pytest

from shared import errors
from shared.errors import (
    ConfigurationError,
    GoneError,
    InternalError,
    LimitError,
    OverloadedError,
    ProviderError,
    TailraceError,
    UnavailableError,
)


def tree(root: type[TailraceError] = TailraceError) -> list[type[TailraceError]]:
    """Return the classes under ``root``."""
    return [kind for child in root.__subclasses__() for kind in (child, *tree(child))]


KINDS = [kind for kind in tree() if kind.__module__ == errors.__name__]
PLAIN = [kind for kind in KINDS if kind is not ProviderError]


def test_every_code_is_used_once() -> None:
    """A client acts on the code alone, so that two errors never share one."""
    codes = [kind.code for kind in PLAIN]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("_", "").isalpha() and code.islower() for code in codes)


@pytest.mark.parametrize("kind", PLAIN, ids=lambda kind: kind.__name__)
def test_an_error_has_the_one_shape(kind: type[TailraceError]) -> None:
    """``{error: {code, message, retryable}}``, and no more unless there is more to say."""
    assert kind("Do this instead.").body() == {
        "error": {"code": kind.code, "message": "Do this instead.", "retryable": kind.retryable}
    }
    assert str(kind("Do this instead.")) == "Do this instead."


@pytest.mark.parametrize("kind", PLAIN, ids=lambda kind: kind.__name__)
def test_what_may_be_retried_is_what_http_says_may_be(kind: type[TailraceError]) -> None:
    """The client's mistakes are 4xx and stay mistakes; 429 and 5xx pass with time."""
    assert kind.retryable == (kind.status == 429 or kind.status >= 500)
    assert 400 <= kind.status < 600


def test_the_body_says_when_to_come_back_and_which_stream_it_is_about() -> None:
    """Both only where they are known; a wait of 0 s is known."""
    error = LimitError("Too many streams; wait.", retry_after_s=0.0, stream_id="k3f9")
    assert error.body() == {
        "error": {
            "code": "rate_limited",
            "message": "Too many streams; wait.",
            "retryable": True,
            "retry_after_s": 0.0,
            "stream_id": "k3f9",
        }
    }


@pytest.mark.parametrize("retryable", [True, False])
def test_a_providers_failure_says_itself_whether_it_may_pass(retryable: bool) -> None:  # noqa: FBT001 - a parameter
    """An overloaded provider and a wrong key are both provider errors; only one is worth a retry."""
    error = ProviderError("The provider is busy.", kind="overloaded", retryable=retryable, retry_after_s=2.0)
    assert error.retryable == retryable
    assert error.kind == "overloaded"
    assert error.body() == {
        "error": {
            "code": "provider_error",
            "message": "The provider is busy.",
            "retryable": retryable,
            "retry_after_s": 2.0,
        }
    }


def test_one_failure_does_not_make_the_next_retryable() -> None:
    """What one error decides is its own."""
    ProviderError("Busy.", kind="overloaded", retryable=True)
    assert ProviderError("Wrong key.", kind="auth", retryable=False).retryable is False


def test_a_programs_configuration_is_no_clients_error() -> None:
    """It ends the program that was started, and never becomes an answer."""
    assert not issubclass(ConfigurationError, TailraceError)


@pytest.mark.parametrize(
    ("kind", "status"),
    [(GoneError, 410), (LimitError, 429), (InternalError, 500), (OverloadedError, 503), (UnavailableError, 503)],
)
def test_statuses_that_balancers_and_clients_act_on(kind: type[TailraceError], status: int) -> None:
    """These are promised in the API's description."""
    assert kind.status == status
