"""Tests of the driver of the dialects, in every dialect there is and in two made up for it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dialects.dialect import Dialect, WireEvent
from relay.dialects.place import Had, Place
from relay.dialects.registry import DIALECTS
from relay.dialects.telling import Frame
from shared.entry import Entry, encode_blob
from shared.errors import TailraceError
from shared.events import BlockStartEvent, BlockStopEvent, DeltaEvent, EndEvent, Event, ResetEvent, StartEvent
from shared.offset import EntryId
from tests.relay.dialects.random_logs import STREAM, logs
from tests.relay.dialects.support import past_of, resumed, told


class Plain:
    """Tells every event of a block by its kind, twice for a start; cannot say that anything is discarded."""

    def feed(self, event: Event, _t_ms: int) -> Sequence[WireEvent]:
        """Return what the event comes to."""
        match event:
            case StartEvent():
                return [WireEvent(b"start")]
            case BlockStartEvent(block, kind):
                return [WireEvent(b"open %d" % block), WireEvent(kind.encode())]
            case DeltaEvent(block, text):
                return [WireEvent(b"more %d %s" % (block, (text or "").encode()))]
            case BlockStopEvent(block):
                return [WireEvent(b"close %d" % block)]
            case EndEvent(status):
                return [WireEvent(status.encode()), WireEvent(b"[DONE]")]
            case _:
                return []

    def discard(self, _keep_blocks: int) -> Sequence[WireEvent] | None:
        """Say nothing."""
        return None

    def fail(self, error: TailraceError) -> Sequence[WireEvent]:
        """Say why."""
        return [WireEvent(error.code.encode())]


class Frank(Plain):
    """The same, and says what is discarded."""

    def discard(self, keep_blocks: int) -> Sequence[WireEvent] | None:
        """Say it."""
        return [WireEvent(b"keep %d" % keep_blocks)]


PLAIN = Dialect("plain", lambda _: Plain())
FRANK = Dialect("frank", lambda _: Frank())
COUNTED = Dialect("counted", lambda _: Plain(), filler=WireEvent(b"-"))
EVERY = [PLAIN, FRANK, COUNTED, *DIALECTS.values()]
every_dialect = pytest.mark.parametrize("dialect", EVERY, ids=lambda dialect: str(dialect.name))


def wire(frames: Sequence[Frame]) -> list[WireEvent]:
    """Return what frames say."""
    return [frame.event for frame in frames]


def said(frames: Sequence[Frame]) -> list[str]:
    """Return what frames of a made-up dialect say, as text."""
    return [frame.event.data.decode() for frame in frames]


def log_of(*entries: tuple[int, Sequence[Event]]) -> list[Entry]:
    """Return the log of these entries, each with its attempt."""
    return [Entry(EntryId(attempt, seq), encode_blob(events, 1)) for seq, (attempt, events) in enumerate(entries, 1)]


START = StartEvent(STREAM, "sim", "sim", 1, 100)
TAKEN_OVER = log_of(
    (0, [START]),
    (1, [BlockStartEvent(0, "thinking"), DeltaEvent(0, text="hm"), BlockStopEvent(0)]),
    (1, [BlockStartEvent(1, "text"), DeltaEvent(1, text="lost")]),
    (2, [ResetEvent(1, "lease_expired")]),
    (2, [BlockStartEvent(1, "text"), DeltaEvent(1, text="found"), BlockStopEvent(1)]),
    (2, [EndEvent("completed", "end_turn")]),
)
KEPT = ["start", "open 0", "thinking", "more 0 hm", "close 0"]
LOST = ["open 1", "text", "more 1 lost"]
FOUND = ["open 1", "text", "more 1 found", "close 1", "completed", "[DONE]"]


def wholes(dialect: Dialect, entries: list[Entry], there: int = 0) -> list[list[WireEvent]]:
    """Return what readers are told in one go that came when the log had ``there`` entries, or more, or all.

    They differ only by what a reset has discarded: those who were there have to read anew, and later ones need not.
    """
    return [
        wire(told(dialect, entries, past=past_of(dialect, entries[:come])))
        for come in range(there, len(entries) + 1)
        if come in {there, len(entries)} or _resets(entries[come - 1])
    ]


def _resets(entry: Entry) -> bool:
    """Tell whether an entry holds a reset."""
    return any(isinstance(event, ResetEvent) for event in entry.events())


@every_dialect
@given(entries=logs(), data=st.data())
def test_what_was_had_and_the_resume_are_the_whole(dialect: Dialect, entries: list[Entry], data: st.DataObject) -> None:
    """Whenever the reader came, wherever it was cut, and whatever has come since."""
    there = data.draw(st.integers(0, len(entries)))
    full = told(dialect, entries, past=past_of(dialect, entries[:there]))
    possible = wholes(dialect, entries, there)
    for cut, frame in enumerate(full, 1):
        if frame.place is not None:
            rest = resumed(dialect, entries, Had(frame.place))
            assert _reads_anew(rest) or wire(full[:cut]) + wire(rest) in possible or _saw_some(dialect, entries)


def _reads_anew(rest: Sequence[Frame]) -> bool:
    """Tell whether a reader is told at once that what it has is void."""
    return len(rest) == 1 and rest[0].place is None


def _saw_some(dialect: Dialect, entries: list[Entry]) -> bool:
    """Tell whether a reader may have been told of one reset and not of another, as nobody was in one go.

    So it may be that came back between the two; and one that came after a reset, but stands where others had some of
    what it discards, is told of it.
    """
    resets = past_of(dialect, entries).resets
    return bool(resets) and dialect.project(STREAM).discard(0) is not None


@pytest.mark.parametrize("dialect", [COUNTED, *(one for one in DIALECTS.values() if one.filler)], ids=lambda d: d.name)
@given(entries=logs(), data=st.data())
def test_a_reader_may_say_how_many_it_has(dialect: Dialect, entries: list[Entry], data: st.DataObject) -> None:
    """Where something stands for what is withheld, the client's own count is enough, whenever it came.

    But for one that was cut within what is withheld: it is taken for one that has what was discarded, and reads anew.
    """
    there = data.draw(st.integers(0, len(entries)))
    full = told(dialect, entries, past=past_of(dialect, entries[:there]))
    possible = wholes(dialect, entries, there)
    for cut in range(1, len(full) + 1):
        if full[cut - 1].place is not None or full[cut - 1].event == dialect.filler:
            rest = resumed(dialect, entries, Had(total=cut))
            assert _reads_anew(rest) or wire(full[:cut]) + wire(rest) in possible or _saw_some(dialect, entries)


@every_dialect
@given(entries=logs())
def test_every_place_comes_once_and_in_order(dialect: Dialect, entries: list[Entry]) -> None:
    """As text too, which is how clients may compare them; and its text says all of it."""
    texts = [frame.place.text(STREAM) for frame in told(dialect, entries) if frame.place is not None]
    assert texts == sorted(set(texts))
    assert [Place.parse(text, STREAM).text(STREAM) for text in texts] == texts


@every_dialect
@given(entries=logs())
def test_an_end_is_told_when_the_log_has_one(dialect: Dialect, entries: list[Entry]) -> None:
    """Whoever has all of it is told nothing more, and the relay knows that beforehand."""
    past = past_of(dialect, entries)
    ended = isinstance(entries[-1].events()[-1], EndEvent)
    assert (past.end is not None) == ended
    if past.end is not None:
        assert told(dialect, entries, Had(past.end.place), past) == []


def test_a_reader_of_what_is_discarded_is_told_to_read_anew() -> None:
    """In a dialect that has no word for it; it was there when the reset came."""
    assert said(told(PLAIN, TAKEN_OVER)) == [*KEPT, *LOST, "discarded"]


def test_a_reader_who_comes_back_with_what_is_discarded_is_told_so_at_once() -> None:
    """The rest of it would only be thrown away too."""
    for frame in told(PLAIN, TAKEN_OVER)[len(KEPT) : -1]:
        assert frame.place is not None
        assert said(resumed(PLAIN, TAKEN_OVER, Had(frame.place))) == ["discarded"]


def test_the_failure_has_no_place() -> None:
    """A client that came back from it would go on after what it should have thrown away."""
    assert [frame.place is None for frame in told(PLAIN, TAKEN_OVER)][-2:] == [False, True]


def test_a_reader_who_comes_later_gets_what_survived() -> None:
    """And nothing of what was discarded."""
    assert said(told(PLAIN, TAKEN_OVER, past=past_of(PLAIN, TAKEN_OVER))) == [*KEPT, *FOUND]


def test_a_reader_who_left_before_what_was_discarded_goes_on() -> None:
    """It has nothing that would have to be thrown away."""
    full = told(PLAIN, TAKEN_OVER)
    place = full[len(KEPT) - 1].place
    assert place is not None
    assert said(resumed(PLAIN, TAKEN_OVER, Had(place))) == FOUND
    assert said(resumed(PLAIN, TAKEN_OVER, Had(total=len(KEPT)))) == FOUND


def test_numbers_count_what_was_discarded_and_the_failure() -> None:
    """Else a number would mean one event to a reader who was there, and another to one who came later."""
    after = len(KEPT) + len(LOST) + 1
    assert said(resumed(PLAIN, TAKEN_OVER, Had(total=after + 2))) == FOUND[2:]
    assert said(resumed(PLAIN, TAKEN_OVER, Had(total=after))) == ["discarded"]


def test_a_dialect_that_can_say_it_does() -> None:
    """To those who have something of it."""
    assert said(told(FRANK, TAKEN_OVER)) == [*KEPT, *LOST, "keep 1", *FOUND]
    assert said(told(FRANK, TAKEN_OVER, past=past_of(FRANK, TAKEN_OVER))) == [*KEPT, *FOUND]


def test_one_reset_may_be_told_and_the_next_withheld() -> None:
    """To a reader who was cut before the first and came back after the second."""
    entries = log_of(
        (0, [START]),
        (1, [BlockStartEvent(0, "text"), DeltaEvent(0, text="one")]),
        (2, [ResetEvent(0, "lease_expired"), BlockStartEvent(0, "text"), DeltaEvent(0, text="two")]),
        (3, [ResetEvent(0, "lease_expired"), BlockStartEvent(0, "text"), DeltaEvent(0, text="three")]),
    )
    place = told(FRANK, entries)[1].place
    assert place is not None
    assert said(resumed(FRANK, entries, Had(place))) == [
        "text",
        "more 0 one",
        "keep 0",
        "open 0",
        "text",
        "more 0 three",
    ]
    assert said(resumed(PLAIN, entries, Had(place))) == ["discarded"]


def test_where_clients_count_something_stands_for_what_is_withheld() -> None:
    """Three wire events and the failure."""
    assert said(told(COUNTED, TAKEN_OVER, past=past_of(COUNTED, TAKEN_OVER))) == [*KEPT, "-", "-", "-", "-", *FOUND]


def test_a_reader_whose_entry_the_log_does_not_hold_is_told_to_read_anew() -> None:
    """The log went another way after Redis had lost its end."""
    lost = Had(Place.parse("abcd-00000001-00000004-000-000", STREAM))
    assert said(resumed(PLAIN, TAKEN_OVER, lost)) == ["discarded"]
    ahead = Had(Place.parse("abcd-00000002-00000009-000-000", STREAM))
    assert said(resumed(PLAIN, TAKEN_OVER, ahead)) == ["discarded"]


def test_an_offset_of_the_native_dialect_will_do() -> None:
    """It stands for all that its event comes to."""
    had = Had(Place.parse("abcd-00000002-00000005-000", STREAM))
    assert said(resumed(PLAIN, TAKEN_OVER, had)) == FOUND[2:]


def test_a_reader_who_came_for_what_comes_next_right_after_a_reset_gets_it() -> None:
    """It has nothing of what was discarded, though it counts as having all that there was."""
    past = past_of(PLAIN, TAKEN_OVER[:4])
    assert said(told(PLAIN, TAKEN_OVER, past.now(), past)) == FOUND
    assert said(told(FRANK, TAKEN_OVER, past_of(FRANK, TAKEN_OVER[:4]).now(), past_of(FRANK, TAKEN_OVER[:4]))) == FOUND


def test_a_reset_that_the_log_has_lost_since_withholds_nothing_in_silence() -> None:
    """The log went another way after it had been looked at; what the reader should get is not known any more."""
    lost = past_of(PLAIN, TAKEN_OVER)
    another_way = log_of(
        (0, [START]),
        (1, [BlockStartEvent(0, "thinking"), DeltaEvent(0, text="hm"), BlockStopEvent(0)]),
        (1, [BlockStartEvent(1, "text"), DeltaEvent(1, text="lost")]),
        (3, [BlockStopEvent(1)]),
        (3, [EndEvent("completed", "end_turn")]),
    )
    assert said(told(PLAIN, another_way, past=lost)) == [*KEPT, "discarded"]
