"""When an SDK may be told to send a request again: only while that is sure to find the stream there is."""

from __future__ import annotations

import time

import pytest
from aiohttp.test_utils import make_mocked_request

from relay.keyless import finds_again
from shared.record import Record


@pytest.mark.parametrize(
    ("method", "headers", "age_s", "found"),
    [
        ("POST", {}, 10, True),
        ("POST", {}, 55, False),
        ("POST", {"Idempotency-Key": "k"}, 3000, True),
        ("GET", {}, 3000, True),
    ],
)
def test_a_request_without_a_key_finds_its_stream_for_a_moment(
    method: str, headers: dict[str, str], age_s: float, found: object
) -> None:
    """One with a key, or that names the stream, always does."""
    record = Record("local", "sim", "sim", round((time.time() - age_s) * 1000), 100, {}, b"")
    assert finds_again(make_mocked_request(method, "/v1/messages", headers=headers), record) is found
