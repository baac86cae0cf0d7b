"""Random events and entries for property tests: every kind, with the texts and bytes that break naive code."""

from __future__ import annotations

import json

import msgspec
from hypothesis import strategies as st

from shared.entry import Entry, encode_blob
from shared.events import (
    AttemptEvent,
    BlockStartEvent,
    BlockStopEvent,
    DataEvent,
    DeltaEvent,
    EndEvent,
    ErrorEvent,
    Event,
    ResetEvent,
    StartEvent,
    StepEvent,
    UnknownEvent,
    Usage,
    UsageEvent,
)
from shared.offset import MAX_ATTEMPT, MAX_EVENTS_PER_ENTRY, MAX_SEQ, EntryId, Offset, new_stream_id

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz_-.5", min_size=1, max_size=20)
COUNTS = st.integers(0, 10**12)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
RAW_JSON = st.builds(
    lambda value, ascii_only, separators: json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode(),
    JSON_VALUES,
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :  ")]),
)
"""One-line JSON as providers spell it: with and without spaces, escaped and not."""
RAWS = RAW_JSON.map(msgspec.Raw)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS)
BLOCKS = st.integers(0, 10_000)
OPTIONAL_TEXTS = st.none() | TEXTS
OPTIONAL_RAWS = RAWS | st.just(msgspec.UNSET)


def _unknown(kind: str, rest: bytes) -> UnknownEvent:
    return UnknownEvent(kind, b'{"type":"%s","new":%s}' % (kind.encode(), rest))


KNOWN_EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        StartEvent,
        stream_id=st.builds(new_stream_id),
        provider=NAMES,
        model=NAMES,
        created_ms=COUNTS,
        max_tokens=COUNTS,
        max_tokens_asked=st.none() | COUNTS,
        metadata=st.dictionaries(TEXTS, TEXTS, max_size=3),
    ),
    st.builds(AttemptEvent, attempt=st.integers(1, MAX_ATTEMPT), provider=NAMES, model=NAMES),
    st.builds(StepEvent, step=COUNTS, message_id=OPTIONAL_TEXTS, model=OPTIONAL_TEXTS, source=OPTIONAL_TEXTS),
    st.builds(BlockStartEvent, block=BLOCKS, id=OPTIONAL_TEXTS, name=OPTIONAL_TEXTS, data=OPTIONAL_RAWS),
    st.builds(DeltaEvent, block=BLOCKS, text=TEXTS, json=st.none(), signature=st.none(), data=st.just(msgspec.UNSET)),
    st.builds(DeltaEvent, block=BLOCKS, text=st.none(), json=TEXTS, signature=st.none(), data=st.just(msgspec.UNSET)),
    st.builds(DeltaEvent, block=BLOCKS, text=st.none(), json=st.none(), signature=TEXTS, data=st.just(msgspec.UNSET)),
    st.builds(DeltaEvent, block=BLOCKS, text=st.none(), json=st.none(), signature=st.none(), data=RAWS),
    st.builds(BlockStopEvent, block=BLOCKS),
    st.builds(UsageEvent, step=COUNTS, usage=USAGES),
    st.builds(DataEvent, name=NAMES, data=RAWS, source=OPTIONAL_TEXTS),
    st.builds(ResetEvent, keep_blocks=BLOCKS, reason=TEXTS),
    st.builds(ErrorEvent, code=NAMES, message=TEXTS, retryable=st.booleans(), retry_after_s=st.none() | st.just(1.5)),
    st.builds(EndEvent, stop_reason=OPTIONAL_TEXTS, stop_sequence=OPTIONAL_TEXTS, usage=USAGES),
)
UNKNOWN_EVENTS: st.SearchStrategy[Event] = st.builds(_unknown, NAMES.map(lambda name: "x_" + name), RAW_JSON)
EVENTS = KNOWN_EVENTS | UNKNOWN_EVENTS

ENTRY_IDS = st.builds(EntryId, st.integers(0, MAX_ATTEMPT), st.integers(0, MAX_SEQ))
OFFSETS = st.builds(Offset, ENTRY_IDS, st.integers(0, MAX_EVENTS_PER_ENTRY - 1))
ENTRIES = st.builds(
    lambda entry_id, events, t_ms: Entry(entry_id, encode_blob(events, t_ms)),
    ENTRY_IDS,
    st.lists(EVENTS, min_size=1, max_size=6),
    COUNTS,
)
