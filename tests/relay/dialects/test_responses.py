"""The OpenAI Responses dialect: what each event comes to, and that any log is told as one well-formed response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from openai.types.responses import Response

from relay.dialects.dialect import WireEvent
from relay.dialects.place import Had
from relay.dialects.responses import RESPONSES, responses_dialect
from relay.dialects.responses_object import Asked, response_object, stream_of, thought
from shared.answer import Answer
from shared.entry import Entry
from shared.errors import DiscardedError, GoneError, NotFoundError
from shared.events import (
    AttemptEvent,
    BlockKind,
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
from shared.record import Record
from tests.relay.dialects.random_logs import STREAM, logs
from tests.relay.dialects.responses_grammar import ResponsesGrammar
from tests.relay.dialects.support import past_of, resumed, told

START = StartEvent(STREAM, "anthropic", "model-1", 1_790_000_000_123, 4096, metadata={"k": "v"})
ATTEMPT = AttemptEvent(1, "first", "start", "anthropic", "model-1", "0-1")
DONE = EndEvent("completed", "end_turn", None, Usage(9, 12, 3, 4))
TEXT: list[Event] = [BlockStartEvent(0, "text"), DeltaEvent(0, text="Hi "), DeltaEvent(0, text="é\u2028")]


def wire(*events: Event, asked: Asked | None = None) -> list[WireEvent]:
    """Return what the events come to, of one stream."""
    projection = (responses_dialect(asked) if asked else RESPONSES).project(STREAM)
    return [one for event in events for one in projection.feed(event, 1_790_000_009_000)]


def bodies(*events: Event) -> list[dict[str, Any]]:
    """Return what the events come to after the head, decoded."""
    return [json.loads(one.data) for one in wire(START, ATTEMPT, *events)[2:]]


def names(events: Sequence[WireEvent]) -> list[str]:
    """Return the events' names without what all begin with."""
    return [event.name.removeprefix("response.") for event in events]


def ended(*events: Event) -> dict[str, Any]:
    """Return the response at the end of a well-formed stream."""
    response = ResponsesGrammar().feed_all(wire(START, ATTEMPT, *events)).response
    assert response is not None
    return response


def block(kind: BlockKind, name: str | None = None, raw: bytes | None = None) -> BlockStartEvent:
    """Return the start of block 0."""
    return BlockStartEvent(
        0, kind, "call_1" if kind == "tool_use" else None, name, msgspec.Raw(raw) if raw else msgspec.UNSET
    )


def test_a_plain_answer_is_told_as_the_api_tells_it() -> None:
    """Event by event; ids come from the stream's own."""
    item = {"item_id": f"msg_{STREAM}_0", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "Hi é\u2028", "annotations": [], "logprobs": []}
    message = {"id": f"msg_{STREAM}_0", "type": "message", "role": "assistant"}
    *rest, last = bodies(*TEXT, BlockStopEvent(0), DONE)
    assert rest == [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": message | {"status": "in_progress", "content": []},
            "sequence_number": 2,
        },
        {"type": "response.content_part.added", **item, "part": part | {"text": ""}, "sequence_number": 3},
        {"type": "response.output_text.delta", **item, "delta": "Hi ", "logprobs": [], "sequence_number": 4},
        {"type": "response.output_text.delta", **item, "delta": "é\u2028", "logprobs": [], "sequence_number": 5},
        {"type": "response.output_text.done", **item, "text": "Hi é\u2028", "logprobs": [], "sequence_number": 6},
        {"type": "response.content_part.done", **item, "part": part, "sequence_number": 7},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": message | {"status": "completed", "content": [part]},
            "sequence_number": 8,
        },
    ]
    assert last["type"] == "response.completed"
    assert last["sequence_number"] == 9
    assert last["response"]["output"] == [message | {"status": "completed", "content": [part]}]


def test_the_response_says_what_is_known_of_the_answer() -> None:
    """What a cache gave or took counts as input here; times are in seconds."""
    response = ended(*TEXT, BlockStopEvent(0), DONE)
    assert response["id"] == f"resp_{STREAM}"
    assert (response["created_at"], response["completed_at"]) == (1_790_000_000, 1_790_000_009)
    assert (response["model"], response["metadata"]) == ("model-1", {"k": "v"})
    assert (response["error"], response["incomplete_details"]) == (None, None)
    assert response["usage"] == {
        "input_tokens": 16,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 4},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 28,
    }


def test_the_response_repeats_what_was_asked() -> None:
    """In every event that carries it, under the same numbers as where nothing is known."""
    asked = Asked(
        {"instructions": "Be brief.", "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}]}
    )
    events = [START, ATTEMPT, *TEXT, BlockStopEvent(0), DONE]
    told_of = [json.loads(one.data) for one in wire(*events, asked=asked)]
    assert [one["response"]["instructions"] for one in told_of if "response" in one] == ["Be brief."] * 3
    assert [one["sequence_number"] for one in told_of] == list(range(len(told_of)))
    assert len(wire(*events)) == len(told_of)
    ResponsesGrammar().feed_all(wire(*events, asked=asked))


def test_thinking_is_a_reasoning_item_with_a_summary() -> None:
    """Which is what clients show; the signature comes byte for byte, and back as it was."""
    thinking: list[Event] = [block("thinking"), DeltaEvent(0, text="Hm"), DeltaEvent(0, signature="c2ln/+=")]
    events = wire(START, ATTEMPT, *thinking, BlockStopEvent(0), DONE)
    assert names(events)[2:-1] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    (item,) = ended(*thinking, BlockStopEvent(0), DONE)["output"]
    assert item["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert thought("Hm", item["encrypted_content"]) == {"type": "thinking", "thinking": "Hm", "signature": "c2ln/+="}


def test_redacted_thinking_is_a_reasoning_item_without_words() -> None:
    """It can be sent back, and nothing else can be done with it."""
    raw = b'{"type": "redacted_thinking", "data":"U2VjcmV0"}'
    (item,) = ended(block("data", "redacted_thinking", raw), BlockStopEvent(0), DONE)["output"]
    assert (item["type"], item["summary"]) == ("reasoning", [])
    assert thought("", item["encrypted_content"]) == json.loads(raw)


def test_a_tool_call_is_told_in_pieces() -> None:
    """With the id that the tool's output must name."""
    pieces = [DeltaEvent(0, json='{"q":'), DeltaEvent(0, json="1}")]
    (item,) = ended(block("tool_use", "look_up"), *pieces, BlockStopEvent(0), DONE)["output"]
    assert item == {
        "id": f"fc_{STREAM}_0",
        "type": "function_call",
        "status": "completed",
        "call_id": "call_1",
        "name": "look_up",
        "arguments": '{"q":1}',
    }


def test_a_tool_call_without_arguments_has_an_empty_object() -> None:
    """Clients parse it, and add up the deltas."""
    events = bodies(block("tool_use", "now"), BlockStopEvent(0), DONE)
    assert [one["delta"] for one in events if one["type"].endswith("arguments.delta")] == ["{}"]
    assert ended(block("tool_use", "now"), BlockStopEvent(0), DONE)["output"][0]["arguments"] == "{}"


def test_a_tool_call_without_an_id_gets_one() -> None:
    """The same at every reading."""
    (item,) = ended(BlockStartEvent(0, "tool_use", None, "now"), BlockStopEvent(0), DONE)["output"]
    assert item["call_id"] == f"call_{STREAM}_0"


def test_what_has_no_form_here_is_left_out() -> None:
    """The provider's own tools, citations, and events of unknown kinds; indices stay contiguous."""
    raw = msgspec.Raw(b'{"type":"web_search_tool_result","content":[]}')
    hidden: list[Event] = [
        BlockStartEvent(0, "data", None, "server_tool_use", raw),
        BlockStopEvent(0),
        BlockStartEvent(1, "tool_result", "srv_1", "web_search_tool_result", raw),
        BlockStopEvent(1),
        DataEvent("odd", raw),
    ]
    assert bodies(*hidden) == []
    shown: list[Event] = [
        BlockStartEvent(2, "text"),
        DeltaEvent(2, data=raw),
        DeltaEvent(2, text="x"),
        BlockStopEvent(2),
    ]
    (item,) = ended(*hidden, *shown, DONE)["output"]
    assert item["id"] == f"msg_{STREAM}_2"


def test_several_attempts_and_steps_are_one_response() -> None:
    """A text that was cut and gone on with, then another call: one start, one end."""
    events = wire(
        START,
        ATTEMPT,
        *TEXT,
        AttemptEvent(2, "provider_error", "user_turn", "anthropic", "model-1", "1-9"),
        StepEvent("start", 2, "msg_second"),
        UsageEvent(2, Usage(20)),
        DeltaEvent(0, text="two"),
        BlockStopEvent(0),
        DONE,
    )
    response = ResponsesGrammar().feed_all(events).response
    assert response is not None
    assert response["output"][0]["content"][0]["text"] == "Hi é\u2028two"
    assert names(events).count("in_progress") == 1


@pytest.mark.parametrize(
    ("end", "name", "status", "reason"),
    [
        (EndEvent("completed", "tool_use"), "completed", "completed", None),
        (EndEvent("completed", "pause_turn"), "completed", "completed", None),
        (EndEvent("completed", "refusal"), "incomplete", "incomplete", "content_filter"),
        (EndEvent("completed", "max_tokens"), "incomplete", "incomplete", "max_output_tokens"),
        (EndEvent("incomplete", "max_tokens"), "incomplete", "incomplete", "max_output_tokens"),
        (EndEvent("incomplete", "stream_too_long"), "incomplete", "incomplete", "max_output_tokens"),
        (EndEvent("cancelled", "abandoned"), "incomplete", "cancelled", None),
    ],
)
def test_every_end_is_told(end: EndEvent, name: str, status: str, reason: str | None) -> None:
    """There is no event for a cancelled response: its status says it."""
    events = wire(START, ATTEMPT, *TEXT, end)
    assert names(events)[-1] == name
    response = ResponsesGrammar().feed_all(events).response
    assert response is not None
    assert response["status"] == status
    assert (response["incomplete_details"] or {}).get("reason") == reason


def test_what_is_open_at_the_end_is_closed_as_incomplete() -> None:
    """A reader never waits for a part's end that does not come."""
    response = ended(*TEXT, BlockStartEvent(1, "tool_use", "c", "f"), DeltaEvent(1, json='{"a'), EndEvent("cancelled"))
    assert [item["status"] for item in response["output"]] == ["incomplete", "incomplete"]
    assert response["output"][1]["arguments"] == '{"a'


@pytest.mark.parametrize(
    ("code", "shown"),
    [("provider_error", "server_error"), ("interrupted", "server_error"), ("rate_limited", "rate_limit_exceeded")],
)
def test_a_failure_is_told_with_its_reason(code: str, shown: str) -> None:
    """Under the names that the API has; the event has no ``error`` of its own, which the SDKs would raise."""
    response = ended(ErrorEvent(code, "No luck.", retryable=True), EndEvent("failed", "overloaded"))
    assert response["status"] == "failed"
    assert response["error"] == {"code": shown, "message": "No luck."}


def test_a_response_cancelled_in_the_queue_has_an_end() -> None:
    """Nobody had begun it."""
    events = wire(START, EndEvent("cancelled", "cancelled"))
    assert names(events) == ["created", "incomplete"]
    assert json.loads(events[-1].data)["response"]["status"] == "cancelled"


def test_what_is_discarded_cannot_be_said() -> None:
    """Its numbers, and that of the failure some are told, are not used again; its items are."""
    projection = RESPONSES.project(STREAM)
    for event in (START, ATTEMPT, *TEXT):
        projection.feed(event, 1)
    assert projection.discard(0) is None
    (error,) = projection.fail(DiscardedError("Read anew."))
    assert json.loads(error.data) == {
        "type": "error",
        "code": "discarded",
        "message": "Read anew.",
        "param": None,
        "sequence_number": 6,
    }
    first = json.loads(projection.feed(BlockStartEvent(0, "text"), 1)[0].data)
    assert (first["sequence_number"], first["output_index"]) == (7, 0)


def test_an_error_of_the_reading_has_the_number_of_what_was_told_last() -> None:
    """A client that comes back after it must not skip what follows in the log."""
    projection = RESPONSES.project(STREAM)
    projection.feed(START, 1)
    (error,) = projection.fail(GoneError("Expired."))
    assert error.name == "error"
    assert json.loads(error.data)["sequence_number"] == 0


@given(entries=logs())
def test_every_log_is_told_as_one_response(entries: list[Entry]) -> None:
    """As its reader gets it who was there from the start: each item opened and closed, one end.

    The numbers are contiguous, but for one at each reset: some readers are told a failure there.
    """
    frames = told(RESPONSES, entries)
    grammar = ResponsesGrammar().feed_all(frame.event for frame in frames)
    resets = sum(isinstance(event, ResetEvent) for entry in entries for event in entry.events())
    last = len(grammar.numbers) - 1
    assert grammar.numbers == sorted(set(grammar.numbers))
    assert last <= grammar.numbers[-1] <= last + resets
    if grammar.error is not None:
        assert grammar.error["code"] == "discarded"
        return
    answer = folded(entries)
    assert (grammar.response is not None) == (answer.end is not None)
    if grammar.response is not None:
        assert grammar.response == json.loads(msgspec.json.encode(response_object(STREAM, answer)))


@given(entries=logs())
def test_a_reader_who_comes_later_gets_one_response_too(entries: list[Entry]) -> None:
    """Without what was discarded; numbers grow all the same."""
    grammar = ResponsesGrammar().feed_all(frame.event for frame in resumed(RESPONSES, entries, Had()))
    assert grammar.error is None
    assert grammar.numbers == sorted(set(grammar.numbers))


@given(entries=logs())
def test_a_sequence_number_is_a_place_to_come_back_to(entries: list[Entry]) -> None:
    """``starting_after`` any of them brings what followed it, whatever was discarded before it.

    But where several blocks were open at once: a number then does not tell those who have something of a discarded one
    from those who were spared it, and all read anew.
    """
    full = [frame.event for frame in resumed(RESPONSES, entries, Had())]
    for cut, event in enumerate(full, 1):
        number = json.loads(event.data)["sequence_number"]
        rest = resumed(RESPONSES, entries, Had(total=number + 1))
        anew = len(rest) == 1 and rest[0].place is None and bool(past_of(RESPONSES, entries).resets)
        assert anew or [frame.event for frame in rest] == full[cut:]


@given(entries=logs())
def test_the_whole_response_is_one_for_the_sdk(entries: list[Entry]) -> None:
    """At any moment: its types take it, and the text is the answer's."""
    answer = folded(entries)
    assert RESPONSES.whole is not None
    body = RESPONSES.whole(STREAM, Record("local", "sim", "sim", 1, 1, {}, b""), answer)
    response = Response.model_validate_json(msgspec.json.encode(body))
    assert response.output_text == answer.text


def folded(entries: Sequence[Entry]) -> Answer:
    """Return what a log adds up to."""
    answer = Answer()
    for entry in entries:
        answer.apply_entry(entry)
    return answer


def test_only_a_responses_id_names_a_stream() -> None:
    """A stream's own id does not, nor does anything else."""
    assert stream_of(f"resp_{STREAM}") == STREAM
    for text in (STREAM, "resp_", "resp_é", f"msg_{STREAM}", f"resp_{STREAM}x", "x" * 1000):
        with pytest.raises(NotFoundError):
            stream_of(text)
