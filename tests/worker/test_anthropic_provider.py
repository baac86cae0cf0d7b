"""The Anthropic provider against a real server on real sockets: what it sends, tells, refuses and closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from email.utils import formatdate
from time import time
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic

from shared.answer import Answer
from shared.errors import ProviderError
from shared.events import Event
from shared.models import Continuation, Model
from tests.messages_script import Script, whole_text
from tests.messages_server import MessagesServer
from worker.continuation import plan_attempt
from worker.llm import Call, Finish
from worker.providers.anthropic import AnthropicProvider
from worker.providers.upstream import Limits, retry_after_s

KEY = "sk-ant-test-0123456789abcdef"
MODEL = Model(provider="anthropic", continuation="prefill")
CALL = Call(MODEL, "m-1", [{"role": "user", "content": "hi"}], 1000)
PATIENT = Limits(first_token_s=20, idle_s=20, calls=600)


@pytest.fixture
async def server() -> AsyncIterator[MessagesServer]:
    """Give a Messages server."""
    async with MessagesServer() as running:
        yield running


@pytest.fixture
async def provider(server: MessagesServer) -> AsyncIterator[AnthropicProvider]:
    """Give a provider that talks to it."""
    talking = AnthropicProvider(api_key=KEY, limits=PATIENT, base_url=server.base_url)
    yield talking
    await talking.aclose()


async def told(provider: AnthropicProvider, call: Call = CALL) -> tuple[list[Event | Finish], ProviderError | None]:
    """Return all events of a call, and its error if it fails."""
    events: list[Event | Finish] = []
    try:
        async with aclosing(provider.stream(call)) as batches:
            async for batch in batches:
                assert batch
                events += batch
    except ProviderError as error:
        return events, error
    return events, None


async def failure(provider: AnthropicProvider, call: Call = CALL) -> ProviderError:
    """Return how a call fails."""
    _, error = await told(provider, call)
    assert error is not None
    return error


def folded(events: list[Event | Finish], into: Answer | None = None) -> Answer:
    """Return what events add up to."""
    answer = into or Answer()
    for event in events:
        if not isinstance(event, Finish):
            answer.apply(event)
    return answer


async def test_the_version_of_the_api_is_one_that_takes_the_request(
    server: MessagesServer, provider: AnthropicProvider
) -> None:
    """The newest takes no sampling parameters; which one is asked for may be said, too."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, anthropic_version()),
        ({"top_p": 0.9}, "2023-06-01"),
        ({"provider_options": {"top_k": 5}}, "2023-06-01"),
        ({"provider_options": {"anthropic_version": "2023-06-01"}}, "2023-06-01"),
    ]
    for options, expected in cases:
        await told(provider, replace(CALL, options=options))
        assert server.calls[-1].headers["anthropic-version"] == expected
        assert "anthropic_version" not in server.calls[-1].body


def anthropic_version() -> str:
    """Return the version that the SDK sends by itself."""
    return str(AsyncAnthropic(api_key="k").default_headers["anthropic-version"])


async def test_the_request_is_what_the_client_wrote(server: MessagesServer, provider: AnthropicProvider) -> None:
    """Every option under the API's name for it, with what the provider alone knows, which replaces nothing of ours."""
    options: dict[str, Any] = {
        "system": [{"type": "text", "text": "s"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["X"],
        "thinking": {"odd": 1},
        "tools": [{"name": "t", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
    }
    more = {"service_tier": "auto", "model": "x", "stream": False, "temperature": 9, "stop_sequences": []}
    more |= {"betas": ["one-2026-01-01", "two"]}
    await told(provider, replace(CALL, options={**options, "provider_options": more}))
    (call,) = server.calls
    expected = {key: value for key, value in options.items() if key != "stop"}
    assert call.body == {
        **expected,
        "stop_sequences": ["X"],
        "service_tier": "auto",
        "model": "m-1",
        "max_tokens": 1000,
        "stream": True,
        "messages": CALL.messages,
    }
    assert call.headers["anthropic-beta"] == "one-2026-01-01,two"
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert KEY in call.headers["authorization"]
    assert call.headers["accept-encoding"] == "identity"


async def test_a_spending_limit_is_not_waited_out(server: MessagesServer, provider: AnthropicProvider) -> None:
    """It comes as 429, but no delay of ours outlasts it."""
    server.say(Script(status=429, error_details={"error_code": "enforced_spend_limit_reached"}))
    error = await failure(provider)
    assert (error.kind, error.retryable) == ("billing", False)


@pytest.mark.parametrize("headers", [{"retry-after-ms": "1500", "retry-after": "9"}, {"retry-after": "1.5"}])
def test_the_wait_is_read_from_either_header(headers: dict[str, str]) -> None:
    """The finer one wins."""
    assert retry_after_s(httpx2.Headers(headers)) == 1.5


def test_a_wait_that_is_a_date_or_nonsense_is_understood_or_ignored() -> None:
    """HTTP allows dates; nothing makes a negative, infinite or absent wait a number."""
    at = retry_after_s(httpx2.Headers({"retry-after": formatdate(time() + 30, usegmt=True)}))
    assert at is not None
    assert 25 < at <= 30
    assert retry_after_s(httpx2.Headers({"retry-after": formatdate(time() - 30, usegmt=True)})) == 0
    for text in ("soon", "-1", "inf", "nan", ""):
        assert retry_after_s(httpx2.Headers({"retry-after": text})) is None
    assert retry_after_s(httpx2.Headers()) is None


@pytest.mark.parametrize("continuation", ["prefill", "user_turn"])
@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("cut_at", [2, 3, 7, 21, 23])
async def test_a_cut_answer_is_continued_to_the_same_text(
    server: MessagesServer, provider: AnthropicProvider, continuation: Continuation, cut_at: int, *, echo: bool
) -> None:
    """Cut anywhere, by either means, also by a server that repeats the prefill: nothing is doubled or lost."""
    model = MODEL.model_copy(update={"continuation": continuation, "echoes_prefill": echo})
    script = Script(
        tokens=20, per_second=1000, thinking=0, cut_at=cut_at, cut="eof", echo=echo and continuation == "prefill"
    )
    server.say(script, script.whole())
    first = replace(CALL, model=model)
    events, error = await told(provider, first)
    assert error is not None
    answer = folded(events)
    plan = plan_attempt(replace(first, attempt=2, step=2), answer.blocks, "continue")
    assert plan is not None
    answer.blocks = answer.blocks[: plan.keep_blocks]
    events, error = await told(provider, plan.call)
    assert error is None
    assert folded(events, answer).text == whole_text(script)
    assert len([block for block in answer.blocks if block.text]) == 1
    assert all(block.complete for block in answer.blocks)


async def test_a_server_that_closes_its_connections_without_a_word_is_asked_on_new_ones() -> None:
    """Twenty answers in a row from a server that hangs up after each, as servers of local models do."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        asked += 1
        body = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"m","usage":{}}}\n\n'
        body += b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'
        body += b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        provider = AnthropicProvider(api_key="none", limits=Limits(5, 5, 10), base_url=f"http://{host}:{port}")
        call = Call(Model(provider="anthropic"), "m", [{"role": "user", "content": "hello"}], 10)
        for _ in range(20):
            ends = [batch[-1] async for batch in provider.stream(call)]
            assert isinstance(ends[-1], Finish)
        await provider.aclose()
    assert asked == 20
