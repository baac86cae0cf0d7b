"""The `openai` SDK for Python as it comes from PyPI, on Chat Completions: nothing of it is patched."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionToolParam

from tests.support_services import Service

_KEY = "any"
_WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def script(**fields: Any) -> list[Any]:
    """Return the messages that have the simulated model answer by this script."""
    return [{"role": "user", "content": json.dumps(fields)}]


def words(count: int) -> str:
    """Return the text that the simulated model says in so many tokens."""
    return " ".join(f"w{index}" for index in range(count))


@pytest.fixture
async def client(relay: Service) -> AsyncIterator[AsyncOpenAI]:
    """Give the SDK's client, pointed at a relay by its base URL alone."""
    async with AsyncOpenAI(base_url=f"{relay.url}/v1", api_key=_KEY, timeout=20) as client:
        yield client


async def test_a_plain_answer(client: AsyncOpenAI) -> None:
    """Whole, with its usage."""
    answer = await client.chat.completions.create(model="sim", messages=script(tokens=5))
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == words(5)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


async def test_a_streamed_answer(client: AsyncOpenAI) -> None:
    """Chunk by chunk, from the role to the reason."""
    stream = await client.chat.completions.create(model="sim", messages=script(tokens=5), stream=True)
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == words(5)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)
