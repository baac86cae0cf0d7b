"""The Responses API's events become canonical ones, also those of servers that bend the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from shared.errors import ProviderError
from shared.events import BlockStartEvent, DataEvent, Event, StepEvent, Usage
from shared.models import Model
from tests.messages_script import SIGNATURE, Script
from tests.responses_wire import RESPONSES
from tests.worker.support_decoders import call, fed, finish_of, folded, opened
from worker.llm import Call, Finish
from worker.providers.responses_decoder import ResponsesDecoder

MODEL = Model(provider="openai", api="responses")
BODY: dict[str, Any] = {"model": "m", "input": [], "max_output_tokens": 1000}
CREATED = ("response.created", {"response": {"id": "r1", "model": "m"}})
COMPLETED = ("response.completed", {"response": {"id": "r1", "usage": {"input_tokens": 1, "output_tokens": 2}}})
TEXT = "response.output_text.delta"


def wire(*events: tuple[str, dict[str, Any]]) -> bytes:
    """Return events as the wire has them."""
    return b"".join(f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode() for name, data in events)


def item(kind: str, at: int, done: dict[str, Any], **added: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the two events of an item of the output."""
    head = {"type": kind, "id": f"i{at}"}
    return [
        ("response.output_item.added", {"output_index": at, "item": {**head, **added}}),
        ("response.output_item.done", {"output_index": at, "item": {**head, **added, **done}}),
    ]


def decoded(*events: tuple[str, dict[str, Any]], of: Call | None = None) -> list[Event | Finish]:
    """Decode events."""
    return fed(ResponsesDecoder(of or call(MODEL)), wire(*events))


@given(st.integers(1, 300))
def test_an_answer_is_the_same_however_it_is_cut(size: int) -> None:
    """A thought with what it is encrypted to, text, two calls, usage."""
    tools = [{"name": "a", "input": {"x": "é"}}, {"name": "b", "input": {"y": [1, 2]}}]
    script = Script(tokens=4, thinking=2, tools=tools)
    data = b"".join(piece.data for piece in RESPONSES.frames(script, BODY, ""))
    events = fed(ResponsesDecoder(call(MODEL)), data, size)
    answer = folded(events)
    assert [(block.kind, block.id, block.text, block.json, block.complete) for block in answer.blocks] == [
        ("thinking", None, "t0 t1 ", "", True),
        ("text", None, "w0 w1 w2 w3", "", True),
        ("tool_use", "call_2", "", '{"x": "\\u00e9"}', True),
        ("tool_use", "call_3", "", '{"y": [1, 2]}', True),
    ]
    assert answer.blocks[0].signature == json.loads(f'"{SIGNATURE}"')
    assert events[0] == StepEvent("start", 1, "resp_local", "m")
    assert finish_of(events) == Finish("tool_use", None, Usage(11, 5, 3))


def test_a_server_that_numbers_nothing_is_understood_by_the_ids_of_items() -> None:
    """As llama.cpp's."""
    added = {"item": {"id": "m1", "type": "message", "content": []}}
    done = {"item": {"id": "m1", "type": "message", "content": [{"type": "output_text", "text": "ab"}]}}
    pieces = [(TEXT, {"item_id": "m1", "delta": piece}) for piece in "ab"]
    made = {"item": {"id": "f1", "type": "function_call", "call_id": "c1", "name": "t", "arguments": ""}}
    arguments = ("response.function_call_arguments.delta", {"item_id": "f1", "delta": "{}"})
    events = decoded(
        CREATED,
        ("response.output_item.added", added),
        *pieces,
        ("response.output_item.done", done),
        ("response.output_item.added", made),
        arguments,
        ("response.output_item.done", made),
        COMPLETED,
    )
    blocks = folded(events).blocks
    assert [(block.kind, block.text, block.json) for block in blocks] == [("text", "ab", ""), ("tool_use", "", "{}")]


def test_what_was_not_told_in_pieces_is_told_at_the_items_end() -> None:
    """Text, a call's arguments, a thought's summary: once."""
    message = {"content": [{"type": "output_text", "text": "whole"}, {"type": "refusal", "refusal": "no"}]}
    thought = {"summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]}
    events = decoded(
        CREATED,
        *item("reasoning", 0, {**thought, "encrypted_content": "gAAA"}),
        *item("message", 1, message),
        *item("function_call", 2, {"arguments": '{"a":1}'}, call_id="c", name="t", arguments=""),
        COMPLETED,
    )
    blocks = folded(events).blocks
    assert [(block.text or block.json, block.signature) for block in blocks] == [
        ("a\n\nb", "gAAA"),
        ("whole", ""),
        ("no", ""),
        ('{"a":1}', ""),
    ]
    assert finish_of(events).stop_reason == "refusal"


def test_the_parts_of_a_summary_are_told_apart() -> None:
    """As paragraphs of one thought."""
    where = {"item_id": "i0", "output_index": 0}
    added, done = item("reasoning", 0, {"summary": []}, summary=[])
    pieces = []
    for number, text in enumerate(("first", "second")):
        pieces += [
            ("response.reasoning_summary_part.added", {**where, "summary_index": number}),
            ("response.reasoning_summary_text.delta", {**where, "summary_index": number, "delta": text}),
        ]
    (block,) = folded(decoded(CREATED, added, *pieces, done, COMPLETED)).blocks
    assert (block.kind, block.text) == ("thinking", "first\n\nsecond")


def test_items_of_the_apis_own_tools_are_opaque_blocks() -> None:
    """Whole, byte for byte, so that they can be sent back; what happens meanwhile passes through."""
    search = {"status": "completed", "action": {"query": "é"}}
    events = decoded(
        CREATED,
        ("response.web_search_call.searching", {"output_index": 0, "item_id": "i0"}),
        *item("web_search_call", 0, search),
        ("response.brand_new", {"x": 1}),
        COMPLETED,
    )
    (start,) = [event for event in events if isinstance(event, BlockStartEvent)]
    assert (start.kind, start.name) == ("data", "web_search_call")
    assert isinstance(start.data, Raw)
    assert json.loads(bytes(start.data)) == {
        "type": "web_search_call",
        "id": "i0",
        **search,
    }
    names = [event.name for event in events if isinstance(event, DataEvent)]
    assert names == ["response.web_search_call.searching", "response.brand_new"]


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"reason": "max_output_tokens"}, "max_tokens"),
        ({"reason": "content_filter"}, "refusal"),
        ({"reason": "brand_new"}, "brand_new"),
        (None, "max_tokens"),
    ],
)
def test_an_answer_that_is_not_complete_says_why(details: dict[str, str] | None, reason: str) -> None:
    """Under the canonical name, where there is one."""
    piece = (TEXT, {"output_index": 0, "content_index": 0, "delta": "x"})
    events = decoded(CREATED, piece, ("response.incomplete", {"response": {"incomplete_details": details}}))
    assert finish_of(events).stop_reason == reason
    assert all(block.complete for block in folded(events).blocks)


@pytest.mark.parametrize(
    ("event", "kind", "retryable"),
    [
        (("response.failed", {"response": {"error": {"code": "server_error", "message": "x"}}}), "server_error", True),
        (("response.failed", {"response": {"error": {"code": "rate_limit_exceeded"}}}), "rate_limited", True),
        (("response.failed", {"response": {"error": {"code": "invalid_prompt"}}}), "invalid_request", False),
        (("response.failed", {"response": {}}), "server_error", True),
        (("error", {"code": "server_is_overloaded", "message": "x"}), "overloaded", True),
        (("error", {"code": "insufficient_quota", "message": "x"}), "billing", False),
        (("error", {"error": {"type": "invalid_request_error", "message": "x"}}), "invalid_request", False),
    ],
)
def test_an_error_in_the_stream_comes_after_what_was_told(
    event: tuple[str, dict[str, Any]], kind: str, *, retryable: bool
) -> None:
    """Of every shape that servers give it."""
    decoder = ResponsesDecoder(call(MODEL))
    with pytest.raises(ProviderError) as caught:
        decoder.feed(wire(CREATED, (TEXT, {"output_index": 0, "delta": "x"}), event))
    assert (caught.value.kind, caught.value.retryable) == (kind, retryable)
    assert folded(decoder.rest()).text == "x"


@pytest.mark.parametrize(
    "bad",
    [
        b"event: response.created\ndata: {\n\n",
        b"event: response.output_text.delta\ndata: []\n\n",
        b'event: response.function_call_arguments.delta\ndata: {"output_index":3,"delta":"{"}\n\n',
        b'event: response.output_item.added\ndata: {"item":5}\n\n',
        b"data: hello\n\n",
    ],
)
def test_what_is_not_the_protocol_is_a_retryable_failure(bad: bytes) -> None:
    """Never a crash, never silence."""
    with pytest.raises(ProviderError) as caught:
        ResponsesDecoder(call(MODEL)).feed(bad)
    assert (caught.value.kind, caught.value.retryable) == ("malformed", True)


def test_events_without_a_name_are_read_by_their_type() -> None:
    """Some proxies drop the name."""
    data = b"".join(piece.data for piece in RESPONSES.frames(Script(tokens=2), BODY, ""))
    bare = b"".join(line for line in data.splitlines(keepends=True) if not line.startswith(b"event"))
    assert folded(fed(ResponsesDecoder(call(MODEL)), bare)).text == "w0 w1"


def test_being_queued_is_not_the_beginning_of_the_answer() -> None:
    """That is what the first-token timeout goes by; nor is a message without text."""
    decoder = ResponsesDecoder(call(MODEL))
    decoder.feed(wire(CREATED, ("response.queued", {}), item("message", 0, {}, content=[])[0]))
    assert not decoder.begun
    decoder.feed(wire((TEXT, {"output_index": 0, "content_index": 0, "delta": "x"})))
    assert decoder.begun


def test_the_first_text_continues_the_open_block() -> None:
    """A thought may come before it."""
    goes_on = call(MODEL, open_text_block=0, first_block=1)
    piece = (TEXT, {"output_index": 1, "content_index": 0, "delta": " two"})
    events = decoded(CREATED, *item("reasoning", 0, {"summary": []}), piece, COMPLETED, of=goes_on)
    blocks = folded(events, opened("one")).blocks
    assert [(block.text, block.complete) for block in blocks] == [("one two", True), ("", True)]
