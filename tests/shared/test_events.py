"""Events: one line of JSON each, ``type`` first, provider bytes untouched, unknown kinds carried along."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.events import (
    KNOWN_TYPES,
    AttemptEvent,
    BlockStartEvent,
    DataEvent,
    DeltaEvent,
    EndEvent,
    Event,
    KnownEvent,
    StartEvent,
    UnknownEvent,
    Usage,
    decode_event,
    encode_event,
    event_type,
)
from tests.support_events import EVENTS, RAW_JSON, USAGES


@given(EVENTS)
def test_every_event_survives_its_encoding(event: Event) -> None:
    """What is decoded equals what was encoded, and encodes to the same bytes again."""
    line = encode_event(event)
    again = decode_event(line)
    assert again == event
    assert encode_event(again) == line


@given(EVENTS)
def test_an_event_is_one_line_of_json_with_its_type_first(event: Event) -> None:
    """Relays name an event without decoding it, and SSE and the log cut at line ends."""
    line = encode_event(event)
    fields = json.loads(line)
    assert next(iter(fields)) == "type"
    assert event_type(line) == fields["type"]
    assert line.splitlines() == [line]


@given(RAW_JSON)
def test_what_a_provider_sent_stays_byte_exact(raw: bytes) -> None:
    """Opaque data is copied, never parsed and written anew."""
    for event in (
        DataEvent("odd", msgspec.Raw(raw)),
        DeltaEvent(0, data=msgspec.Raw(raw)),
        BlockStartEvent(0, "data", data=msgspec.Raw(raw)),
    ):
        line = encode_event(event)
        again = decode_event(line)
        assert isinstance(again, DataEvent | DeltaEvent | BlockStartEvent)
        assert bytes(again.data) == raw  # type: ignore[arg-type]
        assert raw in line


def test_a_number_keeps_the_digits_the_provider_wrote() -> None:
    """Parsing 1.10 or 10**30 and writing it again would change it; an encrypted block would no longer verify."""
    raw = b'{"a": 1.10, "b": 1000000000000000000000000000000, "c": 1E5, "d": "\\u00e9"}'
    again = decode_event(encode_event(DataEvent("odd", msgspec.Raw(raw))))
    assert isinstance(again, DataEvent)
    assert bytes(again.data) == raw


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_line_ends_between_a_providers_tokens_become_spaces(end: bytes) -> None:
    """Pretty-printed data would break the entry and the SSE frame in two; the JSON value stays the same."""
    line = encode_event(DataEvent("odd", msgspec.Raw(b'{%b"a": "x\\ny"%b}' % (end, end))))
    space = b" " * len(end)
    assert line == b'{"type":"data","name":"odd","data":{%b"a": "x\\ny"%b}}' % (space, space)


@given(st.sampled_from(["future", "delta2", "x-y.z", "é"]), RAW_JSON)
def test_an_unknown_type_passes_through_whole(kind: str, raw: bytes) -> None:
    """A newer version's event is carried along byte for byte."""
    line = b'{"type":"%s","more":%s}' % (kind.encode(), raw)
    event = decode_event(line)
    assert event == UnknownEvent(kind, line)
    assert encode_event(event) == line


def test_unknown_fields_of_a_known_type_are_ignored() -> None:
    """Version N reads version N+1's events."""
    assert decode_event(b'{"type":"delta","block":3,"text":"a","mood":"good"}') == DeltaEvent(3, text="a")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'"type"',
        b"garbage!!",
        b'{"type":"delta',
        b'{"type":7}',
        b'{"block":0,"type":"delta"}',
        b'{"nope":"delta","block":0}',
        b'{"type": "delta","block":0}',
    ],
)
def test_what_is_no_event_is_refused(line: bytes) -> None:
    """Anything but an object that begins with its type raises ``ValueError``, never a stranger's event."""
    with pytest.raises(ValueError):  # noqa: PT011 - the contract names the class; the words are msgspec's or ours
        decode_event(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"delta"}',
        b'{"type":"delta","block":"0"}',
        b'{"type":"end","status":"finished"}',
        b'{"type":"usage","step":1}',
        b'{"type":"attempt","attempt":1}',
    ],
)
def test_a_known_type_without_its_fields_is_refused(line: bytes) -> None:
    """A damaged event is told, not guessed at."""
    with pytest.raises(msgspec.ValidationError):
        decode_event(line)


def test_the_known_types_are_those_of_the_classes() -> None:
    """The set that decides what is decoded has every tag, and no other."""
    assert {kind.__struct_config__.tag for kind in KnownEvent.__args__} == KNOWN_TYPES


def test_defaults_are_left_off_the_wire() -> None:
    """A text delta costs its text and 34 bytes, which is what makes one event per token affordable."""
    assert encode_event(DeltaEvent(0, text="Hi")) == b'{"type":"delta","block":0,"text":"Hi"}'
    assert encode_event(EndEvent("completed")) == b'{"type":"end","status":"completed"}'
    start = StartEvent("s" * 26, "anthropic", "m", 1, 2)
    assert encode_event(start) == (
        b'{"type":"start","stream_id":"%s","provider":"anthropic","model":"m","created_ms":1,"max_tokens":2}'
        % (b"s" * 26)
    )


def test_an_event_cannot_be_changed() -> None:
    """Events are shared by every reader of a stream."""
    event = AttemptEvent(1, "first", "start", "sim", "sim", "0-1")
    with pytest.raises(AttributeError):
        event.attempt = 2  # type: ignore[misc]


@given(USAGES, USAGES, USAGES)
def test_usage_adds_up_field_by_field(one: Usage, two: Usage, three: Usage) -> None:
    """The sum over attempts does not depend on their order, and nothing used adds nothing."""
    assert one + two == two + one
    assert (one + two) + three == one + (two + three)
    assert one + Usage() == one
    assert (one + two).cache_write_tokens == one.cache_write_tokens + two.cache_write_tokens
