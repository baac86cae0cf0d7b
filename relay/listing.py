"""A tenant's streams, newest first, filtered and paged."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from relay.parsing import count
from relay.services import Services
from relay.state import summary
from shared.errors import InvalidRequestError
from shared.record import Record

_STATUSES = ("queued", "running", "completed", "cancelled", "failed", "incomplete")
_CURSOR = re.compile(r"([0-9]{1,15})\.([0-9]{1,9})")
_MOST_LISTED = 100
_SCANNED_AT_ONCE = 200
_MOST_SCANNED = 2000
"""Streams looked at for one page: a filter that matches little answers a short page with a cursor, not a slow one."""


async def list_streams(services: Services, tenant: str, request: web.Request) -> dict[str, Any]:
    """Return one page and the cursor of the next. Raises ``InvalidRequestError``."""
    limit = count(request, "limit", default=20, most=_MOST_LISTED)
    status = request.query.get("status")
    if status is not None and status not in _STATUSES:
        message = f"status must be one of {', '.join(_STATUSES)}"
        raise InvalidRequestError(message)
    wanted = {name[9:]: value for name, value in request.query.items() if name.startswith("metadata.")}
    found: list[dict[str, Any]] = []
    newest_ms, skip = _cursor(request)
    for _ in range(_MOST_SCANNED // _SCANNED_AT_ONCE):
        listed = await services.admission.listed(tenant, newest_ms, skip, _SCANNED_AT_ONCE)
        records = await services.log.records([stream_id for stream_id, _ in listed])
        for (stream_id, created_ms), record in zip(listed, records, strict=True):
            newest_ms, skip = created_ms, skip + 1 if created_ms == newest_ms else 1
            if record is not None and _matches(record, status, wanted):
                found.append(summary(stream_id, record))
                if len(found) == limit:
                    return {"streams": found, "next_cursor": f"{newest_ms}.{skip}"}
        if len(listed) < _SCANNED_AT_ONCE:
            return {"streams": found, "next_cursor": None}
    return {"streams": found, "next_cursor": f"{newest_ms}.{skip}"}


def _cursor(request: web.Request) -> tuple[float, int]:
    """Return where the page begins: the newest creation time, and how many of that very time were listed before."""
    text = request.query.get("cursor")
    if text is None:
        return float("inf"), 0
    found = _CURSOR.fullmatch(text)
    if found is None:
        message = "cursor must be the next_cursor of an earlier answer"
        raise InvalidRequestError(message)
    return int(found[1]), int(found[2])


def _matches(record: Record, status: str | None, metadata: dict[str, str]) -> bool:
    """Tell whether a stream passes the filters."""
    return status in (None, record.status) and all(record.metadata.get(key) == text for key, text in metadata.items())
