"""The simulated model: the same every time, at its pace, failing where it is told to."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.answer import Answer
from shared.errors import ProviderError
from shared.events import DeltaEvent, Event
from shared.models import Continuation, Model
from tests.support import eventually
from worker.continuation import plan_attempt
from worker.llm import Call, Finish
from worker.providers.sim import SimProvider

MODEL = Model(provider="sim", continuation="prefill")
SIM = SimProvider(stall_s=0.05)


def asking(attempt: int = 1, model: Model = MODEL, max_tokens: int = 1000, **script: Any) -> Call:
    """Return a call whose last user message is a script."""
    return Call(model, "sim", [{"role": "user", "content": json.dumps(script)}], max_tokens, attempt=attempt)


async def told(call: Call) -> tuple[list[Event | Finish], ProviderError | None]:
    """Return all events of a call, and its error if it fails."""
    events: list[Event | Finish] = []
    try:
        async for batch in SIM.stream(call):
            assert batch
            events += batch
    except ProviderError as error:
        return events, error
    return events, None


def folded(events: list[Event | Finish], into: Answer | None = None) -> Answer:
    """Return what events add up to."""
    answer = into or Answer()
    for event in events:
        if not isinstance(event, Finish):
            answer.apply(event)
    return answer


async def whole(call: Call) -> tuple[Answer, Finish]:
    """Return the answer and finish of a call that does not fail."""
    events, error = await told(call)
    assert error is None
    assert isinstance(events[-1], Finish)
    return folded(events), events[-1]


async def test_tokens_are_numbered_and_the_same_every_time() -> None:
    """So that a test sees at once what is missing, doubled or out of order."""
    answer, finish = await whole(asking(tokens=5))
    assert answer.text == "w0 w1 w2 w3 w4"
    assert (finish.stop_reason, finish.usage.output_tokens) == ("end_turn", 5)
    seeded = [(await whole(asking(tokens=5, seed=seed)))[0].text for seed in (3, 3, 4)]
    assert seeded[0] == seeded[1] != seeded[2]
    assert [word.lstrip("abcdefghijklmnopqrstuvwxyz") for word in seeded[0].split()] == ["0", "1", "2", "3", "4"]


async def test_any_other_text_gets_a_modest_answer() -> None:
    """Also content of blocks, and JSON that is no script's."""
    for content in ("Hello", [{"type": "text", "text": "Hello"}], "{not json"):
        call = replace(asking(), messages=[{"role": "user", "content": content}], max_tokens=3)
        answer, finish = await whole(call)
        assert (answer.text, finish.stop_reason) == ("w0 w1 w2", "max_tokens")


@pytest.mark.parametrize(
    "script", [{"tokens": -1}, {"tokens": 10**9}, {"speed": 1}, {"tokens": "x"}, {"per_second": -1}]
)
async def test_a_script_that_cannot_be_done_is_refused(script: dict[str, Any]) -> None:
    """As a provider refuses a bad request: with a sentence, and without a retry."""
    events, error = await told(asking(**script))
    assert error is not None
    assert (events, error.kind, error.retryable) == ([], "invalid_request", False)
    assert "the simulated model cannot do this" in error.message


async def test_the_pace_is_kept_and_does_not_drift() -> None:
    """By absolute deadlines: the last of 100 tokens at 500 a second comes 0.198 s after the first."""
    loop = asyncio.get_running_loop()
    times = []
    async for batch in SIM.stream(asking(tokens=100, per_second=500, first_token_ms=50)):
        times += [loop.time()] * sum(isinstance(event, DeltaEvent) for event in batch)
    assert len(times) == 100
    assert times[-1] - times[0] >= 0.19
    assert times[-1] - times[0] < 2


async def test_a_reader_that_was_away_gets_all_that_is_due() -> None:
    """In one batch, so that lateness never adds up."""
    stream = SIM.stream(asking(tokens=100, per_second=1000))
    for _ in range(3):
        await anext(stream)
    later = asyncio.get_running_loop().time() + 0.03
    await eventually(lambda: asyncio.get_running_loop().time() > later)
    assert len(await anext(stream)) >= 20
    await stream.aclose()


async def test_a_thousand_streams_keep_their_pace() -> None:
    """One timer per batch is all a stream costs."""
    started = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(whole(asking(tokens=10, per_second=20)) for _ in range(1000)))
    assert {answer.text for answer, _ in answers} == {(await whole(asking(tokens=10)))[0].text}
    assert asyncio.get_running_loop().time() - started < 10


@pytest.mark.parametrize(
    ("fault", "kind", "retryable"),
    [
        ("cut", "cut", True),
        ("error", "server_error", True),
        ("overloaded", "overloaded", True),
        ("stall", "timeout", True),
    ],
)
async def test_a_fault_strikes_where_and_when_it_is_told_to(fault: str, kind: str, *, retryable: bool) -> None:
    """Before token ``fail_at``, in the attempts named."""
    events, error = await told(asking(tokens=9, fail_at=3, fault=fault, attempts=[1, 3]))
    assert error is not None
    assert (error.kind, error.retryable) == (kind, retryable)
    assert folded(events).text == "w0 w1 w2"
    assert (await whole(asking(2, tokens=9, fail_at=3, fault=fault, attempts=[1, 3])))[0].text.endswith("w8")


async def test_a_refusal_comes_before_everything() -> None:
    """As a provider's 400 does."""
    events, error = await told(asking(fail_at=3, fault="refused"))
    assert error is not None
    assert (events, error.kind, error.retryable) == ([], "invalid_request", False)


async def test_thinking_and_tools_surround_the_text() -> None:
    """With signature and arguments."""
    answer, finish = await whole(asking(tokens=2, thinking=3, tools=[{"name": "look", "input": {"query": "né"}}]))
    thinking, text, tool = answer.blocks
    assert (thinking.kind, thinking.text, thinking.signature) == ("thinking", "t0 t1 t2 ", "sim-signature-0")
    assert (text.text, tool.name, json.loads(tool.json)) == ("w0 w1", "look", {"query": "né"})
    assert all(block.complete for block in answer.blocks)
    assert (finish.stop_reason, finish.usage.output_tokens) == ("tool_use", 5)


@pytest.mark.parametrize(
    ("stops", "text", "sequence"),
    [
        ([" w3"], "w0 w1 w2", " w3"),
        (["zz", "3"], "w0 w1 w2 w", "3"),
        (["w0"], "", "w0"),
        (["w9"], "w0 w1 w2 w3 w4", None),
    ],
)
async def test_a_stop_sequence_ends_the_answer_before_itself(stops: list[str], text: str, sequence: str | None) -> None:
    """Wherever in a token it begins."""
    answer, finish = await whole(replace(asking(tokens=5), options={"stop": stops}))
    assert answer.text == text
    assert (finish.stop_reason, finish.stop_sequence) == ("stop_sequence" if sequence else "end_turn", sequence)


async def test_max_tokens_ends_the_answer() -> None:
    """Thinking counts."""
    answer, finish = await whole(asking(tokens=9, thinking=2, max_tokens=5))
    assert (answer.text, finish.stop_reason, finish.usage.output_tokens) == ("w0 w1 w2", "max_tokens", 5)


@given(st.integers(0, 11), st.sampled_from(["prefill", "user_turn"]), st.integers(0, 3), st.integers(0, 3))
async def test_a_continued_answer_equals_the_uninterrupted_one(
    fail_at: int, continuation: Continuation, seed: int, thinking: int
) -> None:
    """Wherever it was cut."""
    model = MODEL.model_copy(update={"continuation": continuation})
    script: dict[str, Any] = {"tokens": 12, "seed": seed, "thinking": thinking, "fail_at": fail_at}
    uninterrupted, _ = await whole(asking(2, model, **script))
    events, error = await told(asking(1, model, **script))
    assert error is not None
    answer = folded(events)
    plan = plan_attempt(asking(2, model, **script), answer.blocks, "continue")
    assert plan is not None
    assert plan.mode == (continuation if fail_at else "restart")
    answer.blocks = answer.blocks[: plan.keep_blocks]
    events, error = await told(plan.call)
    assert error is None
    assert [(b.block, b.kind, b.text, b.complete) for b in folded(events, answer).blocks] == [
        (b.block, b.kind, b.text, b.complete) for b in uninterrupted.blocks
    ]
