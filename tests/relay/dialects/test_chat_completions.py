"""The Chat Completions dialect: its grammar over random logs, and what each part of an answer is called in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given

from relay.dialects.chat_completions import CHAT, CHAT_WITH_USAGE
from relay.dialects.dialect import Dialect, WireEvent
from relay.dialects.place import NOTHING
from shared.answer import Answer
from shared.entry import Entry
from shared.errors import DiscardedError
from shared.events import (
    BlockStartEvent,
    BlockStopEvent,
    DeltaEvent,
    EndEvent,
    EndStatus,
    ErrorEvent,
    Event,
    StartEvent,
    StepEvent,
    Usage,
)
from shared.record import Record
from tests.relay.dialects.random_logs import STREAM, logs
from tests.relay.dialects.support import resumed

BOTH = pytest.mark.parametrize("dialect", [CHAT, CHAT_WITH_USAGE], ids=lambda dialect: str(dialect.name))
START = StartEvent(STREAM, "sim", "sim", 1_790_000_000_123, 100)
RECORD = Record("local", "sim", "sim", 1_790_000_000_123, 100, {}, b"")
DONE = "[DONE]"


def told(*events: Event, dialect: Dialect = CHAT) -> list[Any]:
    """Return what a stream of these events after its start comes to, decoded."""
    projection = dialect.project(STREAM)
    return decoded([wire for event in (START, *events) for wire in projection.feed(event, 1)])


def decoded(wire: Sequence[WireEvent]) -> list[Any]:
    """Return the data of wire events; none of this dialect has a name."""
    assert all(not event.name for event in wire)
    return [DONE if event.data == b"[DONE]" else json.loads(event.data) for event in wire]


def deltas(chunks: Sequence[Any]) -> list[Any]:
    """Return what chunks add, less the role and the reason."""
    found = [chunk["choices"][0]["delta"] for chunk in chunks if chunk != DONE and chunk.get("choices")]
    return [delta for delta in found if delta and "role" not in delta]


def added_up(chunks: Sequence[Any]) -> dict[str, Any]:
    """Return the message that chunks add up to, as every client of this API adds them."""
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": []}
    for delta in deltas(chunks):
        for name in ("content", "reasoning_content"):
            message[name] += delta.get(name, "")
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                assert call["index"] == len(message["tool_calls"])
                message["tool_calls"].append({"id": call["id"], "type": call["type"], "function": call["function"]})
            else:
                message["tool_calls"][call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    return message


def check_grammar(chunks: Sequence[Any], *, ended: bool, with_usage: bool) -> None:
    """Check that it is a role, deltas, and then a reason, a usage if asked for, and the last word; or an error."""
    *before, last = chunks
    if ended and last != DONE:
        assert last.keys() == {"error"}
        assert last["error"].keys() == {"message", "type", "param", "code"}
    elif ended and with_usage:
        assert before.pop()["usage"].keys() > {"prompt_tokens", "completion_tokens", "total_tokens"}
    else:
        before += [] if ended else [last]
    assert before[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    for number, chunk in enumerate(before):
        assert chunk["id"] == f"chatcmpl-{STREAM}"
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["created"] == 1_790_000_000
        assert ("usage" in chunk) == with_usage
        (choice,) = chunk["choices"]
        assert (choice["finish_reason"] is not None) == (last == DONE and number == len(before) - 1)


@BOTH
@given(entries=logs())
def test_every_stream_keeps_to_the_grammar(dialect: Dialect, entries: list[Entry]) -> None:
    """A role, deltas, one end, in whatever order attempts, resets and errors came."""
    chunks = decoded([frame.event for frame in resumed(dialect, entries, NOTHING)])
    ended = isinstance(entries[-1].events()[-1], EndEvent)
    check_grammar(chunks, ended=ended, with_usage=dialect is CHAT_WITH_USAGE)


def _one_after_the_other(entries: list[Entry], blocks: set[int]) -> bool:
    """Tell whether each of these blocks is told after the one before it."""
    deltas = (event for entry in entries for event in entry.events() if isinstance(event, DeltaEvent))
    told = [delta.block for delta in deltas if delta.block in blocks]
    return told == sorted(told)


@given(entries=logs())
def test_a_stream_adds_up_to_the_whole_answer(entries: list[Entry]) -> None:
    """Whoever streams has what the non-streaming form says, the reason and the usage too.

    Two texts at once would be told as they come and kept one after the other; no provider writes that.
    """
    answer = Answer()
    for entry in entries:
        answer.apply_entry(entry)
    if answer.end is None or answer.end.status == "failed":
        return
    assert CHAT.whole is not None
    body = CHAT.whole(STREAM, RECORD, answer)
    chunks = decoded([frame.event for frame in resumed(CHAT_WITH_USAGE, entries, NOTHING)])
    (choice,) = body["choices"]
    message = added_up(chunks)
    for kind in ("text", "thinking"):
        assume(_one_after_the_other(entries, {block.block for block in answer.blocks if block.kind == kind}))
    assert message["content"] == (choice["message"]["content"] or "")
    assert message["reasoning_content"] == choice["message"].get("reasoning_content", "")
    assert message["tool_calls"] == choice["message"].get("tool_calls", [])
    assert chunks[-3]["choices"][0]["finish_reason"] == choice["finish_reason"]
    assert chunks[-2]["usage"] == body["usage"]


def test_text_and_thinking_have_their_own_fields() -> None:
    """Signatures and citations have none."""
    chunks = told(
        BlockStartEvent(0, "thinking"),
        DeltaEvent(0, text="hm"),
        DeltaEvent(0, signature="c2ln"),
        BlockStopEvent(0),
        BlockStartEvent(1, "text"),
        DeltaEvent(1, text="Yes"),
        BlockStopEvent(1),
    )
    assert deltas(chunks) == [{"reasoning_content": "hm"}, {"content": "Yes"}]


def test_tool_calls_are_numbered_and_what_the_provider_ran_is_not_told() -> None:
    """Also where calls are told at the same time; one without arguments has an empty object."""
    chunks = told(
        BlockStartEvent(0, "data", None, "server_tool_use"),
        DeltaEvent(0, json='{"query":"x"}'),
        BlockStopEvent(0),
        BlockStartEvent(1, "tool_use", "call_a", "look"),
        BlockStartEvent(2, "tool_use", None, "wait"),
        DeltaEvent(1, json='{"at":'),
        BlockStopEvent(2),
        DeltaEvent(1, json="1}"),
        BlockStopEvent(1),
    )
    first, second, third = {"name": "look", "arguments": ""}, {"name": "wait", "arguments": ""}, '{"at":'
    assert [delta["tool_calls"] for delta in deltas(chunks)] == [
        [{"index": 0, "id": "call_a", "type": "function", "function": first}],
        [{"index": 1, "id": f"call_{STREAM}_2", "type": "function", "function": second}],
        [{"index": 0, "function": {"arguments": third}}],
        [{"index": 1, "function": {"arguments": "{}"}}],
        [{"index": 0, "function": {"arguments": "1}"}}],
    ]


@pytest.mark.parametrize(
    ("status", "stop_reason", "word"),
    [
        ("completed", "end_turn", "stop"),
        ("completed", "stop_sequence", "stop"),
        ("completed", "max_tokens", "length"),
        ("completed", "model_context_window_exceeded", "length"),
        ("completed", "tool_use", "tool_calls"),
        ("completed", "refusal", "content_filter"),
        ("completed", None, "stop"),
        ("completed", "something_new", "stop"),
        ("cancelled", "cancelled", "length"),
        ("incomplete", "stream_too_long", "length"),
    ],
)
def test_the_reason_is_one_of_four_words(status: EndStatus, stop_reason: str | None, word: str) -> None:
    """An answer that is not whole never says ``stop``; every reader gets its end."""
    *_, chunk, last = told(StepEvent("start", 1), EndEvent(status, stop_reason))
    assert chunk["choices"][0]["finish_reason"] == word
    assert last == DONE


def test_usage_counts_what_was_cached_as_part_of_the_prompt() -> None:
    """In a chunk without choices, before the last word."""
    *_, chunk, last = told(EndEvent("completed", "end_turn", None, Usage(5, 7, 11, 13)), dialect=CHAT_WITH_USAGE)
    assert last == DONE
    assert chunk["choices"] == []
    assert chunk["usage"] == {
        "prompt_tokens": 29,
        "completion_tokens": 7,
        "total_tokens": 36,
        "prompt_tokens_details": {"cached_tokens": 11, "cache_write_tokens": 13},
    }


def test_a_failure_is_the_last_that_is_told() -> None:
    """The SDKs raise at it. The last word would have others think that all went well."""
    error = ErrorEvent("provider_error", "Overloaded.", retryable=True)
    *_, last = told(BlockStartEvent(0, "text"), DeltaEvent(0, text="a"), error, EndEvent("failed", "overloaded"))
    assert last == {
        "error": {"message": "Overloaded.", "type": "server_error", "param": None, "code": "provider_error"}
    }


def test_a_failure_that_is_not_in_the_log_is_told_alike() -> None:
    """For one who has what a reset discards, for instance."""
    (last,) = decoded(CHAT.project(STREAM).fail(DiscardedError("Read anew.")))
    assert last["error"]["message"] == "Read anew."
    assert last["error"]["code"] == "discarded"


def test_calls_that_were_discarded_leave_no_gap() -> None:
    """A later call takes the number of one that was never told; nothing can say that anything is discarded."""
    projection = CHAT.project(STREAM)
    for event in (START, BlockStartEvent(0, "tool_use", "a", "look"), DeltaEvent(0, json="{")):
        projection.feed(event, 1)
    assert projection.discard(0) is None
    (chunk,) = decoded(projection.feed(BlockStartEvent(0, "tool_use", "b", "look"), 1))
    assert chunk["choices"][0]["delta"]["tool_calls"][0]["index"] == 0
    (chunk,) = decoded(projection.feed(BlockStopEvent(0), 1))
    assert chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_a_whole_answer_without_text_has_null_content_only_beside_calls() -> None:
    """As OpenAI has it; a cut call keeps what it has of its arguments."""
    answer = Answer()
    for event in (START, BlockStartEvent(0, "tool_use", "a", "look"), DeltaEvent(0, json="{")):
        answer.apply(event, 1)
    answer.apply(EndEvent("completed", "max_tokens"), 1)
    assert CHAT.whole is not None
    (choice,) = CHAT.whole(STREAM, RECORD, answer)["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "look", "arguments": "{"}
    empty = Answer()
    empty.apply(EndEvent("completed", "end_turn"), 1)
    assert CHAT.whole(STREAM, RECORD, empty)["choices"][0]["message"]["content"] == ""
