"""Reads that bring text and nothing else are recognised whole; all others are left alone, and told the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ProviderError
from shared.events import DeltaEvent
from shared.models import Model
from tests.support_events import TEXTS
from worker.llm import Call
from worker.providers.messages_decoder import MessagesDecoder
from worker.providers.text_deltas import text_deltas

_STARTED = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text"}}\n\n'
)


def delta(text: str, *, index: int = 0, padding: int = 0, ascii_only: bool = False) -> bytes:
    """Return the frame of one delta, as Anthropic writes it."""
    said = json.dumps(text, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,' % index
    return head + b'"delta":{"type":"text_delta","text":' + said + b"}" + b" " * padding + b"}\n\n"


def begun() -> MessagesDecoder:
    """Return a decoder in the middle of a text."""
    decoder = MessagesDecoder(Call(Model(provider="anthropic"), "m", [{"role": "user", "content": "hi"}], 1000))
    decoder.feed(_STARTED)
    return decoder


@given(st.lists(st.tuples(TEXTS, st.integers(0, 12), st.booleans()), min_size=1, max_size=5))
def test_whole_deltas_are_recognised_and_told_as_byte_by_byte(said: list[tuple[str, int, bool]]) -> None:
    """Any text, however it is escaped and padded, and any number of deltas in a read."""
    chunk = b"".join(delta(text, padding=padding, ascii_only=plain) for text, padding, plain in said)
    assert text_deltas(chunk) == [(0, text) for text, _, _ in said]
    decoder = begun()
    assert begun().feed(chunk) == [event for byte in chunk for event in decoder.feed(bytes([byte]))]


@pytest.mark.parametrize(
    "chunk",
    [
        delta("a")[:-1],
        delta("a")[1:],
        delta("a") + delta("b")[:-1],
        delta("a") + b": ping\n\n",
        delta("a").replace(b"\n", b"\r\n"),
        delta("a").replace(b'"text":"a"', b'"text":"a","more":1'),
        delta("a").replace(b'"text":"a"', b'"text":7'),
        delta("a").replace(b'"a"', b'"\\x"'),
        delta("a").replace(b'"a"', b'"\xff"'),
        delta("a").replace(b'"a"', b'"\\ud800"'),
        delta("a").replace(b'"a"', b'"a\\"'),
    ],
)
def test_anything_else_is_left_to_the_decoder(chunk: bytes) -> None:
    """Half an event, one more thing beside, or text that is none."""
    assert text_deltas(chunk) is None


@pytest.mark.parametrize("bad", [delta("x").replace(b'"x"', b'"\\x"'), delta("x", index=7)])
def test_what_came_before_a_malformed_delta_is_not_lost(bad: bytes) -> None:
    """Both in one read: an escape that is none, and a block that nobody has opened."""
    decoder = begun()
    with pytest.raises(ProviderError):
        decoder.feed(delta("told") + bad)
    assert decoder.rest() == [DeltaEvent(0, text="told")]


def test_a_read_that_goes_on_with_half_an_event_is_no_delta_of_its_own() -> None:
    """A data line that continues an event which has begun, though by itself it looks like one."""
    decoder = begun()
    assert decoder.feed(b"id: 7\n") == []
    assert decoder.feed(delta("a")) == [DeltaEvent(0, text="a")]
    assert decoder.feed(b"event: ping\ndata: {}\n") == []
    assert decoder.feed(b"\n" + delta("b")) == [DeltaEvent(0, text="b")]
