"""The answer so far: a fold over the log that does not depend on how the log was cut into entries."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.answer import Answer, Block
from shared.entry import Entry, encode_blob
from shared.events import (
    AttemptEvent,
    BlockKind,
    BlockStartEvent,
    BlockStopEvent,
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
from shared.offset import START, EntryId, Offset
from tests.support_events import TEXTS, UNKNOWN_EVENTS, USAGES

STARTED = StartEvent("a" * 26, "sim", "sim", 1_000, 100)
KINDS: list[BlockKind] = ["text", "thinking", "tool_use"]
PIECES = st.lists(st.tuples(st.sampled_from(KINDS), st.lists(TEXTS, max_size=5)), max_size=5)


def attempt(number: int) -> AttemptEvent:
    """Return the event of attempt ``number``."""
    return AttemptEvent(number, "first", "start", "sim", "sim", "0-1")


def told(blocks: list[tuple[BlockKind, list[str]]], first: int = 0) -> list[Event]:
    """Return the events that tell ``blocks``, numbered from ``first``."""
    events: list[Event] = []
    for number, (kind, pieces) in enumerate(blocks, first):
        events.append(BlockStartEvent(number, kind))
        in_json = kind == "tool_use"
        events += [DeltaEvent(number, json=piece) if in_json else DeltaEvent(number, text=piece) for piece in pieces]
        events.append(BlockStopEvent(number))
    return events


def folded(*events: Event) -> Answer:
    """Return the answer that ``events`` add up to, each told one millisecond after the one before, from 0."""
    answer = Answer()
    for t_ms, event in enumerate(events):
        answer.apply(event, t_ms)
    return answer


@given(PIECES, st.data())
def test_the_cut_into_entries_does_not_matter(blocks: list[tuple[BlockKind, list[str]]], data: st.DataObject) -> None:
    """One event per entry or all in one: the same answer, at the offset of its last event."""
    events = [STARTED, attempt(1), *told(blocks), EndEvent("completed", "end_turn")]
    cuts = sorted({0, len(events), *data.draw(st.lists(st.integers(1, len(events)), max_size=6))})
    answer = Answer()
    for seq, (begin, stop) in enumerate(pairwise(cuts), 1):
        answer.apply_entry(Entry(EntryId(1, seq), encode_blob(events[begin:stop], 0)))
    whole = Answer()
    whole.apply_entry(Entry(EntryId(1, 1), encode_blob(events, 0)))
    assert answer.blocks == whole.blocks
    assert (answer.text, answer.status, answer.usage) == (whole.text, whole.status, whole.usage)
    assert answer.offset == Offset(EntryId(1, len(cuts) - 1), cuts[-1] - cuts[-2] - 1)


@given(PIECES)
def test_blocks_hold_what_was_told(blocks: list[tuple[BlockKind, list[str]]]) -> None:
    """The pieces of each block joined, in order; the text is that of the text blocks alone."""
    answer = folded(STARTED, attempt(1), *told(blocks))
    assert [(block.kind, block.json if block.kind == "tool_use" else block.text) for block in answer.blocks] == [
        (kind, "".join(pieces)) for kind, pieces in blocks
    ]
    assert answer.text == "".join("".join(pieces) for kind, pieces in blocks if kind == "text")
    assert all(block.complete for block in answer.blocks)


@given(PIECES, PIECES, st.integers(0, 6))
def test_a_reset_discards_what_will_be_told_anew(
    before: list[tuple[BlockKind, list[str]]], after: list[tuple[BlockKind, list[str]]], keep: int
) -> None:
    """The answer is as if the discarded blocks had never been told."""
    kept = before[:keep]
    reset = ResetEvent(keep, "lease_expired")
    answer = folded(STARTED, attempt(1), *told(before), reset, attempt(2), *told(after, len(kept)))
    assert answer.blocks == folded(*told(kept), *told(after, len(kept))).blocks
    assert answer.attempts == 2


def test_several_blocks_may_be_open_at_once() -> None:
    """Each delta names its block."""
    answer = folded(
        BlockStartEvent(0, "text"),
        BlockStartEvent(1, "tool_use", "call-1", "search", source="agent"),
        DeltaEvent(1, json='{"q"'),
        DeltaEvent(0, text="Let me "),
        DeltaEvent(1, json=":1}"),
        DeltaEvent(0, text="see."),
        BlockStopEvent(1),
    )
    assert [(block.text, block.json, block.complete) for block in answer.blocks] == [
        ("Let me see.", "", False),
        ("", '{"q":1}', True),
    ]
    assert (answer.blocks[1].id, answer.blocks[1].name, answer.blocks[1].source) == ("call-1", "search", "agent")


def test_a_continued_block_goes_on_where_it_was() -> None:
    """After a takeover by prefill the open block takes the next attempt's text."""
    answer = folded(
        attempt(1), BlockStartEvent(0, "text"), DeltaEvent(0, text="Hel"), attempt(2), DeltaEvent(0, text="lo")
    )
    assert (answer.text, answer.attempts, len(answer.blocks)) == ("Hello", 2, 1)


def test_signatures_and_opaque_content_stay_byte_exact() -> None:
    """What the provider checks when it gets it back."""
    raw, more = b'{"enc": "\\u00e9", "n": 1.10}', b"[1, 2]"
    answer = folded(
        BlockStartEvent(0, "thinking"),
        DeltaEvent(0, signature="Eq+/"),
        DeltaEvent(0, signature="=="),
        BlockStartEvent(1, "data", name="odd", data=msgspec.Raw(raw)),
        DeltaEvent(1, data=msgspec.Raw(more)),
    )
    assert answer.blocks[0].signature == "Eq+/=="
    assert answer.blocks[1] == Block(1, "data", name="odd", data=raw, deltas=[more])


@pytest.mark.parametrize("event", [DeltaEvent(3, text="x"), BlockStopEvent(3)])
def test_a_block_that_was_never_opened_is_an_error(event: Event) -> None:
    """A log with a hole is told, not patched over."""
    with pytest.raises(ValueError, match="block 3 was never opened"):
        folded(BlockStartEvent(0, "text"), event)


@given(UNKNOWN_EVENTS)
def test_events_of_a_newer_version_change_nothing(event: Event) -> None:
    """Versions N and N+1 run mixed during a deploy."""
    assert isinstance(event, UnknownEvent)
    known = [STARTED, attempt(1), *told([("text", ["a"])])]
    assert folded(*known, event) == folded(*known)


@given(st.lists(st.tuples(st.integers(1, 4), USAGES), max_size=8))
def test_usage_is_the_sum_of_each_steps_last_word(reports: list[tuple[int, Usage]]) -> None:
    """A later report of one step replaces the earlier; steps, of whatever attempt, add up."""
    answer = folded(*(UsageEvent(step, usage) for step, usage in reports))
    assert answer.usage == sum(dict(reports).values(), Usage())


def test_the_status_follows_the_life_of_the_stream() -> None:
    """Queued until a worker has it, running until the end, and then what the end says."""
    answer = Answer()
    assert (answer.status, answer.offset) == ("queued", START)
    answer.apply(STARTED, 1)
    assert (answer.status, answer.start) == ("queued", STARTED)
    answer.apply(attempt(1), 2)
    assert answer.status == "running"
    answer.apply(StepEvent("start", 1), 3)
    answer.apply(BlockStartEvent(0, "text"), 4)
    answer.apply(DeltaEvent(0, text="a"), 5)
    answer.apply(attempt(2), 6)
    answer.apply(StepEvent("start", 2), 7)
    answer.apply(DeltaEvent(0, text="b"), 8)
    error = ErrorEvent("provider_error", "The provider is busy.", retryable=True)
    answer.apply(error, 9)
    assert answer.status == "running"
    answer.apply(EndEvent("failed"), 10)
    assert (answer.status, answer.error, answer.steps, answer.attempts) == ("failed", error, 2, 2)
    assert (answer.started_ms, answer.first_token_ms, answer.ended_ms) == (2, 5, 10)


def test_a_stream_may_end_before_any_worker_had_it() -> None:
    """Cancelled while queued: no attempt, no token, and an end."""
    answer = folded(STARTED, EndEvent("cancelled"))
    assert (answer.status, answer.attempts, answer.started_ms, answer.first_token_ms) == ("cancelled", 0, None, None)
    assert answer.text == ""
