"""The entry that every log begins with, the same however often it is made: a start that is repeated changes nothing."""

from __future__ import annotations

import msgspec

from shared.entry import Entry, encode_blob
from shared.events import StartEvent
from shared.offset import FIRST_ENTRY
from shared.record import Record


def first_entry(stream_id: str, record: Record) -> Entry:
    """Return it: the start event, from what the record says."""
    asked = msgspec.json.decode(record.request).get("max_tokens")
    clamped = asked if asked is not None and asked > record.max_tokens else None
    start = StartEvent(
        stream_id, record.provider, record.model, record.created_ms, record.max_tokens, clamped, record.metadata
    )
    return Entry(FIRST_ENTRY, encode_blob([start], record.created_ms))
