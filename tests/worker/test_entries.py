"""The worker's copy of a log: the entries as they were, and nothing for the collector to look through."""

from __future__ import annotations

import gc

import pytest

from shared.entry import Entry, encode_blob
from shared.events import DeltaEvent
from shared.offset import EntryId
from worker.entries import Entries


def blob(number: int) -> bytes:
    """Return the blob of an entry with one event."""
    return encode_blob([DeltaEvent(0, text=f"w{number}")], 1_700_000_000_000 + number)


def test_entries_of_several_attempts_are_found_by_place_and_in_slices() -> None:
    """Each has the attempt that wrote it, and its place in the log as its number."""
    attempts = [0, 1, 1, 1, 4, 4, 7]
    written = [Entry(EntryId(attempt, at + 1), blob(at)) for at, attempt in enumerate(attempts)]
    entries = Entries(written[:3])
    for entry in written[3:]:
        entries.append(entry.id.attempt, entry.blob)
    assert len(entries) == len(written)
    assert entries.size == sum(len(entry.blob) for entry in written)
    assert [(one.id, one.blob) for one in entries] == [(one.id, one.blob) for one in written]
    assert [entries.id_at(at) for at in range(len(written))] == [one.id for one in written]
    assert [one.id for one in entries[2:5]] == [one.id for one in written[2:5]]
    assert entries[-1].id == written[-1].id
    with pytest.raises(IndexError):
        entries[len(written)]


def test_long_logs_give_the_collector_nothing_to_look_through() -> None:
    """However many entries are held: looking through an object of each would stop all streams of the process."""
    entries = Entries()
    gc.collect()
    before = len(gc.get_objects())
    for at in range(10_000):
        entries.append(1, blob(at))
    assert len(gc.get_objects()) - before < 100
