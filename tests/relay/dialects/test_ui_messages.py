"""The AI SDK's chunks: the grammar that its clients hold a stream to, what resets come to, and what each block is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dialects.dialect import Dialect
from relay.dialects.place import Had
from relay.dialects.telling import Frame
from relay.dialects.ui_messages import AI_SDK_V6, AI_SDK_V7, MESSAGE_ID, WORKFLOW_V6, WORKFLOW_V7
from relay.dialects.ui_parts import BLOCK_PART
from relay.dialects.ui_tail import Tail
from shared.entry import Entry, encode_blob
from shared.errors import GoneError
from shared.events import (
    BlockStartEvent,
    BlockStopEvent,
    DeltaEvent,
    EndEvent,
    ErrorEvent,
    Event,
    ResetEvent,
    StartEvent,
    StepEvent,
)
from shared.offset import EntryId
from tests.relay.dialects.random_logs import STREAM, logs
from tests.relay.dialects.support import past_of, told

EVERY = (AI_SDK_V6, AI_SDK_V7, WORKFLOW_V6, WORKFLOW_V7)
every_dialect = pytest.mark.parametrize("dialect", EVERY, ids=lambda dialect: str(dialect.name))
START = StartEvent(STREAM, "anthropic", "claude", 1, 100)
ON, OFF = StepEvent("start", 1), StepEvent("stop", 1)
DONE = EndEvent("completed", "end_turn")


def log_of(*entries: Sequence[Event]) -> list[Entry]:
    """Return the log of these entries of one attempt."""
    return [Entry(EntryId(1, seq), encode_blob(events, 1)) for seq, events in enumerate(entries, 1)]


def chunks_of(frames: Sequence[Frame]) -> list[dict[str, Any]]:
    """Return the chunks in frames, in which ``[DONE]`` can only be last."""
    lines = [frame.event.data for frame in frames]
    assert b"[DONE]" not in lines[:-1]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def chunks(dialect: Dialect, *events: Event) -> list[dict[str, Any]]:
    """Return the chunks of a stream of these events, less its start."""
    first, *rest = chunks_of(told(dialect, log_of([START, *events])))
    assert first == {"type": "start", "messageId": f"msg_{STREAM}"}
    return rest


@dataclass
class Reader:
    """Takes chunks as the stricter of both versions' clients does, and keeps the parts that it shows."""

    version: int
    parts: list[list[str]] = field(default_factory=list)
    """Each as its type, its id, and its text."""
    active: dict[str, list[str]] = field(default_factory=dict)
    in_step: bool = False
    finished: bool = False

    def read(self, chunk: dict[str, Any]) -> None:
        """Take in a chunk. Raises ``AssertionError`` where a client throws."""
        assert not self.finished, f"{chunk} comes after the end"
        kind = chunk["type"]
        name, _, phase = kind.rpartition("-")
        if kind in ("start-step", "finish-step"):
            assert self.in_step == (kind == "finish-step")
            assert not self.active, "a step may not finish with open parts: version 6 forgets them"
            self.in_step = not self.in_step
            self.parts += [["step-start", "", ""]] if self.in_step else []
        elif kind == "reset-step":
            assert self.version == 7
            self.active.clear()
            while self.parts and self.parts[-1][0] != "step-start":
                self.parts.pop()
        elif name in ("text", "reasoning"):
            self._prose(name, phase, chunk)
        elif name.startswith("tool"):
            self._tool(kind, chunk)
        elif kind == "error":
            self.active.clear()
            self.in_step = False
        elif kind == "finish":
            assert not self.in_step
            assert not self.active
            self.finished = True
        elif kind == BLOCK_PART:
            self.parts.append([kind, "", json.dumps(chunk["data"])])
        else:
            assert kind in ("start", "abort", "data-tailrace-withheld")

    def _prose(self, name: str, phase: str, chunk: dict[str, Any]) -> None:
        key = f"{name} {chunk['id']}"
        if phase == "start":
            assert key not in self.active
            self.parts.append([name, chunk["id"], ""])
            self.active[key] = self.parts[-1]
        elif phase == "delta":
            self.active[key][2] += chunk["delta"]
        else:
            assert phase == "end"
            del self.active[key]

    def _tool(self, kind: str, chunk: dict[str, Any]) -> None:
        calls = [part for part in self.parts if part[0] == "tool" and part[1] == chunk["toolCallId"]]
        if kind == "tool-input-start":
            self.parts.append(["tool", chunk["toolCallId"], ""])
            return
        assert calls, f"{chunk} is about a call that nobody has told"
        if kind == "tool-input-delta":
            calls[-1][2] += chunk["inputTextDelta"]
        elif kind == "tool-input-available":
            assert json.loads(calls[-1][2] or "{}") == chunk["input"]
        else:
            assert kind in ("tool-input-error", "tool-output-available")


def read(dialect: Dialect, frames: Sequence[Frame]) -> Reader:
    """Return a reader that has taken all that frames say."""
    reader = Reader(7 if "7" in dialect.name else 6)
    for chunk in chunks_of(frames):
        reader.read(chunk)
    return reader


@every_dialect
@given(entries=logs(), data=st.data())
def test_every_stream_keeps_the_grammar(dialect: Dialect, entries: list[Entry], data: st.DataObject) -> None:
    """Starts before deltas, one end, steps in pairs: whatever the log, and whenever the reader came to it."""
    there = data.draw(st.integers(0, len(entries)))
    frames = told(dialect, entries, past=past_of(dialect, entries[:there]))
    reader = read(dialect, frames)
    if reader.finished:
        assert (frames[-1].event.data == b"[DONE]") == dialect.cut


@given(entries=logs(), data=st.data())
def test_both_versions_show_the_same_answer(entries: list[Entry], data: st.DataObject) -> None:
    """What version 7 is told to reset comes to what a later reader of version 6 gets at once."""
    late = read(AI_SDK_V6, told(AI_SDK_V6, entries, past=past_of(AI_SDK_V6, entries)))
    there = data.draw(st.integers(0, len(entries)))
    live = told(AI_SDK_V7, entries, past=past_of(AI_SDK_V7, entries[:there]))
    if all(frame.place is not None for frame in live):  # no reset that it could not be told
        assert read(AI_SDK_V7, live).parts == late.parts


counting = pytest.mark.parametrize("dialect", [WORKFLOW_V6, WORKFLOW_V7], ids=lambda dialect: str(dialect.name))


@counting
@given(entries=logs(), data=st.data())
def test_a_count_of_chunks_means_the_same_to_everybody(
    dialect: Dialect, entries: list[Entry], data: st.DataObject
) -> None:
    """A reader who came at any time, was cut and comes back with its own count has the answer, or is told an error."""
    past = past_of(dialect, entries)
    whole = told(dialect, entries, past=past)
    assert len(whole) == past.total
    there = data.draw(st.integers(0, len(entries)))
    first = told(dialect, entries, past=past_of(dialect, entries[:there]))
    ended = bool(first) and json.loads(first[-1].event.data)["type"] == "finish"
    had = data.draw(st.integers(0, len(first) - ended))  # who has the end does not come back
    both = [*first[:had], *told(dialect, entries, Had(total=had), past)]
    if b'"error"' not in b"".join(frame.event.data for frame in both if frame.place is None):
        assert read(dialect, both).parts == read(dialect, whole).parts
        assert len(both) == len(whole)


@counting
@given(entries=logs(), data=st.data())
def test_the_last_chunks_begin_with_what_encloses_them(
    dialect: Dialect, entries: list[Entry], data: st.DataObject
) -> None:
    """A reader of the tail alone is told no delta of a part that it has not seen begin."""
    last = data.draw(st.integers(1, 30))
    tail = Tail(STREAM, dialect, last)
    tail.read(entries)
    past = past_of(dialect, entries)
    assert tail.total == past.total
    assert tail.first <= max(past.total - last, 0)
    reader = Reader(7)
    for chunk in chunks_of(told(dialect, entries, Had(total=tail.first), past)) if not past.resets else []:
        if chunk["type"] not in ("start-step", "finish-step", "finish"):  # the steps may have begun before
            reader.read(chunk)


def test_text_thinking_and_a_tool_are_parts() -> None:
    """In one step, the thinking with its signature under the provider's name, the arguments as they came and whole."""
    assert chunks(
        AI_SDK_V6,
        ON,
        BlockStartEvent(0, "thinking"),
        DeltaEvent(0, text="hm"),
        DeltaEvent(0, signature="c2ln"),
        BlockStopEvent(0),
        BlockStartEvent(1, "text"),
        DeltaEvent(1, text="Hello"),
        BlockStopEvent(1),
        BlockStartEvent(2, "tool_use", "call_1", "weather"),
        DeltaEvent(2, json='{"place":'),
        DeltaEvent(2, json=' "Graz"}'),
        BlockStopEvent(2),
        OFF,
        EndEvent("completed", "tool_use"),
    ) == [
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "0"},
        {"type": "reasoning-delta", "id": "0", "delta": "hm"},
        {"type": "reasoning-end", "id": "0", "providerMetadata": {"anthropic": {"signature": "c2ln"}}},
        {"type": "text-start", "id": "1"},
        {"type": "text-delta", "id": "1", "delta": "Hello"},
        {"type": "text-end", "id": "1"},
        {"type": "tool-input-start", "toolCallId": "call_1", "toolName": "weather"},
        {"type": "tool-input-delta", "toolCallId": "call_1", "inputTextDelta": '{"place":'},
        {"type": "tool-input-delta", "toolCallId": "call_1", "inputTextDelta": ' "Graz"}'},
        {"type": "tool-input-available", "toolCallId": "call_1", "toolName": "weather", "input": {"place": "Graz"}},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "tool-calls"},
    ]


def test_a_tool_of_the_providers_is_a_tool_that_it_has_run() -> None:
    """The call and its result are one part, with all that the provider wants back, and the client is not to run it."""
    call = msgspec.Raw(b'{"type":"server_tool_use","id":"s1","name":"web_search","input":{},"caller":"direct"}')
    result = msgspec.Raw(b'{"type":"web_search_tool_result","tool_use_id":"s1","content":\n[{"title":"Graz"}]}')
    _, begun, _, available, output, *_ = chunks(
        AI_SDK_V6,
        ON,
        BlockStartEvent(0, "data", None, "server_tool_use", call),
        DeltaEvent(0, json='{"q":"Graz"}'),
        BlockStopEvent(0),
        BlockStartEvent(1, "tool_result", "s1", "web_search_tool_result", result),
        BlockStopEvent(1),
        DONE,
    )
    named = {"toolCallId": "s1", "toolName": "web_search", "providerExecuted": True}
    kept = {"type": "server_tool_use", "id": "s1", "name": "web_search", "caller": "direct"}
    assert begun == {"type": "tool-input-start", **named}
    metadata = {"anthropic": {"block": kept}}
    assert available == {
        "type": "tool-input-available",
        **named,
        "input": {"q": "Graz"},
        "providerMetadata": metadata,
    }
    assert output == {
        "type": "tool-output-available",
        "toolCallId": "s1",
        "output": [{"title": "Graz"}],
        "providerExecuted": True,
        "providerMetadata": {"anthropic": {"block": {"type": "web_search_tool_result", "tool_use_id": "s1"}}},
    }


def test_a_page_that_is_cited_is_a_source() -> None:
    """For those who show sources; all that the provider said of it comes with the text's end."""
    url = msgspec.Raw(b'{"type":"citations_delta","citation":{"url":"https://a.example","title":"A","cited_text":"a"}}')
    odd = msgspec.Raw(b'{"type":"citations_delta","citation":{"file_id":7}}')
    deltas = (DeltaEvent(0, text="A"), DeltaEvent(0, data=url), DeltaEvent(0, data=odd))
    _, _, _, source, end, *_ = chunks(AI_SDK_V6, ON, BlockStartEvent(0, "text"), *deltas, BlockStopEvent(0), DONE)
    assert source == {"type": "source-url", "sourceId": "0-0", "url": "https://a.example", "title": "A"}
    told_of = [json.loads(bytes(url)), json.loads(bytes(odd))]
    assert end == {"type": "text-end", "id": "0", "providerMetadata": {"anthropic": {"deltas": told_of}}}


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (
            BlockStartEvent(0, "data", None, "redacted_thinking", msgspec.Raw(b'{"type":"redacted_thinking"}')),
            {"type": "redacted_thinking"},
        ),
        (
            BlockStartEvent(0, "tool_result", "nobody", "x_tool_result", msgspec.Raw(b'{"content":[]}')),
            {"content": []},
        ),
        (BlockStartEvent(0, "data", None, "odd", msgspec.Raw(b"7")), 7),
    ],
)
def test_what_has_no_part_of_its_own_is_carried_whole(event: BlockStartEvent, data: object) -> None:
    """Also the result of a call that was never told, which would throw in the client."""
    _, part, *_ = chunks(AI_SDK_V7, ON, event, BlockStopEvent(0), DONE)
    assert part == {"type": BLOCK_PART, "data": data}


def test_arguments_that_break_off_are_an_error_of_their_part() -> None:
    """A model at its limit of tokens stops within them; no application may run such a call."""
    *_, failed, _, finish = chunks(
        AI_SDK_V6,
        ON,
        BlockStartEvent(0, "tool_use", "call_1", "weather"),
        DeltaEvent(0, json='{"place":'),
        BlockStopEvent(0),
        OFF,
        EndEvent("incomplete", "max_tokens"),
    )
    assert failed["type"] == "tool-input-error"
    assert failed["input"] == '{"place":'
    assert finish == {"type": "finish", "finishReason": "length"}


@pytest.mark.parametrize(
    ("end", "version", "expected"),
    [
        (EndEvent("completed", "end_turn"), 6, [{"type": "finish", "finishReason": "stop"}]),
        (EndEvent("completed", "stop_sequence"), 6, [{"type": "finish", "finishReason": "stop"}]),
        (EndEvent("incomplete", "max_tokens"), 7, [{"type": "finish", "finishReason": "length"}]),
        (EndEvent("completed", "refusal"), 7, [{"type": "finish", "finishReason": "content-filter"}]),
        (EndEvent("completed", "something_new"), 7, [{"type": "finish", "finishReason": "other"}]),
        (
            EndEvent("cancelled", "abandoned"),
            6,
            [{"type": "abort", "reason": "abandoned"}, {"type": "finish", "finishReason": "other"}],
        ),
        (
            EndEvent("cancelled", "cancelled"),
            7,
            [{"type": "abort", "reason": "cancelled"}, {"type": "finish", "finishReason": "interrupted"}],
        ),
        (
            EndEvent("failed", "overloaded"),
            6,
            [{"type": "error", "errorText": "the answer failed"}, {"type": "finish", "finishReason": "error"}],
        ),
    ],
)
def test_every_end_has_its_reason(end: EndEvent, version: int, expected: list[dict[str, str]]) -> None:
    """Open parts and the step are closed first, so that a client shows nothing as still coming."""
    dialect = AI_SDK_V6 if version == 6 else AI_SDK_V7
    told_of = chunks(dialect, ON, BlockStartEvent(0, "text"), DeltaEvent(0, text="H"), end)
    assert told_of[3:] == [{"type": "text-end", "id": "0"}, {"type": "finish-step"}, *expected]


def test_a_failed_answer_says_why() -> None:
    """In the provider's words, which the hook shows as its error."""
    failed = ErrorEvent("provider_error", "The provider is overloaded.", retryable=True)
    told_of = chunks(AI_SDK_V6, failed, EndEvent("failed", "overloaded"))
    assert told_of[0] == {"type": "error", "errorText": "The provider is overloaded."}


BEFORE: list[Event] = [START, ON, BlockStartEvent(0, "text"), DeltaEvent(0, text="lost")]
AFTER: list[Event] = [
    StepEvent("start", 2),
    BlockStartEvent(0, "text"),
    DeltaEvent(0, text="found"),
    BlockStopEvent(0),
    DONE,
]


def test_version_7_is_told_to_reset_the_step() -> None:
    """All that the step has is discarded, and what follows takes its place in the same step."""
    frames = told(AI_SDK_V7, log_of(BEFORE, [ResetEvent(0, "lease_expired")], AFTER))
    assert [chunk["type"] for chunk in chunks_of(frames)] == [
        "start",
        "start-step",
        "text-start",
        "text-delta",
        "reset-step",
        "text-start",
        "text-delta",
        "text-end",
        "finish-step",
        "finish",
    ]
    assert read(AI_SDK_V7, frames).parts == [["step-start", "", ""], ["text", "0", "found"]]


def test_version_6_cannot_be_told_and_gets_an_error() -> None:
    """It never hears of ``reset-step``, an unknown chunk that it dies of; who comes later gets what survived."""
    entries = log_of(BEFORE, [ResetEvent(0, "lease_expired")], AFTER)
    live = chunks_of(told(AI_SDK_V6, entries))
    assert [chunk["type"] for chunk in live[-3:]] == ["text-delta", "error", "finish"]
    late = told(AI_SDK_V6, entries, past=past_of(AI_SDK_V6, entries))
    assert read(AI_SDK_V6, late).parts == [["step-start", "", ""], ["text", "0", "found"]]


def test_a_reset_of_half_a_step_is_more_than_version_7_can_be_told() -> None:
    """``reset-step`` would take away the text that is kept too."""
    kept: list[Event] = [START, ON, BlockStartEvent(0, "text"), DeltaEvent(0, text="kept"), BlockStopEvent(0)]
    lost: list[Event] = [BlockStartEvent(1, "tool_use", "t", "t"), ResetEvent(1, "lease_expired")]
    live = chunks_of(told(AI_SDK_V7, log_of(kept, lost)))
    assert "reset-step" not in [chunk["type"] for chunk in live]
    assert live[-2]["type"] == "error"


def test_an_answer_goes_on_in_its_open_text_and_step() -> None:
    """A takeover that continues by prefill is no event in a chat: the same part grows on."""
    told_of = chunks(
        AI_SDK_V6,
        ON,
        BlockStartEvent(0, "text"),
        DeltaEvent(0, text="Hel"),
        StepEvent("start", 2),
        DeltaEvent(0, text="lo"),
        BlockStopEvent(0),
        StepEvent("stop", 2),
        DONE,
    )
    assert [chunk["type"] for chunk in told_of] == [
        "start-step",
        "text-start",
        "text-delta",
        "text-delta",
        "text-end",
        "finish-step",
        "finish",
    ]


def test_a_step_waits_for_its_parts() -> None:
    """Version 6 forgets the open parts of a step that finishes, and would die of their next delta."""
    told_of = chunks(
        AI_SDK_V6, ON, BlockStartEvent(0, "text"), OFF, DeltaEvent(0, text="H"), BlockStopEvent(0), ON, OFF, DONE
    )
    expected = ["start-step", "text-start", "text-delta", "text-end", "finish-step", "finish"]
    assert [chunk["type"] for chunk in told_of] == expected


def test_an_answer_that_goes_on_with_a_message_has_its_id() -> None:
    """After a tool's output the client goes on with the message it has; a new id would make it a second one."""
    start = StartEvent(STREAM, "anthropic", "claude", 1, 100, metadata={MESSAGE_ID: "m2"})
    first, *_ = chunks_of(told(AI_SDK_V6, log_of([start, DONE])))
    assert first == {"type": "start", "messageId": "m2"}


def test_an_error_that_is_not_in_the_log_ends_the_answer() -> None:
    """With the sentence for the user, after which its client reads nothing."""
    projection = AI_SDK_V6.project(STREAM)
    for event in BEFORE:
        projection.feed(event, 1)
    error, *_ = [json.loads(event.data) for event in projection.fail(GoneError("It has expired."))[:-1]]
    assert error == {"type": "error", "errorText": "It has expired."}
