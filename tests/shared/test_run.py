"""Runs: what a log's entries come to before they are taken apart."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.entry import FRAME_BYTES, Entry, encode_blob
from shared.events import DeltaEvent, EndEvent
from shared.offset import EntryId, Offset
from shared.run import Run, runs_of


def log_of(ids: list[EntryId]) -> list[Entry]:
    """Return entries with these ids, of one event or two."""
    return [Entry(one, encode_blob([DeltaEvent(0, text=f"{one}")] * (1 + one.seq % 2), 3)) for one in ids]


def answer_of(entries: list[Entry]) -> list[list[object]]:
    """Return what Redis answers when it is asked for these entries."""
    return [[str(one.id).encode(), [b"d", one.blob]] for one in entries]


@given(st.sets(st.tuples(st.integers(0, 3), st.integers(1, 30)).map(lambda pair: EntryId(*pair)), max_size=40))
def test_whatever_ids_a_log_has_its_runs_are_its_entries(ids: set[EntryId]) -> None:
    """Also where attempts change and where something is missing; no two runs could be one."""
    entries = log_of(sorted(ids))
    runs = runs_of(answer_of(entries))
    read = [one for run in runs for one in run.entries()]
    assert [(one.id, one.blob) for one in read] == [(one.id, one.blob) for one in entries]
    for left, right in pairwise(runs):
        assert right.first != EntryId(left.first.attempt, left.first.seq + len(left))


@given(st.integers(1, 9), st.integers(1, 12))
def test_parts_of_a_run_have_their_own_ids(count: int, first: int) -> None:
    """The first entries, and all but the first."""
    entries = log_of([EntryId(2, 7 + n) for n in range(count)])
    run = Run(entries[0].id, [one.blob for one in entries])
    part = run.first_of(first)
    assert [one.id for one in part.entries()] == [one.id for one in entries[:first]]
    assert part.last_offset() == entries[:first][-1].last_offset()
    assert part.told_bytes() == sum(len(one.blob) + FRAME_BYTES for one in entries[:first])
    assert run.fitting(part.told_bytes(), count) == len(part)
    assert run.fitting(part.told_bytes() - 1, count) == len(part) - 1
    assert [one.id for rest in run.after(1) for one in rest.entries()] == [one.id for one in entries[1:]]


def test_a_run_ends_with_its_last_event() -> None:
    """The end is always an entry's last event, and a log's last."""
    words, end = encode_blob([DeltaEvent(0, text="end")], 3), encode_blob([DeltaEvent(0), EndEvent("completed")], 3)
    assert Run(EntryId(1, 3), [words, end]).ends
    assert not Run(EntryId(1, 3), [words]).ends
    assert Run(EntryId(1, 3), [words, end]).last_offset() == Offset(EntryId(1, 4), 1)


@pytest.mark.parametrize("blob", [b"", b"1 3", b"1 3\n", b"1 3\n{}", b"junk\n{}"])
def test_what_is_no_entry_is_refused_when_it_is_looked_at(blob: bytes) -> None:
    """Nobody mistakes it for an entry without an end."""
    with pytest.raises(ValueError):  # noqa: PT011 - the contract names the class alone
        _ = Run(EntryId(1, 3), [blob]).ends
