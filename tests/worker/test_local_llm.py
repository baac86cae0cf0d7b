"""The Anthropic provider against a real LLM: llama.cpp's server with the small model that ``make run`` answers with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from shared.answer import Answer
from shared.events import Event, StepEvent
from shared.models import Model
from tests.support_llm import local_llm, needs_llm
from worker.continuation import plan_attempt
from worker.llm import Call, Finish
from worker.providers.anthropic import AnthropicProvider
from worker.providers.upstream import Limits

pytestmark = needs_llm

QUESTION = {"role": "user", "content": "Count from one to ten, in words."}


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[AnthropicProvider]:
    """Give a provider that talks to the local model's server."""
    async with local_llm(tmp_path) as url:
        talking = AnthropicProvider(api_key="none", limits=Limits(60, 60, 4), base_url=url)
        yield talking
        await talking.aclose()


async def told(provider: AnthropicProvider, call: Call, answer: Answer) -> tuple[list[Event | Finish], Answer]:
    """Return the events of a call, and the answer with them."""
    events = [event async for batch in provider.stream(call) for event in batch]
    for event in events:
        if not isinstance(event, Finish):
            answer.apply(event)
    return events, answer


async def test_a_real_model_answers_and_goes_on_where_it_was_cut(provider: AnthropicProvider) -> None:
    """It says what it would have said uncut: it continues a prefill, does not repeat it, and counts its tokens."""
    model = Model(provider="anthropic", continuation="prefill")
    call = Call(model, "local", [QUESTION], 32, options={"temperature": 0.0})
    events, whole = await told(provider, call, Answer())
    finish = events[-1]
    assert isinstance(finish, Finish)
    assert finish.usage.input_tokens + finish.usage.cache_read_tokens > 10
    assert 0 < finish.usage.output_tokens <= 32
    assert isinstance(events[0], StepEvent)
    assert "/" not in (events[0].model or "")

    _, cut = await told(provider, replace(call, max_tokens=8), Answer())
    cut.blocks[0].complete = False
    plan = plan_attempt(replace(call, attempt=2, step=2), cut.blocks, "continue")
    assert plan is not None
    assert plan.mode == "prefill"
    said = cut.text
    _, continued = await told(provider, plan.call, cut)
    assert len(continued.blocks) == 1
    assert continued.text != said
    assert whole.text.startswith(said)
    assert continued.text.startswith(whole.text[: len(said) + 5])
