"""The ``anthropic`` SDK for Python as it comes from PyPI, unpatched, against real relays and workers."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic, AsyncStream
from anthropic._streaming import ServerSentEvent
from anthropic.types import Message, MessageParam, RawMessageStreamEvent

from tests.conftest import StartService
from tests.e2e.wire import Wire
from tests.messages_script import Script
from tests.messages_server import MessagesServer
from tests.support import eventually
from tests.support_services import Service

CUT = (httpx2.TransportError, anthropic.APIConnectionError)
"""What the SDK raises where a stream is cut off."""
LONG = {"tokens": 60, "per_second": 60}


def script(**fields: Any) -> list[MessageParam]:
    """Return the messages that have the simulated model answer by this script."""
    return [{"role": "user", "content": json.dumps(fields)}]


def text_of(message: Message) -> str:
    """Return all text of a message."""
    return "".join(block.text for block in message.content if block.type == "text")


def words(count: int) -> str:
    """Return the text that the simulated model says in so many tokens."""
    return " ".join(f"w{number}" for number in range(count))


def connect(url: str, **options: Any) -> AsyncAnthropic:
    """Return the SDK's client of a relay, with its usual retries."""
    return AsyncAnthropic(base_url=url, api_key="any", **options)


def port_of(relay: Service) -> int:
    """Return the port a relay listens on."""
    return int(relay.url.rsplit(":", 1)[1])


async def follow(client: AsyncAnthropic, message_id: str, after: str = "") -> list[RawMessageStreamEvent]:
    """Return what comes of a message's events after the one with that id."""
    stream = await client.get(
        f"/v1/messages/{message_id}/events",
        cast_to=Message,
        options={"headers": {"Last-Event-ID": after} if after else {}},
        stream=True,
        stream_cls=AsyncStream[RawMessageStreamEvent],
    )
    return [event async for event in stream]


async def running(client: AsyncAnthropic, count: int) -> bool:
    """Tell whether so many streams run."""
    listed: Any = await client.get("/v1/streams?status=running", cast_to=object)
    return len(listed["streams"]) == count


@pytest.fixture
async def client(relay: Service) -> AsyncIterator[AsyncAnthropic]:
    """Give a client of the relay that all tests share."""
    async with connect(relay.url) as opened:
        yield opened


async def test_a_whole_answer_is_a_message(client: AsyncAnthropic) -> None:
    """``messages.create``, as every program begins."""
    messages: list[MessageParam] = [*script(tokens=3), {"role": "system", "content": "Be brief."}]
    message = await client.messages.create(model="sim", max_tokens=100, messages=messages)
    assert message.id.startswith("msg_")
    assert message.model == "sim"
    assert [block.type for block in message.content] == ["text"]
    assert text_of(message) == words(3)
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == 3
    assert message._request_id == f"req_{message.id.removeprefix('msg_')}"


async def test_the_beta_resource_and_the_blocking_client_are_served_alike(relay: Service) -> None:
    """The same wire; the features in beta are Claude's own, and no other model knows them."""

    def ask() -> tuple[str | None, str | None]:
        with Anthropic(base_url=relay.url, api_key="any") as client:
            wanted: dict[str, Any] = {"model": "sim", "max_tokens": 100, "messages": script(tokens=3)}
            message = client.beta.messages.create(**wanted, betas=["one-2026-01-01"])
            with client.messages.stream(**wanted) as stream:
                return message.stop_reason, stream.get_final_message().stop_reason

    assert await asyncio.to_thread(ask) == ("end_turn", "end_turn")


async def test_a_streamed_answer_adds_up_to_the_message(client: AsyncAnthropic) -> None:
    """``messages.stream`` with its helpers, and the raw events of ``messages.create``; the same message for both."""
    wanted: dict[str, Any] = {"model": "sim", "max_tokens": 20, "messages": script(tokens=30)}
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    async with client.messages.stream(**wanted, extra_headers=headers) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        message = await stream.get_final_message()
    assert text == text_of(message) == words(20)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 20
    events = [event async for event in await client.messages.create(**wanted, stream=True, extra_headers=headers)]
    assert [events[0].type, events[-2].type, events[-1].type] == ["message_start", "message_delta", "message_stop"]
    assert events[0].type == "message_start"
    assert events[0].message.id == message.id


async def test_thinking_and_tools_come_as_blocks(client: AsyncAnthropic) -> None:
    """With the signature and the parsed arguments, streamed and whole."""
    tools = [{"name": "look_up", "input": {"river": "Mur", "at": [1, 2.5]}}, {"name": "nothing", "input": {}}]
    wanted: dict[str, Any] = {
        "model": "sim",
        "max_tokens": 1000,
        "messages": script(tokens=2, thinking=3, tools=tools, seed=0),
        "thinking": {"type": "enabled", "budget_tokens": 500},
        "tools": [{"name": tool["name"], "input_schema": {"type": "object"}} for tool in tools],
        "extra_headers": {"Idempotency-Key": str(uuid.uuid4())},
    }
    async with client.messages.stream(**wanted) as stream:
        streamed = await stream.get_final_message()
    for message in (streamed, await client.messages.create(**wanted)):
        blocks: list[Any] = [*message.content]
        thinking, text, first, second = blocks
        assert thinking.type == "thinking"
        assert thinking.thinking == "t0 t1 t2 "
        assert thinking.signature == "sim-signature-0"
        assert text.type == "text"
        assert first.type == second.type == "tool_use"
        assert (first.name, first.input, second.input) == ("look_up", tools[0]["input"], {})
        assert first.id != second.id
        assert message.stop_reason == "tool_use"


async def test_what_cannot_be_done_is_an_error_of_the_sdk_s(client: AsyncAnthropic) -> None:
    """Before anything is started; and none that it would retry for ever."""
    wanted: dict[str, Any] = {"model": "sim", "max_tokens": 100, "messages": script(tokens=1)}
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await client.messages.create(**wanted | {"model": "none"})
    assert unknown.value.type == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="top_k") as refused:
        await client.messages.create(**wanted, extra_body={"top_k": 5})
    assert refused.value.error_code == "invalid_request"
    key = {"Idempotency-Key": str(uuid.uuid4())}
    await client.messages.create(**wanted, extra_headers=key)
    with pytest.raises(anthropic.ConflictError) as conflict:
        await client.messages.create(**wanted | {"max_tokens": 99}, extra_headers=key)
    assert conflict.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(anthropic.NotFoundError, match="counts no tokens"):
        await client.messages.count_tokens(model="sim", messages=wanted["messages"])


async def test_the_models_are_listed(client: AsyncAnthropic) -> None:
    """As the SDK pages through them, and one by one."""
    assert [model.id async for model in await client.models.list()] == ["sim"]
    assert (await client.models.retrieve("sim")).type == "model"
    with pytest.raises(anthropic.NotFoundError) as caught:
        await client.models.retrieve("none")
    assert caught.value.type == "not_found_error"


async def test_an_answer_that_takes_too_long_goes_on_and_is_found_again(
    relay_process: StartService, worker_process: StartService
) -> None:
    """The SDK waits again, by itself, for the same stream."""
    settings = {"TAILRACE_SIM": "true", "TAILRACE_WAIT_MAX_S": "0.5"}
    services = [relay_process(**settings), worker_process(**settings)]
    for service in services:
        await service.ready()
    async with connect(services[0].url) as client:
        wanted: dict[str, Any] = {"model": "sim", "max_tokens": 100, "messages": script(tokens=50, per_second=40)}
        assert text_of(await client.messages.create(**wanted)) == words(50)
        listed: Any = await client.get("/v1/streams", cast_to=object)
        assert len(listed["streams"]) == 1
        with pytest.raises(anthropic.OverloadedError) as given_up:
            await client.with_options(max_retries=0).messages.create(**wanted | {"max_tokens": 99})
        assert given_up.value.request_id is not None
        message_id = given_up.value.request_id.removeprefix("req_")
        assert (await follow(client, message_id))[-1].type == "message_stop"


async def test_a_failed_answer_is_an_error_streamed_or_not(client: AsyncAnthropic) -> None:
    """Of the provider's kind; what came of it before is kept."""
    refused: dict[str, Any] = {"model": "sim", "max_tokens": 100, "messages": script(fail_at=0, fault="refused")}
    with pytest.raises(anthropic.BadRequestError) as whole:
        await client.messages.create(**refused)
    with pytest.raises(anthropic.APIStatusError) as at_once:
        async with client.messages.stream(**refused) as stream:
            await stream.get_final_message()
    assert whole.value.type == at_once.value.type == "invalid_request_error"
    broken = refused | {"messages": script(tokens=9, fail_at=5, fault="cut"), "extra_body": {"on_interruption": "fail"}}
    with pytest.raises(anthropic.APIStatusError) as later:
        async with client.messages.stream(**broken) as stream:
            await stream.get_final_message()
    assert later.value.type == "api_error"
    assert later.value.error_code == "interrupted"
    assert text_of(stream.current_message_snapshot) == words(5)


async def test_a_cancelled_answer_ends_as_a_message_with_what_there_is(client: AsyncAnthropic) -> None:
    """For whoever reads it."""
    wanted: dict[str, Any] = {"model": "sim", "max_tokens": 5000, "messages": script(tokens=5000, per_second=100)}
    async with client.messages.stream(**wanted) as stream:
        text = aiter(stream.text_stream)
        await anext(text)
        stream_id = stream.response.headers["x-stream-id"]
        state: Any = await client.post(f"/v1/streams/{stream_id}/cancel", cast_to=object)
        message = await stream.get_final_message()
    assert state["status"] == "cancelled"
    assert str(message.stop_reason) == "cancelled"
    assert text_of(message) == state["text"]


async def test_a_cut_answer_is_resumed_by_its_key_or_by_its_id(relay: Service) -> None:
    """The same call with the same key begins the same message anew; its id and the last event's give just the rest."""
    async with Wire(port_of(relay)) as wire, connect(f"http://127.0.0.1:{wire.port}") as client:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        wanted: dict[str, Any] = {"model": "sim", "max_tokens": 100, "messages": script(**LONG)}
        wanted["extra_headers"] = headers
        had: list[ServerSentEvent] = []

        async def read_until_cut() -> None:
            async with client.messages.with_streaming_response.create(**wanted, stream=True) as response:
                async for event in AsyncStream.raw_events(response.http_response):
                    had.append(event)
                    if len(had) == 10:
                        wire.cut()

        with pytest.raises(CUT):
            await read_until_cut()
        message_id, last_id = json.loads(had[0].data)["message"]["id"], str(had[-1].id)
        rest = await follow(client, message_id, last_id)
        async with client.messages.stream(**wanted) as stream:
            events = [event async for event in stream if event.type != "text"]
            message = await stream.get_final_message()
        assert text_of(message) == words(60)
        assert message.id == message_id
        assert [event.type for event in events] == [event.event for event in had] + [event.type for event in rest]
        assert len(await follow(client, message_id)) == len(events)
        assert await follow(client, message_id.removeprefix("msg_"), last_id) == rest
        with pytest.raises(anthropic.NotFoundError):
            await follow(client, "msg_none")


async def test_a_relay_that_is_drained_cuts_streams_and_hands_over_whole_answers(
    relay_process: StartService, worker_process: StartService
) -> None:
    """A clean end would look like the answer's; and the SDK itself repeats a request that waited for the whole."""
    settings = {"TAILRACE_SIM": "true", "TAILRACE_RELAY_DRAIN_S": "0.2"}
    first, second, worker = relay_process(**settings), relay_process(**settings), worker_process(**settings)
    for service in (first, second, worker):
        await service.ready()
    async with Wire(port_of(first)) as wire, connect(f"http://127.0.0.1:{wire.port}") as client:
        wanted: dict[str, Any] = {"model": "sim", "max_tokens": 200, "messages": script(tokens=120, per_second=60)}
        async with client.messages.stream(**wanted) as stream:
            text = aiter(stream.text_stream)
            await anext(text)
            whole = asyncio.create_task(client.messages.create(**wanted))
            await eventually(lambda: running(client, 2))
            wire.lead_to(port_of(second))
            first.terminate()
            with pytest.raises(CUT):
                await stream.get_final_message()
        assert await first.ended() == 0
        events = await follow(client, stream.current_message_snapshot.id)
        assert events[-1].type == "message_stop"
        assert text_of(await whole) == words(120)


async def test_a_worker_that_dies_is_not_noticed(relay_process: StartService, worker_process: StartService) -> None:
    """Another one goes on within the same block of the same message."""
    settings = {"TAILRACE_SIM": "true"}
    service, workers = relay_process(**settings), [worker_process(**settings) for _ in range(2)]
    for one in (service, *workers):
        await one.ready()
    async with connect(service.url) as client:
        wanted: dict[str, Any] = {"model": "sim", "max_tokens": 100, "messages": script(**LONG)}
        async with client.messages.stream(**wanted) as stream:
            await anext(aiter(stream.text_stream))
            owners = await eventually(lambda: [one for one in workers if "attempt.started" in str(one.events())])
            owners[0].kill()
            message = await stream.get_final_message()
    assert [block.type for block in message.content] == ["text"]
    assert text_of(message) == words(60)
    assert message.stop_reason == "end_turn"


async def test_claude_s_own_blocks_come_through_as_they_are(
    relay_process: StartService, worker_process: StartService
) -> None:
    """Server tools, thinking, events that nobody knows, and what a refusal says of itself."""
    found = {"type": "web_search_result", "url": "u", "title": "t", "encrypted_content": "e=", "page_age": None}
    result = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [found]}
    refusal = {"type": "refusal", "category": "cyber", "explanation": "no"}
    async with MessagesServer() as upstream:
        models = {"claude": {"provider": "anthropic", "base_url": upstream.base_url}}
        settings = {"ANTHROPIC_API_KEY": "test", "TAILRACE_MODELS": json.dumps(models)}
        upstream.say(
            Script(
                tokens=3,
                thinking=2,
                blocks=[result],
                frames=[("strange", {"type": "strange", "x": 1})],
                stop_reason="refusal",
                stop_details=refusal,
            )
        )
        service, worker = relay_process(**settings), worker_process(**settings)
        await service.ready()
        await worker.ready()
        async with connect(service.url) as client:
            messages: list[MessageParam] = [{"role": "system", "content": "Be brief."}, *script()]
            wanted: dict[str, Any] = {"model": "claude", "max_tokens": 100, "messages": messages}
            wanted["extra_headers"] = {"Idempotency-Key": "k", "anthropic-beta": "one"}
            wanted["extra_body"] = {"top_k": 5, "metadata": {"user_id": "u"}}
            async with client.messages.stream(**wanted) as stream:
                names = {event.type async for event in stream}
                streamed = await stream.get_final_message()
            whole = await client.messages.create(**wanted)
    assert "strange" in names
    assert streamed.to_dict() == whole.to_dict()
    assert result in [block.to_dict() for block in whole.content]
    assert whole.stop_reason == "refusal"
    assert whole.stop_details is not None
    assert whole.stop_details.to_dict() == refusal
    assert whole.usage.input_tokens == streamed.usage.input_tokens > 0
    (call,) = upstream.calls
    assert call.body["messages"] == messages
    assert call.body.items() >= {"top_k": 5, "metadata": {"user_id": "u"}}.items()
    assert call.headers["anthropic-beta"] == "one"
