"""Starts by SDKs that send no idempotency key, and retry by themselves: a retry finds the stream of the first try.

An SDK repeats a request whose answer did not come, and says so in ``x-stainless-retry-count``. Each request without a
key is given one, which a retry with the same body within a minute finds again; from there on it is a start with a key.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time

from aiohttp import web

from relay.services import SERVICES
from relay.start import Started
from shared.record import Record
from shared.request import StreamRequest

_COUNT = "x-stainless-retry-count"
_RETRIED = re.compile(r"0*[1-9][0-9]{0,5}")
_SURE_MS = 50_000
"""How old a stream may be that a retry is sent back to: it has to come before the minute is over."""
_MOST_FAILED = 5
"""How many failed streams a retry passes by. The SDKs try three times unless told otherwise."""


async def start_or_find(
    request: web.Request, tenant: str, wanted: StreamRequest, keep: bytes | None = None, *, followed: bool
) -> Started:
    """Start a stream, or return the one that this request's key, or an earlier try of it, has started.

    ``keep`` and ``followed`` are those of ``Starter.start``, and so is what is raised. A retry does not attach to a
    stream that failed: whoever saw it fail retries for another answer. To be shielded, once the body has been read.
    """
    services = request.app[SERVICES]
    key = request.headers.get("Idempotency-Key")
    if key is not None:
        return await services.starter.start(tenant, wanted, key, keep, followed=followed)
    body, fresh = await request.read(), f"keyless-{secrets.token_hex(16)}"
    key = await services.admission.stand_in(tenant, body, fresh, retried=_is_retry(request))
    for _ in range(_MOST_FAILED):
        started = await services.starter.start(tenant, wanted, key, keep, followed=followed)
        if not started.attached or started.record.status != "failed":
            break
        key = _next_key(key)
    return started


def finds_again(request: web.Request, record: Record) -> bool:
    """Tell whether the same request, if it came again now, would be sure to find the stream with this record."""
    age_ms = time.time() * 1000 - record.created_ms
    return request.method == "GET" or "Idempotency-Key" in request.headers or age_ms < _SURE_MS


def _is_retry(request: web.Request) -> bool:
    """Tell whether an SDK says that it has sent this request before."""
    return _RETRIED.fullmatch(request.headers.get(_COUNT, "")) is not None


def _next_key(key: str) -> str:
    """Return the key that follows a failed stream's: the same for all retries, so that they meet at one stream."""
    return f"keyless-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
