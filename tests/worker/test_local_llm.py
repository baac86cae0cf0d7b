"""A real LLM over each wire that llama.cpp's server speaks: Messages, Chat Completions and Responses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from shared.answer import Answer
from shared.errors import ProviderError
from shared.events import StepEvent
from shared.models import Continuation, Model, OpenAIApi
from tests.support_llm import local_llm, needs_llm
from worker.continuation import plan_attempt
from worker.llm import Call, Finish
from worker.providers.anthropic import AnthropicProvider
from worker.providers.openai import OpenAIProvider
from worker.providers.provider import Provider
from worker.providers.upstream import Limits

pytestmark = needs_llm

QUESTION = {"role": "user", "content": "Count from one to ten, in words."}
LIMITS = Limits(60, 60, 4)


def openai(api: OpenAIApi, continuation: Continuation) -> Callable[[str], tuple[Provider, Model]]:
    """Return what makes a provider and a model of one of OpenAI's APIs."""

    def made(address: str) -> tuple[Provider, Model]:
        base_url = f"{address}/v1"
        model = Model(provider="openai", api=api, base_url=base_url, continuation=continuation)
        return OpenAIProvider(api_key="none", limits=LIMITS, base_url=base_url), model

    return made


def anthropic(address: str) -> tuple[Provider, Model]:
    """Return a provider and a model of the Messages API."""
    model = Model(provider="anthropic", base_url=address, continuation="prefill")
    return AnthropicProvider(api_key="none", limits=LIMITS, base_url=address), model


WIRES = {
    "messages": anthropic,
    "chat": openai("chat", "prefill"),
    "responses": openai("responses", "user_turn"),
}


async def told(provider: Provider, call: Call, answer: Answer) -> Finish:
    """Add a call's events to an answer; return its finish. No path of the server's is told."""
    finish: Finish | None = None
    async with aclosing(provider.stream(call)) as batches:
        async for batch in batches:
            for event in batch:
                if isinstance(event, Finish):
                    finish = event
                else:
                    assert not isinstance(event, StepEvent) or "/" not in (event.model or "")
                    answer.apply(event)
    assert finish is not None
    return finish


async def test_a_real_model_answers_over_each_wire(tmp_path: Path) -> None:
    """One server, which takes a second to start, for all three."""
    async with local_llm(tmp_path) as url:
        for wire in WIRES.values():
            provider, model = wire(url)
            try:
                await check_answer(provider, model)
                await check_refusal(provider, model)
            finally:
                await provider.aclose()


async def check_answer(provider: Provider, model: Model) -> None:
    """Fail unless a conversation is answered, its tokens counted, and a cut answer goes on in its block."""
    turns = [QUESTION, {"role": "assistant", "content": "One, two, three."}, {"role": "user", "content": "Go on."}]
    call = Call(model, "local", turns, 24, options={"temperature": 0.0, "system": "Be brief."}, stream_id="s")
    whole, cut = Answer(), Answer()
    finish = await told(provider, call, whole)
    assert whole.text.strip()
    assert finish.usage.input_tokens + finish.usage.cache_read_tokens > 20
    assert 0 < finish.usage.output_tokens <= 24
    assert (await told(provider, replace(call, max_tokens=6), cut)).stop_reason == "max_tokens"
    assert whole.text.startswith(cut.text)
    cut.blocks[0].complete = False
    plan = plan_attempt(replace(call, attempt=2, step=2), cut.blocks, "continue")
    assert plan is not None
    assert plan.mode == model.continuation
    said = cut.text
    await told(provider, plan.call, cut)
    assert len(cut.blocks) == 1
    assert cut.text.startswith(said)
    if plan.mode == "prefill":
        assert cut.text.startswith(whole.text[: len(said) + 5])


async def check_refusal(provider: Provider, model: Model) -> None:
    """Fail unless what the server refuses is told in its words, and is not for a second try."""
    options = {"provider_options": {"top_k": "many"}}
    with pytest.raises(ProviderError) as caught:
        await told(provider, Call(model, "local", [QUESTION], 8, options=options), Answer())
    assert not caught.value.retryable
    assert "top_k" in caught.value.message
