"""Offsets: opaque to clients, sorted as text, bound to their stream, and strict about what they accept."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.offset import (
    MAX_ATTEMPT,
    MAX_EVENTS_PER_ENTRY,
    MAX_SEQ,
    NO_ENTRY,
    START,
    EntryId,
    MalformedOffsetError,
    Offset,
    is_stream_id,
    new_stream_id,
)
from tests.support_events import ENTRY_IDS, OFFSETS

STREAM = "k3f9" + "a" * 22


@given(OFFSETS, st.builds(new_stream_id))
def test_an_offset_survives_its_text(offset: Offset, stream_id: str) -> None:
    """A client gives back what it got, and the place is the same."""
    assert Offset.parse(offset.text(stream_id), stream_id) == offset


@given(OFFSETS, OFFSETS)
def test_texts_sort_as_offsets_do(one: Offset, two: Offset) -> None:
    """A client may compare two offsets of one stream as plain text."""
    assert (one < two) == (one.text(STREAM) < two.text(STREAM))
    assert (one == two) == (one.text(STREAM) == two.text(STREAM))


@given(OFFSETS)
def test_every_text_has_the_same_width(offset: Offset) -> None:
    """Fixed width is what makes the texts sort."""
    assert len(offset.text(STREAM)) == len(START.text(STREAM)) == 26


@given(st.text(max_size=40))
def test_any_other_text_is_refused_with_a_sentence(text: str) -> None:
    """Nothing a client can put into Last-Event-ID raises anything else."""
    try:
        offset = Offset.parse(text, STREAM)
    except MalformedOffsetError as error:
        assert str(error).startswith("the offset ")  # noqa: PT017 - either outcome is right, by the text
    else:
        assert offset.text(STREAM) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "0-1",
        "k3f9-00000001-00000003",
        "k3f9-00000001-00000003-0001",
        "k3f9-1-00000003-001",
        "k3f9-00000001-00000003-001 ",
        "k3f9-00000001-00000003-001\n",
        " k3f9-00000001-00000003-001",
        "K3F9-00000001-00000003-001",
        "k3f9-00000001-0000000x-001",
        "k3f9-00000001--0000003-001",
        "k3f9-0000000\u0661-00000003-001",
        "k3f9-00000001-00000003-00²",
    ],
)
def test_a_malformed_offset_is_refused(text: str) -> None:
    """One spelling per offset; even digits of other scripts are none of ours."""
    with pytest.raises(MalformedOffsetError, match="is not one that this service gave out"):
        Offset.parse(text, STREAM)


@given(OFFSETS, st.builds(new_stream_id), st.builds(new_stream_id))
def test_an_offset_of_another_stream_is_refused(offset: Offset, mine: str, other: str) -> None:
    """A client that mixes two streams up is told so instead of losing events."""
    assume(mine[:4] != other[:4])
    with pytest.raises(MalformedOffsetError, match="belongs to another stream"):
        Offset.parse(offset.text(other), mine)


def test_offsets_compare_in_stream_order() -> None:
    """Attempt first, then the entry, then the place inside it; the start is before everything."""
    ordered = [
        START,
        Offset(EntryId(0, 1), 0),
        Offset(EntryId(1, 2), 0),
        Offset(EntryId(1, 2), 1),
        Offset(EntryId(1, 10), 0),
        Offset(EntryId(2, 11), 0),
        Offset(EntryId(MAX_ATTEMPT, MAX_SEQ), MAX_EVENTS_PER_ENTRY - 1),
    ]
    assert ordered == sorted(ordered)
    assert [offset.text(STREAM) for offset in ordered] == sorted(offset.text(STREAM) for offset in ordered)


@given(ENTRY_IDS)
def test_an_entry_id_survives_its_text(entry_id: EntryId) -> None:
    """As text and as the bytes Redis answers with."""
    assert EntryId.parse(str(entry_id)) == entry_id
    assert EntryId.parse(str(entry_id).encode()) == entry_id


@pytest.mark.parametrize(
    "text", ["", "1", "1-", "-1", "1-2-3", "a-1", "1-2\n", "+", "$", "\u0661-\u0662", b"1-\xff", "1" * 11 + "-1"]
)
def test_any_other_entry_id_is_refused(text: str | bytes) -> None:
    """Redis's own special ids are not ids of entries."""
    with pytest.raises(ValueError):  # noqa: PT011 - bytes that are no text raise the codec's own kind of it
        EntryId.parse(text)


def test_no_entry_is_before_the_first() -> None:
    """The relay's entry ``0-1`` follows it."""
    assert EntryId(0, 1) > NO_ENTRY


def test_stream_ids_are_unguessable_and_all_different() -> None:
    """128 random bits each, in characters that need no escaping in a URL, a key or an offset."""
    ids = {new_stream_id() for _ in range(2_000)}
    assert len(ids) == 2_000
    assert all(is_stream_id(stream_id) for stream_id in ids)
    for place in range(25):
        assert len({stream_id[place] for stream_id in ids}) == 32, f"character {place} is not random"


@pytest.mark.parametrize("text", ["a" * 25, "a" * 27, "A" * 26, "a" * 25 + "1", "a" * 25 + "-", "a" * 26 + "\n"])
def test_what_is_nearly_a_stream_id_is_none(text: str) -> None:
    """One character more, less or other."""
    assert not is_stream_id(text)
    assert is_stream_id("a" * 26)


@given(st.text(max_size=30))
def test_only_the_form_of_a_stream_id_is_taken_for_one(text: str) -> None:
    """Whatever else comes in a path is an unknown stream, before Redis is asked."""
    assert is_stream_id(text) == (len(text) == 26 and set(text) <= set("abcdefghijklmnopqrstuvwxyz234567"))
