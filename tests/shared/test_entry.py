"""Entries: a header and one line per event, the same bytes in the log and in the live message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.entry import Entry, blob_of_lines, decode_live, encode_blob
from shared.events import DeltaEvent, Event, encode_event
from shared.offset import EntryId, Offset
from tests.support_events import COUNTS, ENTRIES, ENTRY_IDS, EVENTS

EVENT_LISTS = st.lists(EVENTS, min_size=1, max_size=8)


@given(ENTRY_IDS, EVENT_LISTS, COUNTS)
def test_an_entry_survives_the_log(entry_id: EntryId, events: list[Event], t_ms: int) -> None:
    """The blob gives back every event, in order, and when it was written."""
    entry = Entry(entry_id, encode_blob(events, t_ms))
    assert entry.events() == events
    assert (entry.id, entry.t_ms) == (entry_id, t_ms)
    assert entry.lines == [encode_event(event) for event in events]


@given(ENTRIES)
def test_a_live_message_is_the_id_and_the_very_same_blob(entry: Entry) -> None:
    """What is published and what is stored never differ by a byte."""
    live = decode_live(str(entry.id).encode() + b"\n" + entry.blob)
    assert (live.id, live.blob, live.events()) == (entry.id, entry.blob, entry.events())


@given(EVENT_LISTS, COUNTS)
def test_encoded_lines_make_the_same_blob(events: list[Event], t_ms: int) -> None:
    """A publisher that has the lines already does not encode twice."""
    assert blob_of_lines([encode_event(event) for event in events], t_ms) == encode_blob(events, t_ms)


@given(ENTRY_IDS, EVENT_LISTS)
def test_the_last_offset_is_that_of_the_last_event(entry_id: EntryId, events: list[Event]) -> None:
    """A reader who has the whole entry has its last event."""
    assert Entry(entry_id, encode_blob(events, 0)).last_offset() == Offset(entry_id, len(events) - 1)


def test_the_blob_has_a_version_and_a_time() -> None:
    """The format that versions N and N+1 agree on."""
    assert encode_blob([DeltaEvent(0, text="a")], 17) == b'1 17\n{"type":"delta","block":0,"text":"a"}'


@pytest.mark.parametrize("blob", [b"", b"\n", b"1\n{}", b"1 x\n{}", b" \n{}"])
def test_a_header_that_is_not_ours_is_refused(blob: bytes) -> None:
    """Somebody else's entry is an error, not an empty one."""
    with pytest.raises(ValueError):  # noqa: PT011 - the contract names the class alone
        Entry(EntryId(1, 1), blob)


@pytest.mark.parametrize("payload", [b"", b"1-2", b"x\n1 1\n{}", b"1-2\nx"])
def test_a_live_message_that_is_not_ours_is_refused(payload: bytes) -> None:
    """Anybody may publish to a channel; only entries are taken for entries."""
    with pytest.raises(ValueError):  # noqa: PT011 - as above
        decode_live(payload)


def test_frames_are_rendered_once_per_dialect() -> None:
    """A thousand readers of one stream share one rendering."""
    entry = Entry(EntryId(1, 2), encode_blob([DeltaEvent(0, text="a")], 1))
    assert entry.frames("native") is None
    kept = entry.keep_frames("native", b"id: ...")
    assert entry.frames("native") is kept
    assert entry.frames("other") is None
