"""The Anthropic Messages dialect: what each event comes to, and that any log is told as one well-formed message."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from relay.dialects.anthropic_messages import ANTHROPIC
from relay.dialects.dialect import WireEvent
from relay.dialects.place import NOTHING, Had, Place
from shared.answer import Answer
from shared.entry import Entry, encode_blob
from shared.errors import GoneError
from shared.events import (
    AttemptEvent,
    BlockStartEvent,
    BlockStopEvent,
    DataEvent,
    DeltaEvent,
    EndEvent,
    ErrorEvent,
    Event,
    ResetEvent,
    StartEvent,
    StepEvent,
    Usage,
    UsageEvent,
)
from shared.offset import EntryId
from shared.record import Record
from tests.relay.dialects.messages_grammar import MessagesGrammar
from tests.relay.dialects.random_logs import STREAM, histories, logs
from tests.relay.dialects.support import resumed, told

START = StartEvent(STREAM, "anthropic", "model-1", 1_000, 4096)
STEP = StepEvent("start", 1, "msg_upstream", "model-1-dated")
HEAD: list[Event] = [
    START,
    AttemptEvent(1, "first", "start", "anthropic", "model-1", "0-1"),
    STEP,
    UsageEvent(1, Usage(9, 1)),
]
DONE = EndEvent("completed", "end_turn", None, Usage(9, 12, 3, 4))
PER_ENTRY = 3
RECORD = Record("local", "model-1", "anthropic", 1_000, 4096, {}, b"")


def raw(**fields: Any) -> msgspec.Raw:
    """Return an opaque object."""
    return msgspec.Raw(json.dumps(fields).encode())


def fed(events: Sequence[Event]) -> list[list[WireEvent]]:
    """Return what each event comes to, of one stream."""
    projection = ANTHROPIC.project(STREAM)
    answers: list[list[WireEvent]] = []
    for event in events:
        if isinstance(event, ResetEvent):
            assert projection.discard(event.keep_blocks) is None
            answers.append([])
        else:
            answers.append(list(projection.feed(event, 5)))
    return answers


def entries(events: Sequence[Event]) -> list[Entry]:
    """Return the events as the log of a stream."""
    groups = [events[at : at + PER_ENTRY] for at in range(0, len(events), PER_ENTRY)]
    return [Entry(EntryId(1, seq), encode_blob(group, 5)) for seq, group in enumerate(groups, 1)]


def surviving(events: Sequence[Event]) -> list[WireEvent]:
    """Return what a reader is told who comes after all resets: without the blocks that were discarded."""
    return [frame.event for frame in resumed(ANTHROPIC, entries(events), NOTHING)]


def bodies(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return all that is told, decoded."""
    return [json.loads(one.data) for answer in fed(events) for one in answer]


def whole(events: Sequence[Event]) -> dict[str, Any]:
    """Return the message of the non-streaming form, as a client decodes it."""
    answer = Answer()
    for event in events:
        answer.apply(event)
    assert ANTHROPIC.whole is not None
    return dict(json.loads(msgspec.json.encode(ANTHROPIC.whole(STREAM, RECORD, answer))))


def test_a_plain_answer_is_told_as_the_api_tells_it() -> None:
    """Event by event, with the tokens of the input in the head and of everything at the end."""
    text: list[Event] = [BlockStartEvent(0, "text"), DeltaEvent(0, text='Hi "é\u2028'), BlockStopEvent(0)]
    stop = StepEvent("stop", 1, stop_reason="end_turn")
    start, *rest = bodies([*HEAD, *text, UsageEvent(1, Usage(9, 12, 3, 4)), stop, DONE])
    assert start["message"] == {
        "id": f"msg_{STREAM}",
        "type": "message",
        "role": "assistant",
        "model": "model-1",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 9,
            "output_tokens": 1,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    }
    usage = {
        "input_tokens": 9,
        "output_tokens": 12,
        "cache_creation_input_tokens": 4,
        "cache_read_input_tokens": 3,
    }
    assert rest == [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 'Hi "é\u2028'}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]


def test_every_kind_of_block_is_told_in_its_own_form() -> None:
    """Thinking with its signature, a call's arguments in pieces, and opaque blocks and deltas byte for byte."""
    opaque = msgspec.Raw(b'{"type": "web_search_tool_result", "tool_use_id":"srv_1",  "content": [1.0]}')
    delta = msgspec.Raw(b'{"type":"citations_delta",  "citation":{"x":1}}')
    tool = b'{"type":"tool_use","id":"toolu_1","name":"look_up","input":{}}'
    answers = fed(
        [
            *HEAD,
            BlockStartEvent(0, "thinking"),
            DeltaEvent(0, text="Hm"),
            DeltaEvent(0, signature="c2ln/+="),
            BlockStartEvent(1, "tool_use", "toolu_1", "look_up"),
            DeltaEvent(1, json='{"q":'),
            BlockStartEvent(2, "tool_result", "srv_1", "web_search_tool_result", opaque),
            BlockStartEvent(3, "text"),
            DeltaEvent(3, data=delta),
        ]
    )[len(HEAD) :]
    lines = [one.data for answer in answers for one in answer]
    assert lines == [
        b'{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln/+="}}',
        b'{"type":"content_block_start","index":1,"content_block":%s}' % tool,
        b'{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\\"q\\":"}}',
        b'{"type":"content_block_start","index":2,"content_block":%s}' % bytes(opaque),
        b'{"type":"content_block_start","index":3,"content_block":{"type":"text","text":""}}',
        b'{"type":"content_block_delta","index":3,"delta":%s}' % bytes(delta),
    ]


def test_opaque_content_without_a_type_is_wrapped_in_one() -> None:
    """Clients tell everything by its type; a provider of another family may have given none."""
    events: list[Event] = [
        *HEAD,
        BlockStartEvent(0, "data", None, "image", msgspec.Raw(b"[1]")),
        DeltaEvent(0, data=raw(part=2)),
    ]
    start, delta = bodies(events)[1:]
    assert start["content_block"] == {"type": "image", "data": [1]}
    assert delta["delta"] == {"type": "data_delta", "data": {"part": 2}}


def test_several_attempts_and_steps_are_one_message() -> None:
    """A text cut and gone on with, then a pause and another call: one start, one end, the usage of all."""
    events: list[Event] = [
        *HEAD,
        BlockStartEvent(0, "text"),
        DeltaEvent(0, text="one "),
        AttemptEvent(2, "provider_error", "user_turn", "anthropic", "model-1", "1-9"),
        StepEvent("start", 2, "msg_second"),
        UsageEvent(2, Usage(20)),
        DeltaEvent(0, text="two"),
        BlockStopEvent(0),
        StepEvent("stop", 2, stop_reason="pause_turn"),
        StepEvent("start", 3, "msg_third"),
        UsageEvent(3, Usage(30)),
        BlockStartEvent(1, "text"),
        DeltaEvent(1, text="three"),
        BlockStopEvent(1),
        EndEvent("completed", "end_turn", None, Usage(59, 5)),
    ]
    grammar = MessagesGrammar().feed_all(surviving(events))
    assert grammar.ended
    assert grammar.message is not None
    assert [block["text"] for block in grammar.message["content"]] == ["one two", "three"]
    assert grammar.message["usage"]["input_tokens"] == 59
    assert grammar.message == whole(events)


def test_blocks_after_a_reset_take_the_indices_of_those_discarded() -> None:
    """What a reader who comes later is told has no holes."""
    events: list[Event] = [
        *HEAD,
        BlockStartEvent(0, "text"),
        BlockStopEvent(0),
        BlockStartEvent(1, "thinking"),
        ResetEvent(1, "provider_error"),
        BlockStartEvent(1, "text"),
        DeltaEvent(1, text="anew"),
        BlockStopEvent(1),
        DONE,
    ]
    message = MessagesGrammar().feed_all(surviving(events)).message
    assert message is not None
    assert [block["text"] for block in message["content"]] == ["", "anew"]


def test_a_cancelled_answer_ends_as_a_message_that_says_so() -> None:
    """With the text there was; also if there was nothing at all yet."""
    text: list[Event] = [BlockStartEvent(0, "text"), DeltaEvent(0, text="half")]
    for events in ([*HEAD, *text], [START]):
        log: list[Event] = [*events, EndEvent("cancelled", "cancelled", None, Usage(9, 1))]
        grammar = MessagesGrammar().feed_all(surviving(log))
        assert grammar.ended
        assert grammar.message is not None
        assert grammar.message["stop_reason"] == "cancelled"
        assert grammar.message == whole(log)


@pytest.mark.parametrize(
    ("status", "reason", "told_as"),
    [
        ("completed", "tool_use", "tool_use"),
        ("completed", None, "end_turn"),
        ("incomplete", "max_tokens", "max_tokens"),
        ("incomplete", "stream_too_long", "max_tokens"),
        ("cancelled", "abandoned", "cancelled"),
    ],
)
def test_the_end_is_told_in_the_api_s_words(status: Any, reason: str | None, told_as: str) -> None:
    """Streaming and not."""
    events: list[Event] = [*HEAD, EndEvent(status, reason)]
    assert bodies(events)[-2]["delta"]["stop_reason"] == told_as == whole(events)["stop_reason"]


@pytest.mark.parametrize(
    ("error", "kind", "told_as"),
    [
        (ErrorEvent("provider_error", "busy", retryable=True), "overloaded", "overloaded_error"),
        (ErrorEvent("provider_error", "bad", retryable=False), "invalid_request", "invalid_request_error"),
        (ErrorEvent("provider_error", "key", retryable=False), "authentication", "api_error"),
        (ErrorEvent("provider_error", "cut", retryable=True), "cut", "api_error"),
        (ErrorEvent("interrupted", "stopped", retryable=True), "interrupted", "api_error"),
    ],
)
def test_a_failure_is_an_error_event_and_the_end(error: ErrorEvent, kind: str, told_as: str) -> None:
    """Of the type that the API has for it, and with our own name for it in the details."""
    events: list[Event] = [*HEAD, BlockStartEvent(0, "text"), error, EndEvent("failed", kind)]
    last = bodies(events)[-1]
    details = {"error_code": kind}
    assert last == {"type": "error", "error": {"details": details, "type": told_as, "message": error.message}}
    assert whole(events) == last


def test_an_error_that_is_not_in_the_log_is_told_too() -> None:
    """Such as that the log has expired."""
    (event,) = ANTHROPIC.project(STREAM).fail(GoneError("the log has expired"))
    assert event.name == "error"
    assert json.loads(event.data)["error"]["type"] == "not_found_error"


def test_what_the_provider_says_at_the_end_is_told_at_the_end() -> None:
    """Of the call that ended the answer; one before it was of a call that something followed."""
    refusal = {"type": "refusal", "category": "cyber"}
    stale = DataEvent("message_delta", raw(delta={"stop_details": {"type": "stale"}, "container": {"id": "c1"}}))
    last = DataEvent("message_delta", raw(delta={"stop_reason": "refusal", "stop_details": refusal}))
    events: list[Event] = [*HEAD, stale, StepEvent("start", 2), last, EndEvent("completed", "refusal")]
    end = {"stop_reason": "refusal", "stop_sequence": None, "stop_details": refusal}
    assert bodies(events)[-2]["delta"] == end
    assert whole(events).items() >= end.items()
    assert "container" not in whole(events)


def test_a_provider_s_unknown_events_pass_through_after_the_start() -> None:
    """Unless they have the name of a part of the message."""
    data = msgspec.Raw(b'{"type":"strange",  "x":1}')
    misnamed = [DataEvent("message_stop", raw(type="message_stop")), DataEvent("message_delta", raw(delta=5))]
    events: list[Event] = [START, STEP, DataEvent("strange", data), *misnamed]
    start, strange = [one for answer in fed(events) for one in answer]
    assert start.name == "message_start"
    assert strange == WireEvent(bytes(data), "strange")


def test_the_whole_message_has_each_block_in_full() -> None:
    """Arguments parsed, signatures, citations and opaque content as they came."""
    server_tool = raw(type="server_tool_use", id="srv_1", name="web_search", input={})
    events: list[Event] = [
        *HEAD,
        BlockStartEvent(0, "thinking"),
        DeltaEvent(0, text="Hm"),
        DeltaEvent(0, signature="c2ln"),
        BlockStartEvent(1, "data", None, "server_tool_use", server_tool),
        DeltaEvent(1, json='{"query":"x"}'),
        BlockStartEvent(2, "text"),
        DeltaEvent(2, text="Hi"),
        DeltaEvent(2, data=raw(type="citations_delta", citation={"n": 1})),
        DeltaEvent(2, data=raw(type="citations_delta", citation={"n": 2})),
        BlockStartEvent(3, "tool_use", "toolu_1", "look_up"),
        DeltaEvent(3, json='{"n": 12345678901234567890}'),
        BlockStartEvent(4, "tool_use", "toolu_2", "look_up"),
        DeltaEvent(4, json='{"n": 1'),
        BlockStartEvent(5, "tool_use", "toolu_3", "look_up"),
        DONE,
    ]
    assert whole(events)["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "text", "text": "Hi", "citations": [{"n": 1}, {"n": 2}]},
        {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"n": 12345678901234567890}},
        {"type": "tool_use", "id": "toolu_2", "name": "look_up", "input": {"INVALID_JSON": '{"n": 1'}},
        {"type": "tool_use", "id": "toolu_3", "name": "look_up", "input": {}},
    ]


@given(histories())
@settings(max_examples=80)
def test_any_log_is_one_well_formed_message_that_equals_the_whole_one(log: list[Event]) -> None:
    """And it is the same each time it is told."""
    events = surviving(log)
    grammar = MessagesGrammar().feed_all(events)
    assert grammar.ended
    assert events == surviving(log)
    message = whole(log)
    if grammar.error is not None:
        assert message["error"] == grammar.error
    else:
        assert grammar.message == message


@given(logs())
def test_what_workers_write_keeps_the_grammar(log: list[Entry]) -> None:
    """For whoever follows it live, and for whoever comes later."""
    for frames in (told(ANTHROPIC, log), resumed(ANTHROPIC, log, NOTHING)):
        grammar = MessagesGrammar().feed_all(frame.event for frame in frames)
        assert grammar.ended or not isinstance(log[-1].events()[-1], EndEvent)


@given(histories())
@settings(max_examples=60)
def test_a_reader_who_comes_back_anywhere_gets_just_the_rest(log: list[Event]) -> None:
    """For every place: what it had and what it then gets is what it would have got at once.

    A place inside what a reset is about to discard does not tell whether its reader was told the discarded too: it is
    told to read anew.
    """
    stored = entries(log)
    full = resumed(ANTHROPIC, stored, NOTHING)
    for count, (_, place) in enumerate(full, 1):
        assert place is not None
        rest = resumed(ANTHROPIC, stored, Had(place))
        if rest != full[count:]:
            assert b'"error_code":"discarded"' in rest[-1].event.data
            assert inside_what_is_discarded(log, place)


def inside_what_is_discarded(log: Sequence[Event], place: Place) -> bool:
    """Tell whether a block begins before the place that is discarded after it."""
    at = (place.offset.entry.seq - 1) * PER_ENTRY + place.offset.sub
    begun = {event.block for event in log[:at] if isinstance(event, BlockStartEvent)}
    resets = [event for event in log[at:] if isinstance(event, ResetEvent)]
    return any(block >= reset.keep_blocks for reset in resets for block in begun)


@given(histories())
@settings(max_examples=80)
def test_a_reader_who_follows_live_reads_a_message_or_is_told_to_read_anew(log: list[Event]) -> None:
    """A reset that takes back something it has is an error and the end, and nothing else is."""
    grammar = MessagesGrammar().feed_all(frame.event for frame in told(ANTHROPIC, entries(log)))
    assert grammar.ended
    if grammar.error is not None and grammar.error["details"]["error_code"] == "discarded":
        assert any(isinstance(event, ResetEvent) for event in log)
    else:
        assert surviving(log)[-1].data == whole_log_end(log)


def whole_log_end(log: Sequence[Event]) -> bytes:
    """Return the last wire event of a log."""
    return fed(log)[-1][-1].data


def test_a_head_told_with_a_discarded_block_is_told_again() -> None:
    """A provider that tells no usage first: the head comes with the first block, and must not go with it."""
    events: list[Event] = [
        START,
        STEP,
        BlockStartEvent(0, "thinking"),
        ResetEvent(0, "provider_error"),
        BlockStartEvent(0, "text"),
        BlockStopEvent(0),
        DONE,
    ]
    assert [one.name for one in surviving(events)][:2] == ["message_start", "content_block_start"]
    assert MessagesGrammar().feed_all(surviving(events)).ended
