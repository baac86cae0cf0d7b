"""bench/provider.py: the far-away LLM, asked as its readers ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bench.plan import BenchError
from bench.provider import TOKEN_MARK, Conversation
from bench.reader import read_answer
from bench.target import DIRECT, TUTORIAL, Target
from shared.events import DeltaEvent
from shared.models import Model
from worker.llm import Call, Finish
from worker.providers.messages_decoder import MessagesDecoder


@pytest.fixture
async def provider() -> AsyncIterator[Target]:
    """Give a provider that answers in this process."""
    server = await asyncio.get_running_loop().create_server(Conversation, "127.0.0.1", 0)
    yield DIRECT.at(server.sockets[0].getsockname()[1], {})
    server.close()
    await server.wait_closed()


async def test_an_answer_has_its_tokens_at_its_pace(provider: Target) -> None:
    """The first comes at once, the others at their times, and a late one does not delay those after it."""
    reading = await read_answer(provider, 21, 200.0, 10.0)
    assert reading.tokens == 21
    assert len(reading.gaps_s) == 20
    assert 0.099 <= sum(reading.gaps_s) < 5.0
    assert 0 < reading.first_token_ms < 5000


async def test_streams_at_once_do_not_wait_for_each_other(provider: Target) -> None:
    """Twenty answers of a second's length take about a second."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    readings = await asyncio.gather(*(read_answer(provider, 11, 10.0, 10.0) for _stream in range(20)))
    assert all(reading.tokens == 11 for reading in readings)
    assert loop.time() - started_s < 10.0


async def test_the_answer_is_what_our_worker_understands(provider: Target) -> None:
    """It is wire-true: head, block, tokens, stop reason, usage and end, as the decoder of the real API reads them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    writer.write(provider.request(3, 100.0))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    sse = b"".join(body.split(b"\r\n")[1::2])
    decoder = MessagesDecoder(Call(Model(provider="anthropic"), "bench", [], 100))
    events = decoder.feed(sse)
    assert b"connection: close" in head
    assert [event.text for event in events if isinstance(event, DeltaEvent)] == ["~0 ", "~1 ", "~2 "]
    assert isinstance(events[-1], Finish)
    assert events[-1].stop_reason == "end_turn"
    assert events[-1].usage.output_tokens == 3


async def test_a_connection_serves_one_answer_after_the_other(provider: Target) -> None:
    """Servers that keep their connections, such as the pass-through, are given no reason to open new ones."""
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    for _answer in range(2):
        writer.write(provider.request(2, 200.0).replace(b"connection: close\r\n", b""))
        answer = await reader.readuntil(b"\r\n0\r\n\r\n")
        assert answer.count(TOKEN_MARK) == 2
        assert b"connection: close" not in answer
    writer.close()
    await writer.wait_closed()


async def test_what_the_bench_did_not_ask_is_refused(provider: Target) -> None:
    """The refusal is an error of the API, and the reader reports it with its reason."""
    with pytest.raises(BenchError, match=r"400 Bad Request.*did not ask"):
        await read_answer(TUTORIAL.at(provider.port, {}), 2, 50.0, 10.0)


async def test_a_missing_answer_is_told_with_its_cause(provider: Target) -> None:
    """Too late, and nobody there: a sentence each, which names the system."""
    with pytest.raises(BenchError, match=r"the provider read directly .* only 1 of 2 tokens"):
        await read_answer(provider, 2, 0.5, 0.5)
    with pytest.raises(BenchError, match="the provider read directly did not give the answer"):
        await read_answer(DIRECT.at(1, {}), 2, 50.0, 10.0)
