"""The Gemini API's frames become canonical events, and its signatures find their place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ProviderError
from shared.events import DataEvent, Event, Usage, UsageEvent
from shared.models import Model
from tests.generate_wire import GENERATE
from tests.messages_script import SIGNATURE, Script
from tests.worker.support_decoders import call, fed, finish_of, folded, opened, sse
from worker.continuation import assistant_content
from worker.llm import Call, Finish
from worker.providers.genai_call import genai_body
from worker.providers.genai_decoder import GenaiDecoder

MODEL = Model(provider="google")
BODY: dict[str, Any] = {"generationConfig": {"maxOutputTokens": 1000}, "contents": []}
SIGNED = "c2ln/+=="


def parts(*told: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """Return a chunk that adds parts."""
    candidate: dict[str, Any] = {"content": {"parts": list(told), "role": "model"}}
    return {"candidates": [candidate | ({"finishReason": finish} if finish else {})], "responseId": "r1"}


def decoded(*frames: dict[str, Any] | str, of: Call | None = None) -> list[Event | Finish]:
    """Decode frames."""
    return fed(GenaiDecoder(of or call(MODEL)), sse(*frames))


def called(name: str, **more: Any) -> dict[str, Any]:
    """Return a part that calls a function."""
    return {"functionCall": {"name": name, "args": {"a": 1}}, **more}


@given(st.integers(1, 300))
def test_an_answer_is_the_same_however_it_is_cut(size: int) -> None:
    """A thought, text, two calls, of which the first is signed, usage."""
    tools = [{"name": "a", "input": {"x": "é"}}, {"name": "b", "input": {"y": [1, 2]}}]
    data = b"".join(piece.data for piece in GENERATE.frames(Script(tokens=4, thinking=2, tools=tools), BODY, ""))
    events = fed(GenaiDecoder(call(MODEL)), data, size)
    blocks = folded(events).blocks
    assert [(block.kind, block.text, block.json and json.loads(block.json), block.complete) for block in blocks] == [
        ("thinking", "t0 t1 ", "", True),
        ("text", "w0 w1 w2 w3", "", True),
        ("thinking", "", "", True),
        ("tool_use", "", {"x": "é"}, True),
        ("tool_use", "", {"y": [1, 2]}, True),
    ]
    assert [block.signature for block in blocks if block.signature] == [json.loads(f'"{SIGNATURE}"')]
    assert finish_of(events) == Finish("tool_use", None, Usage(11, 5, 3))


@pytest.mark.parametrize(
    "told",
    [
        [{"text": "x"}, {"text": "", "thoughtSignature": SIGNED}],
        [called("t", thoughtSignature=SIGNED), called("u")],
        [{"text": "x"}, called("t", thoughtSignature=SIGNED)],
        [{"text": "x"}, called("t", thoughtSignature=SIGNED), called("u", thoughtSignature="b3RoZXI=")],
    ],
)
def test_a_signature_goes_back_on_the_part_it_came_with(told: list[dict[str, Any]]) -> None:
    """Through the blocks that a client has and sends, which know it on thoughts alone."""
    answer = folded(decoded(parts(*told), parts(finish="STOP")))
    content = assistant_content(answer.blocks, thoughts=True)
    again = genai_body(call(MODEL, messages=[{"role": "assistant", "content": content}]))["contents"][0]["parts"]
    for part in again:
        part.get("functionCall", {}).pop("id", None)
    assert again == told


def test_a_thoughts_own_signature_stays_with_it() -> None:
    """Byte for byte."""
    thought = {"text": "hm", "thought": True, "thoughtSignature": SIGNED}
    first, second = folded(decoded(parts(thought), parts({"text": "x"}, finish="STOP"))).blocks
    assert (first.kind, first.text, first.signature) == ("thinking", "hm", SIGNED)
    assert (second.kind, second.text) == ("text", "x")


def test_the_thoughts_before_a_call_take_its_signature() -> None:
    """No empty thought is made where there is a real one."""
    answer = folded(
        decoded(
            parts({"text": "hm", "thought": True}), parts(called("t", thoughtSignature=SIGNED)), parts(finish="STOP")
        )
    )
    assert [(block.kind, block.signature) for block in answer.blocks] == [("thinking", SIGNED), ("tool_use", "")]


def test_a_call_without_arguments_has_empty_ones() -> None:
    """And one with an id keeps it; the others get one of their own."""
    answer = folded(decoded(parts({"functionCall": {"name": "t", "id": "x1"}}, called("u"), finish="STOP")))
    assert [(block.id, block.json) for block in answer.blocks] == [("x1", "{}"), ("call_s1_1", '{"a": 1}')]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "end_turn"),
        ("MAX_TOKENS", "max_tokens"),
        ("SAFETY", "refusal"),
        ("PROHIBITED_CONTENT", "refusal"),
        ("RECITATION", "refusal"),
        ("BRAND_NEW", "brand_new"),
    ],
)
def test_the_reason_for_the_end_has_its_canonical_name(reason: str, expected: str) -> None:
    """A refusal says which it is, too."""
    events = decoded(parts({"text": "x"}), parts(finish=reason))
    assert finish_of(events).stop_reason == expected
    details = [json.loads(bytes(event.data)) for event in events if isinstance(event, DataEvent)]
    assert details == ([{"finishReason": reason, "finishMessage": None}] if expected == "refusal" else [])


def test_a_prompt_that_is_blocked_is_a_refusal() -> None:
    """Without any candidate."""
    events = decoded({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5}})
    assert finish_of(events) == Finish("refusal", None, Usage(5))
    (told,) = [event for event in events if isinstance(event, DataEvent)]
    assert (told.name, json.loads(bytes(told.data))) == ("promptFeedback", {"blockReason": "SAFETY"})


def test_a_call_that_the_model_got_wrong_is_worth_another_attempt() -> None:
    """The provider says so at the end."""
    decoder = GenaiDecoder(call(MODEL))
    decoder.feed(sse(parts(finish="MALFORMED_FUNCTION_CALL")))
    with pytest.raises(ProviderError) as caught:
        decoder.at_end()
    assert (caught.value.kind, caught.value.retryable) == ("malformed", True)


def test_a_body_that_ends_without_a_reason_was_cut() -> None:
    """Nothing is finished; and a reason without the body's end is not yet one either."""
    decoder = GenaiDecoder(call(MODEL))
    decoder.feed(sse(parts({"text": "x"})))
    assert decoder.at_end() == []
    decoder.feed(sse(parts(finish="STOP")))
    assert not decoder.finished
    decoder.at_end()
    assert decoder.finished
    assert decoder.at_end() == []


def test_what_comes_after_the_reason_still_counts() -> None:
    """Usage may."""
    usage = {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4, "toolUsePromptTokenCount": 2}}
    assert finish_of(decoded(parts({"text": "x"}, finish="STOP"), usage)).usage == Usage(11, 4)


def test_usage_is_told_at_the_start_and_at_the_end_alone() -> None:
    """Every chunk has it."""
    chunks = [
        parts({"text": "x"}) | {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": n}} for n in (1, 2, 3)
    ]
    events = decoded(*chunks, parts(finish="STOP"))
    assert [event.usage for event in events if isinstance(event, UsageEvent)] == [Usage(3, 1), Usage(3, 3)]


def test_parts_without_a_canonical_form_are_opaque_and_go_back_as_they_were() -> None:
    """Such as code that the provider has run."""
    code = {"executableCode": {"language": "PYTHON", "code": "print('é')"}}
    answer = folded(decoded(parts({"text": "a"}, code, {"text": "b"}, finish="STOP")))
    assert [(block.kind, block.name) for block in answer.blocks] == [
        ("text", None),
        ("data", "google_part"),
        ("text", None),
    ]
    content = assistant_content(answer.blocks, thoughts=False)
    body = genai_body(call(MODEL, messages=[{"role": "assistant", "content": content}]))
    assert body["contents"][0]["parts"] == [{"text": "a"}, code, {"text": "b"}]


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        ({"code": 503, "message": "x", "status": "UNAVAILABLE"}, "server_error", True),
        ({"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}, "rate_limited", True),
        ({"code": 400, "message": "x", "status": "INVALID_ARGUMENT"}, "invalid_request", False),
        ({}, "server_error", True),
    ],
)
def test_an_error_in_the_stream_comes_after_what_was_told(error: dict[str, Any], kind: str, *, retryable: bool) -> None:
    """By its code."""
    decoder = GenaiDecoder(call(MODEL))
    with pytest.raises(ProviderError) as caught:
        decoder.feed(sse(parts({"text": "x"}), {"error": error}))
    assert (caught.value.kind, caught.value.retryable) == (kind, retryable)
    assert folded(decoder.rest()).text == "x"


@pytest.mark.parametrize("bad", ["{", "[]", '{"candidates": 5}', '{"candidates": [{"content": {"parts": [5]}}]}'])
def test_what_is_not_the_protocol_is_a_retryable_failure(bad: str) -> None:
    """Never a crash, never silence."""
    with pytest.raises(ProviderError) as caught:
        decoded(bad)
    assert (caught.value.kind, caught.value.retryable) == ("malformed", True)


def test_the_first_text_continues_the_open_block() -> None:
    """A thought may come before it."""
    goes_on = call(MODEL, open_text_block=0, first_block=1)
    events = decoded(parts({"text": "hm", "thought": True}), parts({"text": " two"}, finish="STOP"), of=goes_on)
    blocks = folded(events, opened("one")).blocks
    assert [(block.text, block.complete) for block in blocks] == [("one two", True), ("hm", True)]
