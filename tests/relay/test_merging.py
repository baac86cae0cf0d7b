"""Merged frames: fewer, and the same to whoever adds them up, wherever the reading is cut."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from relay.reading.batch import Batch, Fork, Piece
from relay.reading.merging import merged_frames
from relay.reading.native import sse_frames
from shared.entry import Entry, blob_of_lines
from shared.events import BlockStartEvent, BlockStopEvent, DeltaEvent, EndEvent, UnknownEvent, encode_event
from shared.offset import EntryId
from shared.sse import SseParser

STREAM = "k3f9" + "a" * 22
BLOCKS = st.integers(0, 2)
PIECES = st.text(max_size=4)
EVENTS = st.one_of(
    st.builds(lambda block, text: DeltaEvent(block, text=text), BLOCKS, PIECES),
    st.builds(lambda block, text: DeltaEvent(block, text=text), st.just(0), PIECES),
    st.builds(lambda block, piece: DeltaEvent(block, json=piece), BLOCKS, PIECES),
    st.builds(lambda block, text: DeltaEvent(block, signature=text), BLOCKS, PIECES),
    st.builds(lambda block: DeltaEvent(block, data=msgspec.Raw(b'{"a":1}')), BLOCKS),
    st.builds(lambda block: UnknownEvent("delta", b'{"type":"delta","block":%d,"text":"x","new":1}' % block), BLOCKS),
    st.builds(
        lambda block: UnknownEvent("delta", b'{"type":"delta","block":%d,"text":"x","json":"y"}' % block), BLOCKS
    ),
    st.builds(lambda block: BlockStartEvent(block, "text"), BLOCKS),
    st.builds(BlockStopEvent, BLOCKS),
    st.just(UnknownEvent("novel", b'{"type":"novel"}')),
)
ENTRIES = st.lists(st.lists(EVENTS, min_size=1, max_size=6), max_size=8)

Told = list[tuple[str, str, dict[str, Any]]]


def batch_of(entries: list[list[Any]], skip: int = 0) -> Batch:
    """Return the entries as a subscription gives them, without the first ``skip`` events of the first."""
    made = [Entry(EntryId(1, seq), blob_of_lines([*map(encode_event, one)], 1)) for seq, one in enumerate(entries, 2)]
    return [Piece(entry, 0 if number else min(skip, len(entry.lines) - 1)) for number, entry in enumerate(made)]


def told(frames: bytes) -> Told:
    """Return the id, the name and the data of every frame."""
    return [(event.id or "", event.event, json.loads(event.data or b"")) for event in SseParser().feed(frames)]


def meaning(events: Told) -> list[dict[str, Any]]:
    """Return what events say, with neighbouring pieces of one text or one JSON joined."""
    said: list[dict[str, Any]] = []
    for _, _, data in events:
        for field in ("text", "json"):
            same = said and said[-1].keys() == data.keys() == {"type", "block", field}
            if same and said[-1]["block"] == data["block"]:
                said[-1] = said[-1] | {field: said[-1][field] + data[field]}
                break
        else:
            said.append(data)
    return said


@given(ENTRIES, st.integers(0, 5))
def test_merged_frames_mean_the_same_at_every_offset_they_give(entries: list[list[Any]], skip: int) -> None:
    """By text, ``merged up to k`` is ``full up to k`` for the id k of every frame, so that a resume fits any cut."""
    batch = batch_of(entries, skip)
    full, merged = told(sse_frames(STREAM, batch)), told(merged_frames(STREAM, batch))
    ids = [offset for offset, _, _ in full]
    assert [offset for offset, _, _ in merged] == sorted({offset for offset, _, _ in merged})
    for number, (offset, _, _) in enumerate(merged, 1):
        assert meaning(merged[:number]) == meaning(full[: ids.index(offset) + 1])
    assert meaning(merged) == meaning(full)
    assert [one[0] for one in merged[-1:]] == ids[-1:]


@given(ENTRIES)
def test_a_run_is_one_frame(entries: list[list[Any]]) -> None:
    """Nothing that could be joined is left apart."""
    merged = told(merged_frames(STREAM, batch_of(entries)))
    assert len(merged) == len(meaning(merged))


def test_many_small_deltas_cost_a_slow_client_a_fraction() -> None:
    """A hundred deltas of a word each: less than a tenth of the bytes."""
    batch = batch_of([[DeltaEvent(0, text=f" w{number}")] for number in range(100)])
    assert len(merged_frames(STREAM, batch)) * 10 < len(sse_frames(STREAM, batch))


def test_a_reset_stands_between_what_came_before_and_after() -> None:
    """Deltas on both sides of a fork are not joined, and the reader is told to discard in between."""
    one, two = batch_of([[DeltaEvent(0, text="a")], [DeltaEvent(0, text="b"), EndEvent("completed")]])
    events = told(merged_frames(STREAM, [one, Fork(), two]))
    assert [name for _, name, _ in events] == ["delta", "reset", "delta", "end"]
