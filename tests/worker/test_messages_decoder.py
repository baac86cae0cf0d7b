"""Anthropic's frames become canonical events, whatever the network does to them and whatever they are."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.answer import Answer
from shared.errors import ProviderError
from shared.events import (
    BlockStartEvent,
    BlockStopEvent,
    DataEvent,
    DeltaEvent,
    Event,
    StepEvent,
    Usage,
    UsageEvent,
    decode_event,
    encode_event,
)
from shared.models import Model
from tests.messages_script import SIGNATURE, Script, frame, frames, whole_text
from worker.llm import Call, Finish
from worker.providers.messages_decoder import MessagesDecoder

MODEL = Model(provider="anthropic", continuation="prefill")
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1000}


def call(**changes: Any) -> Call:
    """Return a call; most of it usual."""
    return replace(Call(MODEL, "m", BODY["messages"], 1000), **changes)


def wire(script: Script, said: str = "") -> bytes:
    """Return the bytes of a scripted answer."""
    return b"".join(piece.data for piece in frames(script, BODY, said))


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the frames of one block."""
    start = ("content_block_start", {"index": index, "content_block": content})
    middle = [("content_block_delta", {"index": index, "delta": delta}) for delta in deltas]
    return [start, *middle, ("content_block_stop", {"index": index})]


def message(*parts: list[tuple[str, dict[str, Any]]]) -> bytes:
    """Return a whole message that has these frames between its head and its end."""
    head = ("message_start", {"message": {"id": "m1", "model": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}})
    end = [
        ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
        ("message_stop", {}),
    ]
    return b"".join(frame(*piece).data for piece in [head, *(piece for part in parts for piece in part), *end])


def decoded(data: bytes, of: Call | None = None, size: int | None = None) -> list[Event | Finish]:
    """Decode ``data`` in pieces of ``size`` bytes."""
    decoder, step = MessagesDecoder(of or call()), size or len(data)
    out = [event for at in range(0, len(data), step) for event in decoder.feed(data[at : at + step])]
    assert decoder.finished
    return out


def answer(events: list[Event | Finish], before: Answer | None = None) -> Answer:
    """Return what the events add up to, each through its JSON as in the log."""
    whole = before or Answer()
    for event in events:
        if not isinstance(event, Finish):
            whole.apply(decode_event(encode_event(event)))
    return whole


def test_a_text_answer_has_every_event_in_order() -> None:
    """The whole of a small answer, event by event."""
    usage = Usage(11, 1, 3, 2)
    assert decoded(wire(Script(tokens=2))) == [
        StepEvent("start", 1, "msg_local", "m"),
        UsageEvent(1, usage),
        BlockStartEvent(0, "text"),
        DeltaEvent(0, text="w0"),
        DeltaEvent(0, text=" w1"),
        BlockStopEvent(0),
        UsageEvent(1, replace_output(usage, 3)),
        StepEvent("stop", 1, stop_reason="end_turn"),
        Finish("end_turn", None, replace_output(usage, 3)),
    ]


def replace_output(usage: Usage, output_tokens: int) -> Usage:
    """Return the usage with other output tokens: a null or absent count has not changed."""
    return msgspec.structs.replace(usage, output_tokens=output_tokens)


def test_the_directories_of_a_local_model_are_not_told() -> None:
    """Some servers name a model by its file; a name with an owner in it is a name."""
    for named, told in (("/srv/models/a.gguf", "a.gguf"), ("owner/model", "owner/model")):
        head = frame("message_start", {"message": {"model": named}}).data
        assert MessagesDecoder(call()).feed(head) == [StepEvent("start", 1, None, told)]


@given(st.integers(1, 40), st.sampled_from(["\n", "\r\n", "\r"]), st.integers(0, 3))
def test_however_the_bytes_are_cut_the_events_are_the_same(size: int, newline: str, pings: int) -> None:
    """A chunk may end anywhere, also inside a character; pings vanish."""
    script = Script(text="né 🙂 ok", thinking=2, tools=[{"name": "t", "input": {"é": 1}}], newline=newline)
    noisy = replace(script, ping_every=pings)
    assert decoded(wire(noisy), size=size) == decoded(wire(script))


def test_all_that_one_chunk_brings_comes_as_one_list() -> None:
    """So that it can be appended as one entry."""
    decoder = MessagesDecoder(call())
    data = wire(Script(tokens=5))
    assert len(decoder.feed(data)) == 12
    assert decoder.feed(b"") == []


def test_thinking_keeps_its_signature_byte_for_byte() -> None:
    """The API refuses a thinking block whose signature has changed in a single character."""
    thinking, text = answer(decoded(wire(Script(tokens=1, thinking=3)))).blocks
    assert (thinking.kind, thinking.text, thinking.complete) == ("thinking", "t0 t1 t2 ", True)
    assert thinking.signature == json.loads(f'"{SIGNATURE}"')
    assert (text.block, text.text) == (1, "w0")


def test_a_tool_calls_arguments_come_in_pieces_that_join_to_its_json() -> None:
    """Empty pieces are not told."""
    events = decoded(
        wire(Script(tokens=1, tools=[{"name": "look", "input": {"q": "né\n"}}, {"name": "b", "input": {}}]))
    )
    _, look, other = answer(events).blocks
    assert (look.kind, look.name, look.id, json.loads(look.json)) == ("tool_use", "look", "toolu_1", {"q": "né\n"})
    assert (other.json, other.complete) == ("{}", True)
    assert events[-1] == Finish("tool_use", None, Usage(11, 2, 3, 2))
    assert all(event.json != "" for event in events if isinstance(event, DeltaEvent))


def test_arguments_given_whole_at_the_start_are_told_once() -> None:
    """Some servers do not stream them; if pieces come after all, the pieces are what counts."""
    tool = {"type": "tool_use", "id": "a", "name": "t", "input": {"x": [1, "\n"]}}
    pieces = {"type": "input_json_delta", "partial_json": '{"y":2}'}
    first, second = answer(decoded(message(block(0, tool), block(1, tool, pieces)))).blocks
    assert (json.loads(first.json), json.loads(second.json)) == ({"x": [1, "\n"]}, {"y": 2})


def test_a_tool_call_with_further_fields_keeps_them() -> None:
    """Who called the tool must go back with it, so the block is kept as it stands."""
    tool = {"type": "tool_use", "id": "a", "name": "t", "input": {}, "caller": {"type": "direct"}}
    plain = {key: value for key, value in tool.items() if key != "caller"}
    with_caller, without = answer(decoded(message(block(0, tool), block(1, plain)))).blocks
    assert with_caller.data is not None
    assert json.loads(with_caller.data) == tool
    assert without.data is None


def test_blocks_of_other_types_pass_through_byte_for_byte() -> None:
    """Server tools, redacted thinking and whatever comes next year; results are told as such."""
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    asked = {"type": "input_json_delta", "partial_json": '{"query":"x"}'}
    result = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"encrypted_content": "é+/="}]}
    redacted = {"type": "redacted_thinking", "data": "zz=="}
    new = {"type": "hologram", "depth": 1.50}
    blocks = answer(
        decoded(message(block(0, search, asked), block(1, result), block(2, redacted), block(3, new)))
    ).blocks
    assert [(b.kind, b.id, b.name) for b in blocks] == [
        ("data", None, "server_tool_use"),
        ("tool_result", "s1", "web_search_tool_result"),
        ("data", None, "redacted_thinking"),
        ("data", None, "hologram"),
    ]
    assert [b.data for b in blocks] == [compact(content) for content in (search, result, redacted, new)]
    assert blocks[0].json == '{"query":"x"}'


def compact(value: object) -> bytes:
    """Return JSON as the test server writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def test_deltas_and_events_of_other_types_pass_through() -> None:
    """Citations on a text, and an event nobody knows, before and after the text."""
    cited = {"type": "citations_delta", "citation": {"url": "u"}}
    text = block(0, {"type": "text", "text": "Hi"}, cited, {"type": "text_delta", "text": "!"})
    events = decoded(message([("fanfare", {"loud": True})], text, [("fanfare", {"loud": False})]))
    told = answer(events)
    assert told.text == "Hi!"
    assert told.blocks[0].deltas == [compact(cited)]
    fanfares = [event for event in events if isinstance(event, DataEvent)]
    assert [(event.name, json.loads(bytes(event.data))["loud"]) for event in fanfares] == [
        ("fanfare", True),
        ("fanfare", False),
    ]


def test_an_event_that_is_not_ours_to_read_cannot_break_the_log() -> None:
    """Its data may have line ends between tokens, or be no JSON at all (an error)."""
    pretty = b'event: odd\ndata: {\ndata:   "a": 1\ndata: }\n\n'
    decoder = MessagesDecoder(call())
    (_, told) = decoder.feed(pretty)
    assert isinstance(told, DataEvent)
    assert json.loads(encode_event(told))["data"] == {"a": 1}
    assert b"\n" not in encode_event(told)
    with pytest.raises(ProviderError):
        decoder.feed(b"event: odd\ndata: }\n\n")


def test_several_blocks_may_be_open_at_once() -> None:
    """Each delta goes to its own."""
    one, two = (
        block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "a"}),
        block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "b"}),
    )
    mixed = [one[0], two[0], two[1], one[1], two[2], one[2]]
    assert [b.text for b in answer(decoded(message(mixed))).blocks] == ["a", "b"]


def test_blocks_are_numbered_from_where_the_call_says() -> None:
    """The stream may have blocks already, and the step its own number."""
    events = decoded(wire(Script(tokens=1, thinking=1)), call(first_block=3, step=2))
    assert [event.block for event in events if isinstance(event, BlockStartEvent)] == [3, 4]
    assert [event.step for event in events if isinstance(event, (StepEvent, UsageEvent))] == [2, 2, 2, 2]


@pytest.mark.parametrize("reason", ["max_tokens", "stop_sequence", "pause_turn", "refusal"])
def test_the_reason_for_the_end_is_passed_on(reason: str) -> None:
    """Whatever it is; it is the worker that acts on it."""
    events = decoded(wire(Script(tokens=1, stop_reason=reason, stop_sequence="X")))
    assert events[-1] == Finish(reason, "X", Usage(11, 2, 3, 2))
    assert events[-2] == StepEvent("stop", 1, stop_reason=reason)


def test_the_details_of_a_refusal_are_not_lost() -> None:
    """They have no canonical form, so the frame passes through; null details do not."""
    details = {"type": "refusal", "category": "bio"}
    for given_details, count in ((details, 1), (None, 0)):
        frames_ = [("message_delta", {"delta": {"stop_reason": "refusal", "stop_details": given_details}})]
        told = [event for event in decoded(message(frames_)) if isinstance(event, DataEvent)]
        assert len(told) == count


def test_an_error_in_the_stream_is_raised_after_what_came_before_it() -> None:
    """The last words of a failing provider are still told."""
    decoder = MessagesDecoder(call())
    head = wire(Script(tokens=3))[:700]
    error = frame("error", {"error": {"type": "overloaded_error", "message": "Overloaded"}}).data
    with pytest.raises(ProviderError) as caught:
        decoder.feed(head[: head.rindex(b"event:")] + error)
    assert (caught.value.kind, caught.value.retryable) == ("overloaded", True)
    assert any(isinstance(event, DeltaEvent) for event in decoder.rest())


@pytest.mark.parametrize(
    "bad",
    [
        b"event: message_start\ndata: {\n\n",
        b"event: content_block_delta\ndata: {}\n\n",
        b'event: content_block_delta\ndata: {"index":7,"delta":{"type":"text_delta","text":"x"}}\n\n',
        b'event: content_block_stop\ndata: {"index":0}\n\n',
        b'event: content_block_start\ndata: {"index":0,"content_block":[]}\n\n',
        b'event: content_block_start\ndata: {"index":0,"content_block":{"type":"text","text":"\xff"}}\n\n',
        b"data: hello\n\n",
    ],
)
def test_what_is_not_the_protocol_is_a_retryable_failure(bad: bytes) -> None:
    """Never a crash, never silence."""
    with pytest.raises(ProviderError) as caught:
        MessagesDecoder(call()).feed(bad)
    assert (caught.value.kind, caught.value.retryable) == ("malformed", True)


def test_frames_without_an_event_name_are_read_by_their_type() -> None:
    """Some proxies drop the name."""
    data = b"".join(line for line in wire(Script(tokens=2)).splitlines(keepends=True) if not line.startswith(b"event"))
    assert answer(decoded(data)).text == "w0 w1"


def test_a_ping_and_the_head_of_the_message_are_not_the_beginning_of_the_answer() -> None:
    """That is what the first-token timeout goes by."""
    decoder = MessagesDecoder(call())
    pieces = list(frames(Script(tokens=1, ping_every=1), BODY, ""))
    decoder.feed(frame("ping", {}).data + pieces[0].data)
    assert not decoder.begun
    decoder.feed(pieces[1].data)
    assert decoder.begun


def test_a_stream_that_just_stops_is_not_finished() -> None:
    """Without ``message_stop`` there is no end."""
    decoder = MessagesDecoder(call())
    *most, _stop = frames(Script(tokens=1), BODY, "")
    events = decoder.feed(b"".join(piece.data for piece in most))
    assert not decoder.finished
    assert not any(isinstance(event, Finish) for event in events)


def test_the_first_text_continues_the_open_block() -> None:
    """No second start for it, but its stop; later texts are blocks of their own."""
    before = Answer()
    before.apply(BlockStartEvent(0, "text"))
    before.apply(DeltaEvent(0, text="w0 w1"))
    events = decoded(wire(Script(tokens=4), "w0 w1"), call(open_text_block=0, first_block=1))
    (whole,) = answer(events, before).blocks
    assert (whole.text, whole.complete) == ("w0 w1 w2 w3", True)


def test_thinking_may_come_before_the_text_that_continues() -> None:
    """The open block waits for it."""
    events = decoded(wire(Script(tokens=1, thinking=1)), call(open_text_block=0, first_block=1))
    assert [event.block for event in events if isinstance(event, BlockStartEvent)] == [1]
    assert [event.block for event in events if isinstance(event, BlockStopEvent)] == [1, 0]


@pytest.mark.parametrize("content", [{"type": "tool_use", "id": "a", "name": "t", "input": {}}, None])
def test_an_open_block_with_nothing_to_add_is_closed(content: dict[str, Any] | None) -> None:
    """Before anything that follows it, or at the end."""
    parts = [block(0, content)] if content else []
    events = decoded(message(*parts), call(open_text_block=4, first_block=5))
    marks = [event for event in events if isinstance(event, (BlockStartEvent, BlockStopEvent))]
    assert marks[0] == BlockStopEvent(4)
    assert [mark.block for mark in marks[1:]] == ([5, 5] if content else [])


@given(st.text("ab \n", max_size=12), st.text("ab \n", max_size=12), st.integers(1, 9), st.booleans())
def test_an_echoed_prefill_is_dropped_and_only_that(prefill: str, more: str, size: int, widened: bool) -> None:  # noqa: FBT001
    """However it is split, and also with other white space between its words."""
    prefill = "x" + prefill.rstrip()
    echo = prefill.replace(" ", "  ").replace("\n", " ") if widened else prefill
    server = call(model=MODEL.model_copy(update={"echoes_prefill": True}), prefill=prefill, open_text_block=0)
    events = decoded(wire(Script(text=echo + more)), server, size)
    assert "".join(event.text or "" for event in events if isinstance(event, DeltaEvent)) == more


@given(st.text("xy ", min_size=1, max_size=8), st.text("xy ", max_size=12))
def test_a_text_that_is_no_echo_is_told_untouched(prefill: str, text: str) -> None:
    """A server that is said to echo and does not; also one that breaks off inside what looked like an echo."""
    flat = "".join(text.split())
    server = call(model=MODEL.model_copy(update={"echoes_prefill": True}), prefill="z" + prefill, open_text_block=0)
    events = decoded(wire(Script(text=text)), server)
    assert not flat.startswith("z")
    assert "".join(event.text or "" for event in events if isinstance(event, DeltaEvent)) == text
    half = decoded(wire(Script(text="z")), replace(server, prefill="zz"))
    assert [event.text for event in half if isinstance(event, DeltaEvent)] == ["z"]


def test_without_the_models_word_for_it_nothing_is_taken_for_an_echo() -> None:
    """An answer may well begin with its own prefill."""
    events = decoded(wire(Script(text="haha")), call(prefill="ha", open_text_block=0))
    assert answer(events, opened()).text == "haha"


def opened() -> Answer:
    """Return an answer with an open, empty text."""
    before = Answer()
    before.apply(BlockStartEvent(0, "text"))
    return before


@pytest.mark.parametrize(
    ("overlap", "text", "left"),
    [
        ("\n\n", "\n\nB", "B"),
        ("\n\n", "\nB", "B"),
        (" ", "B", "B"),
        ("\n", "\n\nB", "\nB"),
        (" ", " B ", "B "),
        (" \n", " ", ""),
        ("\n", " B", " B"),
    ],
)
def test_white_space_the_stream_has_already_is_not_told_again(overlap: str, text: str, left: str) -> None:
    """The prefill had to go without it, so the model may begin with it, in one delta or several."""
    whole = message(block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": text}))
    for data in (wire(Script(text=text)), whole):
        events = decoded(data, call(overlap=overlap, open_text_block=0))
        assert answer(events, opened()).text == left


def test_the_scripts_text_is_what_arrives() -> None:
    """The test server and the decoder agree on a longer answer."""
    script = Script(tokens=500)
    assert answer(decoded(wire(script))).text == whole_text(script)
