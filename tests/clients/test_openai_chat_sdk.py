"""The `openai` SDK for Python as it comes from PyPI, on Chat Completions: nothing of it is patched."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk, ChatCompletionFunctionToolParam

from tests.clients.cutter import Cutter
from tests.conftest import StartService
from tests.support import eventually
from tests.support_services import Service

TOOLS: list[ChatCompletionFunctionToolParam] = [
    {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    },
    {"type": "function", "function": {"name": "now"}},
]
CALLS = [{"name": "weather", "input": {"city": "Graz"}}, {"name": "now"}]


def script(**fields: Any) -> list[Any]:
    """Return the messages that have the simulated model answer by this script."""
    return [{"role": "user", "content": json.dumps(fields)}]


def words(count: int) -> str:
    """Return the text that the simulated model says in so many tokens."""
    return " ".join(f"w{index}" for index in range(count))


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    """Return what chunks say."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


async def gather(stream: AsyncStream[ChatCompletionChunk], chunks: list[ChatCompletionChunk]) -> None:
    """Read a stream to its end; what came before an error counts too."""
    async for chunk in stream:
        chunks.append(chunk)  # noqa: PERF401


def client_of(url: str, **options: Any) -> AsyncOpenAI:
    """Return the SDK's client, pointed at a relay by its base URL alone."""
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="any", timeout=20, **options)


@pytest.fixture
async def client(relay: Service) -> AsyncIterator[AsyncOpenAI]:
    """Give the SDK's client of the relay that all tests share."""
    async with client_of(relay.url) as client:
        yield client


@pytest.fixture
def mark() -> dict[str, str]:
    """Give metadata by which the streams of one test are found again."""
    return {"test": uuid.uuid4().hex}


async def streams_of(client: AsyncOpenAI, mark: dict[str, str]) -> list[Any]:
    """Return the states of the streams that a test has started."""
    url = client.base_url.join(f"/v1/streams?metadata.test={mark['test']}")
    listed = await client.get(str(url), cast_to=httpx2.Response)
    ids = [stream["id"] for stream in listed.json()["streams"]]
    return [(await client.get(f"/streams/{one}", cast_to=httpx2.Response)).json() for one in ids]


async def test_a_plain_answer(client: AsyncOpenAI) -> None:
    """Whole, with its usage."""
    answer = await client.chat.completions.create(model="sim", messages=script(tokens=5, thinking=2))
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == words(5)
    assert (answer.choices[0].message.model_extra or {})["reasoning_content"] == "t0 t1 "
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 7


async def test_a_streamed_answer(client: AsyncOpenAI) -> None:
    """Chunk by chunk, from the role to the reason; usage is not told unless it was asked for."""
    stream = await client.chat.completions.create(model="sim", messages=script(tokens=5, thinking=2), stream=True)
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks) == words(5)
    thoughts = [(chunk.choices[0].delta.model_extra or {}).get("reasoning_content", "") for chunk in chunks]
    assert "".join(thoughts) == "t0 t1 "
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


async def test_usage_is_told_at_the_end_of_a_stream(client: AsyncOpenAI) -> None:
    """In one more chunk, which has no choices."""
    stream = await client.chat.completions.create(
        model="sim", messages=script(tokens=5), stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in stream]
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 5


async def test_a_limit_is_the_reason_of_a_cut_answer(client: AsyncOpenAI) -> None:
    """And a stop sequence is a stop."""
    answer = await client.chat.completions.create(model="sim", messages=script(tokens=5), max_completion_tokens=3)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (words(3), "length")
    answer = await client.chat.completions.create(model="sim", messages=script(tokens=5), stop="w2")
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("w0 w1 ", "stop")


async def test_tools_are_called_and_answered(client: AsyncOpenAI) -> None:
    """The SDK's own helper adds the calls up; its message goes back as it came, with the results."""
    asked = script(tokens=2, tools=CALLS)
    async with client.chat.completions.stream(model="sim", messages=asked, tools=TOOLS) as stream:
        async for _event in stream:
            pass
        streamed = await stream.get_final_completion()
    whole = await client.chat.completions.create(model="sim", messages=asked, tools=TOOLS)
    for answer in (streamed, whole):
        choice = answer.choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == words(2)
        told = [
            (call.id, call.function.name, call.function.arguments)
            for call in choice.message.tool_calls or []
            if call.type == "function"
        ]
        assert told == [("sim_tool_0", "weather", '{"city":"Graz"}'), ("sim_tool_1", "now", "{}")]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        for call in whole.choices[0].message.tool_calls or []
    ]
    messages = [*asked, whole.choices[0].message, *results, *script(tokens=1)]
    after = await client.chat.completions.create(model="sim", messages=messages, tools=TOOLS)
    assert after.choices[0].message.content == words(1)


async def test_a_refusal_before_the_answer_is_raised_at_once(client: AsyncOpenAI, mark: dict[str, str]) -> None:
    """As the SDK's error for it, with the field; nothing was started, and nothing is retried."""
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="none", messages=script(), stream=True)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model="sim", messages=script(), n=2, metadata=mark)
    assert refused.value.param == "n"
    assert await streams_of(client, mark) == []


async def test_an_answer_that_fails_is_raised_in_the_stream(client: AsyncOpenAI) -> None:
    """After what was told before; also where nothing was."""
    for fault in ({"fail_at": 3, "fault": "cut"}, {"fail_at": 0, "fault": "refused"}):
        stream = await client.chat.completions.create(
            model="sim", messages=script(tokens=9, **fault), stream=True, extra_body={"on_interruption": "fail"}
        )
        chunks: list[ChatCompletionChunk] = []
        with pytest.raises(openai.APIError) as failed:
            await gather(stream, chunks)
        assert failed.value.message
        assert failed.value.code in ("interrupted", "provider_error")
        assert words(3).startswith(text_of(chunks))


async def test_an_answer_that_fails_for_good_is_not_asked_for_again(client: AsyncOpenAI, mark: dict[str, str]) -> None:
    """The SDK would retry a 502; the header says that it does not help."""
    with pytest.raises(openai.InternalServerError) as failed:
        await client.chat.completions.create(model="sim", messages=script(fail_at=0, fault="refused"), metadata=mark)
    assert failed.value.status_code == 502
    assert len(await streams_of(client, mark)) == 1


async def test_a_key_attaches_and_another_request_under_it_is_refused(client: AsyncOpenAI) -> None:
    """409, which the SDK would retry, too."""
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first = await client.chat.completions.create(model="sim", messages=script(tokens=3), extra_headers=headers)
    again = await client.chat.completions.create(model="sim", messages=script(tokens=3), extra_headers=headers)
    assert first == again
    with pytest.raises(openai.ConflictError) as conflict:
        await client.chat.completions.create(model="sim", messages=script(tokens=4), extra_headers=headers)
    assert conflict.value.response.request.headers["x-stainless-retry-count"] == "0"


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_the_retry_of_an_answer_that_never_came_finds_it(
    relay: Service, mark: dict[str, str], *, stream: bool
) -> None:
    """One provider call, whatever was cut; the SDK sends no key and nobody but the SDK has done anything."""
    async with Cutter(relay.url, 0) as wire, client_of(wire.url) as client:
        answer: Any = await client.chat.completions.create(
            model="sim", messages=script(tokens=5), metadata=mark, stream=stream
        )
        text = text_of([chunk async for chunk in answer]) if stream else answer.choices[0].message.content
        assert text == words(5)
        assert wire.connections == 2
        (state,) = await streams_of(client, mark)
        assert state["attempts"] == 1


async def test_a_request_sent_again_by_somebody_is_another_answer(client: AsyncOpenAI, mark: dict[str, str]) -> None:
    """Only the SDK's own retry says that it is one."""
    for _ in range(2):
        await client.chat.completions.create(model="sim", messages=script(tokens=1), metadata=mark)
    assert len(await streams_of(client, mark)) == 2


async def test_a_cancel_ends_the_stream_of_every_reader(client: AsyncOpenAI) -> None:
    """With a reason that says it is not whole."""
    stream = await client.chat.completions.create(
        model="sim", messages=script(tokens=5000, per_second=100), stream=True
    )
    chunks = []
    async for chunk in stream:
        chunks.append(chunk)
        if len(chunks) == 5:
            await client.post(f"/streams/{stream.response.headers['x-stream-id']}/cancel", cast_to=httpx2.Response)
    assert chunks[-1].choices[0].finish_reason == "length"
    assert text_of(chunks)


class Reader:
    """Reads chunks by the SDK's public means, and knows its place, as ``docs/clients.md`` has it."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.place = ""
        self.chunks: list[ChatCompletionChunk] = []

    async def read(self, response: Any) -> None:
        """Take in what comes until the end of ``response``."""
        async for line in response.iter_lines():
            if line.startswith("id: "):
                self.place = line[4:]
            elif line.startswith("data: {"):
                self.chunks.append(ChatCompletionChunk.model_validate_json(line[6:]))


async def resumed(client: AsyncOpenAI, url: str, place: str) -> AsyncStream[ChatCompletionChunk]:
    """Return the rest of a stream, as the SDK's own kind of stream."""
    return await client.get(
        url,
        cast_to=ChatCompletionChunk,
        stream=True,
        stream_cls=AsyncStream[ChatCompletionChunk],
        options={"params": {"format": "openai-chat"}, "headers": {"Last-Event-ID": place}},
    )


async def test_a_stream_that_was_cut_goes_on_where_it_was(relay: Service) -> None:
    """By the ``Location`` of the answer and the id of the last chunk: no chunk is missing, none comes twice."""
    reader = Reader()
    async with Cutter(relay.url, 6000) as wire, client_of(wire.url) as client:
        asked: Any = {"model": "sim", "messages": script(tokens=60, per_second=200), "stream": True}
        async with client.chat.completions.with_streaming_response.create(**asked) as response:
            url = str(client.base_url.join(response.headers["location"] + "/events"))
            with pytest.raises(httpx2.HTTPError):
                await reader.read(response)
        assert 0 < len(text_of(reader.chunks)) < len(words(60))
        reader.chunks += [chunk async for chunk in await resumed(client, url, reader.place)]
        assert text_of(reader.chunks) == words(60)
        assert [chunk.choices[0].finish_reason for chunk in reader.chunks].count(None) == len(reader.chunks) - 1


async def test_a_relay_that_leaves_cuts_and_another_goes_on(
    relay_process: StartService, worker_process: StartService
) -> None:
    """A clean end would be taken for the answer's. Heartbeats, also after chunks with ids, are nothing to the SDK."""
    settings = {"TAILRACE_SIM": "true", "TAILRACE_HEARTBEAT_S": "0.1", "TAILRACE_RELAY_DRAIN_S": "0.5"}
    first, second = relay_process(**settings), relay_process(**settings)
    worker = worker_process(**settings)
    for service in (first, second, worker):
        await service.ready()
    chunks: list[ChatCompletionChunk] = []
    async with client_of(first.url) as client, client_of(second.url) as other:
        stream = await client.chat.completions.create(
            model="sim", messages=script(tokens=40, per_second=20, first_token_ms=500), stream=True
        )
        while not text_of(chunks):
            chunks.append(await anext(stream))
        first.terminate()
        with pytest.raises(openai.APIConnectionError):
            await gather(stream, chunks)
        url = str(other.base_url.join(stream.response.headers["location"] + "/events"))
        again = [chunk async for chunk in await resumed(other, url, "")]
        assert again[: len(chunks)] == chunks
        assert text_of(again) == words(40)
    await eventually(lambda: not first.running, 10)


async def test_a_worker_that_dies_is_not_noticed(relay_process: StartService, worker_process: StartService) -> None:
    """Another one goes on with the answer, and the SDK reads one stream."""
    relay = relay_process(TAILRACE_SIM="true")
    workers = [worker_process(TAILRACE_SIM="true") for _ in range(2)]
    for service in (relay, *workers):
        await service.ready()
    chunks: list[ChatCompletionChunk] = []
    async with client_of(relay.url) as client:
        stream = await client.chat.completions.create(
            model="sim", messages=script(tokens=60, per_second=40), stream=True
        )
        while len(text_of(chunks)) < 20:
            chunks.append(await anext(stream))
        next(one for one in workers if one.events()[-1]["event"] == "attempt.started").kill()
        await gather(stream, chunks)
    assert text_of(chunks) == words(60)


async def test_the_models_are_listed(client: AsyncOpenAI) -> None:
    """And each can be asked for."""
    models = [model async for model in client.models.list()]
    assert [model.id for model in models] == ["sim"]
    assert (await client.models.retrieve("sim")).owned_by == "sim"
