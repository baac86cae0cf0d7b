"""The SSE reader: the standard's rules, however the bytes are cut, within a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sse import DEFAULT_MAX_EVENT_BYTES, SseEvent, SseLimitError, SseParser


def parse(text: bytes, size: int | None = None, limit: int = DEFAULT_MAX_EVENT_BYTES) -> list[SseEvent]:
    """Read ``text`` in pieces of ``size`` bytes."""
    parser = SseParser(limit)
    step = size or max(len(text), 1)
    return [event for at in range(0, len(text), step) for event in parser.feed(text[at : at + step])]


def message(
    data: bytes | None, event: str = "message", event_id: str | None = None, retry: int | None = None
) -> SseEvent:
    """Return an event, most of it usual."""
    return SseEvent(event, data, event_id, retry)


def test_an_event_has_its_name_data_id_and_retry() -> None:
    """The four fields of one event."""
    text = b"event: delta\nid: 7\nretry: 1500\ndata: {}\n\n"
    assert parse(text) == [message(b"{}", "delta", "7", 1500)]


def test_an_event_without_a_name_is_a_message() -> None:
    """The standard's default name; the name of one event does not pass to the next."""
    assert parse(b"event: a\ndata: 1\n\ndata: 2\n\n") == [message(b"1", "a"), message(b"2")]


def test_several_data_lines_are_joined_by_line_feeds() -> None:
    """Also empty ones, and those without a space after the colon, of which only one is dropped."""
    assert parse(b"data: a\ndata\ndata:b\ndata:  c\n\n") == [message(b"a\n\nb\n c")]


def test_comments_and_unknown_fields_are_ignored() -> None:
    """Heartbeats are comments; they end no event and begin none."""
    assert parse(b": ka\n\n: ka\nfoo: bar\ndata: 1\n:x\n\n:\n\n") == [message(b"1")]


def test_id_and_retry_are_told_even_without_data() -> None:
    """A client must learn its reconnection delay from a lone ``retry`` line."""
    assert parse(b"retry: 1000\n\nid: 3\n\nid:\n\n") == [
        message(None, retry=1000),
        message(None, event_id="3"),
        message(None, event_id=""),
    ]


def test_an_id_with_a_null_and_a_retry_that_is_no_number_are_ignored() -> None:
    """As the standard says."""
    assert parse(b"id: a\0b\nretry: 1s\nretry: -1\nretry:\ndata: 1\n\n") == [message(b"1")]


def test_a_name_without_data_is_no_event() -> None:
    """And its name is forgotten."""
    assert parse(b"event: a\n\ndata: 1\n\n") == [message(b"1")]


def test_an_unfinished_event_is_not_told() -> None:
    """A cut stream must not yield half an event."""
    assert parse(b"data: 1\n\ndata: 2\n") == [message(b"1")]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_a_byte_order_mark_is_dropped_at_the_start_only(size: int) -> None:
    """Also when it arrives in pieces."""
    mark = "\ufeff".encode()
    assert parse(mark + b"data: 1\n\ndata: " + mark + b"\n\n", size) == [message(b"1"), message(mark)]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_is_told_as_soon_as_its_blank_line_ends(end: bytes) -> None:
    """A CR is a line end by itself: waiting to see whether an LF follows would delay every event."""
    parser = SseParser()
    told = [bool(parser.feed(bytes([byte]))) for byte in b"data: 1" + end + end]
    assert told.index(True) == len(told) - len(end)


def test_an_event_over_the_limit_is_refused() -> None:
    """Whether it comes as one line, as many, or as a line that never ends."""
    for text in (b"data: " + b"x" * 200 + b"\n\n", b"data: xxxxxxxxxx\n" * 20, b"x" * 200):
        with pytest.raises(SseLimitError, match="larger than 100 bytes"):
            parse(text, 10, limit=100)


def test_the_limit_is_for_one_event_not_for_the_stream() -> None:
    """A long stream of small events, in one chunk or many, is read to its end."""
    text = b"data: 12345678\n\n" * 1000
    parser = SseParser(max_event_bytes=100)
    assert len(parser.feed(text)) == len(parser.feed(text)) == 1000


def reference(text: str) -> list[SseEvent]:
    """Read a whole stream the slow and obvious way, from the standard's wording."""
    events: list[SseEvent] = []
    data: list[str] = []
    name, event_id, retry = "", None, None
    *lines, _unfinished = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if data or event_id is not None or retry is not None:
                joined = "\n".join(data).encode() if data else None
                events.append(SseEvent(name or "message", joined, event_id, retry))
            data, name, event_id, retry = [], "", None, None
        elif field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            event_id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            retry = int(value)
    return events


_pieces = st.sampled_from(
    ["\n", "\r", "\r\n", "data", "event", "id", "retry", ":", " ", "é", "\ufeff", "x", "1", "data: a\n", "\n\n", "\0"]
)


@given(st.lists(_pieces, max_size=40).map("".join), st.integers(1, 9))
def test_any_stream_reads_the_same_however_it_is_cut(text: str, size: int) -> None:
    """Bytes cut anywhere, also inside a character or a CRLF, give what the whole text gives."""
    assert parse(text.encode(), size) == reference(text)
