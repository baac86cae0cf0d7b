"""Chat Completions frames become canonical events, also those of servers that bend the wire."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ProviderError
from shared.events import BlockStartEvent, BlockStopEvent, DataEvent, Event, StepEvent, Usage, UsageEvent
from shared.models import Model
from tests.chat_wire import CHAT
from tests.messages_script import Script
from tests.worker.support_decoders import call, fed, finish_of, folded, opened, sse
from worker.llm import Call, Finish
from worker.providers.chat_decoder import ChatDecoder

MODEL = Model(provider="openai", base_url="http://own/v1", continuation="prefill")
BODY: dict[str, Any] = {"model": "m", "messages": [], "max_tokens": 1000, "stream_options": {"include_usage": True}}


def delta(finish: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a chunk that adds to the answer."""
    return {"id": "c1", "model": "m", "choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def decoded(*frames: dict[str, Any] | str, of: Call | None = None) -> list[Event | Finish]:
    """Decode frames."""
    return fed(ChatDecoder(of or call(MODEL)), sse(*frames))


@given(st.integers(1, 200))
def test_an_answer_is_the_same_however_it_is_cut(size: int) -> None:
    """Thoughts, text, mixed tool calls, usage: all blocks, in order."""
    tools = [{"name": "a", "input": {"x": "é"}}, {"name": "b", "input": {"y": [1, 2]}}]
    data = b"".join(piece.data for piece in CHAT.frames(Script(tokens=4, thinking=2, tools=tools), BODY, ""))
    events = fed(ChatDecoder(call(MODEL)), data, size)
    blocks = folded(events).blocks
    assert [(block.kind, block.id, block.text, block.json, block.complete) for block in blocks] == [
        ("thinking", None, "t0 t1 ", "", True),
        ("text", None, "w0 w1 w2 w3", "", True),
        ("tool_use", "call_0", "", '{"x": "\\u00e9"}', True),
        ("tool_use", "call_1", "", '{"y": [1, 2]}', True),
    ]
    assert finish_of(events) == Finish("tool_use", None, Usage(11, 5, 3))


def test_a_thought_ends_where_the_text_begins() -> None:
    """And a text where a thought does, which may come again."""
    events = decoded(delta(reasoning="a", content="b"), delta(reasoning_content="c"), delta(content="d", finish="stop"))
    assert [(block.kind, block.text) for block in folded(events).blocks] == [
        ("thinking", "a"),
        ("text", "b"),
        ("thinking", "c"),
        ("text", "d"),
    ]


def test_calls_that_share_a_number_are_told_apart_by_their_ids() -> None:
    """Some servers number every call 0, or none."""
    calls = [{"index": 0, "id": name, "function": {"name": name, "arguments": "{}"}} for name in ("one", "two")]
    bare = [{"id": "three", "function": {"name": "three", "arguments": '{"a":'}}, {"function": {"arguments": "1}"}}]
    events = decoded(*(delta(tool_calls=[one]) for one in calls), *(delta(tool_calls=[one]) for one in bare), "[DONE]")
    assert [(block.id, block.json) for block in folded(events).blocks] == [
        ("one", "{}"),
        ("two", "{}"),
        ("three", '{"a":1}'),
    ]


def test_a_call_without_an_id_gets_one_of_its_own() -> None:
    """Its result must name it."""
    pieces = [{"index": at, "function": {"name": "t", "arguments": "{}"}} for at in (0, 1)]
    events = decoded(delta(tool_calls=pieces), "[DONE]", of=call(MODEL, first_block=3))
    assert [event.id for event in events if isinstance(event, BlockStartEvent)] == ["call_s1_3", "call_s1_4"]


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([delta(content="x", finish="stop")], "end_turn"),
        ([delta(content="x", finish="length")], "max_tokens"),
        ([delta(content="x", finish="content_filter")], "refusal"),
        ([delta(refusal="I will not."), delta(finish="stop")], "refusal"),
        ([delta(tool_calls=[{"id": "a", "function": {"name": "t"}}]), delta(finish="stop")], "tool_use"),
        ([delta(content="x", finish="brand_new")], "brand_new"),
    ],
)
def test_the_reason_for_the_end_has_its_canonical_name(frames: list[dict[str, Any]], reason: str) -> None:
    """An unknown one passes as it is."""
    events = decoded(*frames, "[DONE]")
    assert finish_of(events).stop_reason == reason
    assert events[-2] == StepEvent("stop", 1, stop_reason=reason)


def test_a_stop_sequence_is_told_where_the_server_tells_it() -> None:
    """VLLM does; a number there is a token's."""
    for told, expected in (("END", ("stop_sequence", "END")), (7, ("end_turn", None)), (None, ("end_turn", None))):
        chunk = delta(finish="stop", content="x")
        chunk["choices"][0]["stop_reason"] = told
        finish = finish_of(decoded(chunk, "[DONE]"))
        assert (finish.stop_reason, finish.stop_sequence) == expected


def test_a_server_that_leaves_the_last_frame_out_has_still_ended() -> None:
    """A reason for the end is an end, when the body properly ends after it."""
    decoder = ChatDecoder(call(MODEL))
    decoder.feed(sse(delta(content="x", finish="stop")))
    assert not decoder.finished
    assert finish_of(decoder.at_end()).stop_reason == "end_turn"
    assert decoder.finished


def test_a_body_that_ends_without_a_reason_was_cut() -> None:
    """Nothing is finished."""
    decoder = ChatDecoder(call(MODEL))
    decoder.feed(sse(delta(content="x")))
    assert decoder.at_end() == []
    assert not decoder.finished


def test_the_role_alone_is_not_the_beginning_of_the_answer() -> None:
    """That is what the first-token timeout goes by."""
    decoder = ChatDecoder(call(MODEL))
    decoder.feed(b": ping\n\n" + sse(delta(role="assistant", content="")))
    assert not decoder.begun
    decoder.feed(sse(delta(reasoning="hm")))
    assert decoder.begun


def test_usage_is_told_once_and_without_what_a_cache_gave() -> None:
    """Some servers repeat it in every chunk."""
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    events = decoded({**delta(content="x"), "usage": usage}, {**delta(finish="stop"), "usage": usage}, "[DONE]")
    assert [event for event in events if isinstance(event, UsageEvent)] == [UsageEvent(1, Usage(6, 2, 4))]


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        ({"message": "x", "type": "server_error"}, "server_error", True),
        ({"message": "x", "type": "invalid_request_error"}, "invalid_request", False),
        ({"message": "x", "code": "rate_limit_exceeded"}, "rate_limited", True),
        ({"message": "x", "code": "insufficient_quota", "type": "insufficient_quota"}, "billing", False),
        ({"message": "x", "code": 400, "type": "BadRequestError"}, "invalid_request", False),
        ({"message": "x", "code": 503}, "server_error", True),
        ("overloaded", "server_error", True),
    ],
)
def test_an_error_in_the_stream_comes_after_what_was_told(error: object, kind: str, *, retryable: bool) -> None:
    """Of every shape that servers give it."""
    decoder = ChatDecoder(call(MODEL))
    with pytest.raises(ProviderError) as caught:
        decoder.feed(sse(delta(content="x"), {"error": error}))
    assert (caught.value.kind, caught.value.retryable) == (kind, retryable)
    assert folded(decoder.rest()).text == "x"


@pytest.mark.parametrize(
    "bad", ["{", "[]", '{"choices": 5}', '{"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}}]}', "\\ud"]
)
def test_what_is_not_the_protocol_is_a_retryable_failure(bad: str) -> None:
    """Never a crash, never silence."""
    with pytest.raises(ProviderError) as caught:
        decoded(bad)
    assert (caught.value.kind, caught.value.retryable) == ("malformed", True)


def test_an_end_of_nothing_is_a_cut() -> None:
    """A server that only says it is done has not answered."""
    with pytest.raises(ProviderError) as caught:
        decoded("[DONE]")
    assert caught.value.kind == "cut"


def test_other_choices_and_frames_after_the_end_are_not_told() -> None:
    """There is one answer."""
    events = decoded(delta(content="x"), delta(index=1, content="y"), delta(finish="stop"), "[DONE]", "junk")
    assert folded(events).text == "x"


def test_what_has_no_canonical_form_passes_through() -> None:
    """Annotations, and other servers' reasoning details; empty ones say nothing."""
    events = decoded(delta(content="x", annotations=[{"type": "url_citation"}]), delta(annotations=[]), "[DONE]")
    told = [event for event in events if isinstance(event, DataEvent)]
    assert [(event.name, bytes(event.data)) for event in told] == [("annotations", b'[{"type": "url_citation"}]')]


def test_the_first_text_continues_the_open_block() -> None:
    """Without the white space that the stream has already, and without an echo."""
    echoing = MODEL.model_copy(update={"echoes_prefill": True})
    goes_on = call(echoing, open_text_block=0, first_block=1, prefill="one two", overlap=" ")
    events = decoded(delta(content="one t"), delta(content="wo"), delta(content=" three", finish="stop"), of=goes_on)
    (block,) = folded(events, opened("one two ")).blocks
    assert (block.text, block.complete) == ("one two three", True)


def test_an_open_block_with_nothing_to_add_is_closed_before_a_call() -> None:
    """Readers are not left with an open block."""
    piece = {"id": "a", "function": {"name": "t", "arguments": "{}"}}
    goes_on = call(MODEL, open_text_block=4, first_block=5)
    events = decoded(delta(tool_calls=[piece], finish="tool_calls"), of=goes_on)
    marks = [event for event in events if isinstance(event, (BlockStartEvent, BlockStopEvent))]
    assert [mark.block for mark in marks] == [4, 5, 5]
    assert isinstance(marks[0], BlockStopEvent)
