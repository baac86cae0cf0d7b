"""The `openai` SDK for Python as it comes from PyPI, on the Responses API: nothing of it is patched."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, AsyncStream
from openai.types.responses import FunctionToolParam, Response, ResponseStreamEvent

from tests.clients.cutter import Cutter
from tests.conftest import StartService
from tests.support import eventually
from tests.support_services import Service

TOOLS: list[FunctionToolParam] = [
    {
        "type": "function",
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": True,
    },
    {"type": "function", "name": "now", "parameters": None, "strict": None},
]
CALLS = [{"name": "weather", "input": {"city": "Graz"}}, {"name": "now"}]


def script(**fields: Any) -> str:
    """Return the input that has the simulated model answer by this script."""
    return json.dumps(fields)


def words(count: int) -> str:
    """Return the text that the simulated model says in so many tokens."""
    return " ".join(f"w{index}" for index in range(count))


def text_of(events: list[ResponseStreamEvent]) -> str:
    """Return what events say."""
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def numbers_of(events: list[ResponseStreamEvent]) -> list[int]:
    """Return the events' sequence numbers."""
    return [event.sequence_number for event in events if event.type != "error"]


async def gather(stream: AsyncStream[ResponseStreamEvent], events: list[ResponseStreamEvent]) -> None:
    """Read a stream to its end; what came before an error counts too."""
    async for event in stream:
        events.append(event)  # noqa: PERF401


def client_of(url: str, **options: Any) -> AsyncOpenAI:
    """Return the SDK's client, pointed at a relay by its base URL alone."""
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="any", timeout=20, **options)


def last(events: list[ResponseStreamEvent]) -> Response:
    """Return the response at a stream's end."""
    event = events[-1]
    assert event.type in ("response.completed", "response.failed", "response.incomplete")
    return event.response


@pytest.fixture
async def client(relay: Service) -> AsyncIterator[AsyncOpenAI]:
    """Give the SDK's client of the relay that all tests share."""
    async with client_of(relay.url) as client:
        yield client


async def test_a_plain_answer(client: AsyncOpenAI) -> None:
    """Whole, with what was asked and what it took; and again by its id."""
    answer = await client.responses.create(
        model="sim", input=script(tokens=5, thinking=2), instructions="Be brief.", metadata={"k": "v"}, temperature=0.5
    )
    assert (answer.status, answer.output_text) == ("completed", words(5))
    assert (answer.instructions, answer.metadata, answer.temperature) == ("Be brief.", {"k": "v"}, 0.5)
    thought, message = answer.output
    assert thought.type == "reasoning"
    assert thought.summary[0].text == "t0 t1 "
    assert message.type == "message"
    assert answer.usage is not None
    assert answer.usage.output_tokens == 7
    assert await client.responses.retrieve(answer.id) == answer


async def test_a_streamed_answer(client: AsyncOpenAI) -> None:
    """Event by event under contiguous numbers; its end is the response as it can be had later."""
    stream = await client.responses.create(model="sim", input=script(tokens=5, thinking=2), stream=True)
    events = [event async for event in stream]
    assert numbers_of(events) == list(range(len(events)))
    assert text_of(events) == words(5)
    assert last(events) == await client.responses.retrieve(last(events).id)


async def test_the_helper_adds_the_answer_up_and_resumes_it(client: AsyncOpenAI) -> None:
    """By its own means: a response's id, and the number of the last event it had."""
    async with client.responses.stream(model="sim", input=script(tokens=5, thinking=2)) as stream:
        events = [event async for event in stream]
        whole = await stream.get_final_response()
    assert whole.output_text == words(5)
    async with client.responses.stream(response_id=whole.id, starting_after=8) as stream:
        rest = [event async for event in stream]
        again = await stream.get_final_response()
    assert [event.sequence_number for event in rest] == [event.sequence_number for event in events][9:]
    assert again.output == whole.output


async def test_every_number_is_a_place_to_resume_from(client: AsyncOpenAI) -> None:
    """Nothing is missing, nothing comes twice; without a number, all of it."""
    stream = await client.responses.create(model="sim", input=script(tokens=3, thinking=1), stream=True)
    events = [event async for event in stream]
    response_id = last(events).id
    for number in range(len(events)):
        rest = await client.responses.retrieve(response_id, stream=True, starting_after=number)
        assert [event async for event in rest] == events[number + 1 :]
    assert [event async for event in await client.responses.retrieve(response_id, stream=True)] == events


async def test_a_stream_that_was_cut_goes_on_where_it_was(relay: Service) -> None:
    """In the background or not: leaving is not cancelling."""
    for background in (False, True):
        events: list[ResponseStreamEvent] = []
        async with Cutter(relay.url, 6000) as wire, client_of(wire.url) as client:
            stream = await client.responses.create(
                model="sim", input=script(tokens=60, per_second=200), stream=True, background=background
            )
            with pytest.raises(openai.APIConnectionError):
                await gather(stream, events)
            assert 0 < len(text_of(events)) < len(words(60))
            (created, *_) = events
            assert created.type == "response.created"
            rest = await client.responses.retrieve(
                created.response.id, stream=True, starting_after=events[-1].sequence_number
            )
            await gather(rest, events)
        assert text_of(events) == words(60)
        assert numbers_of(events) == list(range(len(events)))


async def test_a_background_response_is_polled_to_its_end(client: AsyncOpenAI) -> None:
    """It is answered at once, and goes on with nobody there."""
    response = await client.responses.create(
        model="sim", input=script(tokens=40, per_second=40), background=True, instructions="Be brief."
    )
    assert response.status in ("queued", "in_progress")
    assert response.background

    async def done() -> Response | None:
        found = await client.responses.retrieve(response.id)
        return found if found.status == "completed" else None

    found = await eventually(done)
    assert found is not None
    assert (found.output_text, found.instructions) == (words(40), "Be brief.")


async def test_a_cancel_ends_the_response_of_every_reader(client: AsyncOpenAI) -> None:
    """Its last event says so by its status, and cancelling it again changes nothing."""
    stream = await client.responses.create(model="sim", input=script(tokens=5000, per_second=100), stream=True)
    events: list[ResponseStreamEvent] = []
    while not text_of(events):
        events.append(await anext(stream))
    created = events[0]
    assert created.type == "response.created"
    cancelled = await client.responses.cancel(created.response.id)
    await gather(stream, events)
    assert events[-1].type == "response.incomplete"
    assert (cancelled.status, last(events).status) == ("cancelled", "cancelled")
    assert await client.responses.cancel(created.response.id) == cancelled == last(events)
    assert text_of(events) == cancelled.output_text


async def test_tools_are_called_and_answered(client: AsyncOpenAI) -> None:
    """By sending the output back, by naming its items, as the AI SDK does, or by naming the response."""
    asked = script(tokens=2, tools=CALLS)
    async with client.responses.stream(model="sim", input=asked, tools=TOOLS) as stream:
        async for _event in stream:
            pass
        streamed = await stream.get_final_response()
    whole = await client.responses.create(model="sim", input=asked, tools=TOOLS)
    calls = [item for item in whole.output if item.type == "function_call"]
    assert [(call.call_id, call.name, call.arguments) for call in calls] == [
        ("sim_tool_0", "weather", '{"city":"Graz"}'),
        ("sim_tool_1", "now", "{}"),
    ]
    parsed = [item.parsed_arguments for item in streamed.output if item.type == "function_call"]
    assert parsed == [{"city": "Graz"}, None]
    results: list[Any] = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls
    ]
    turn = [*results, {"role": "user", "content": script(tokens=1)}]
    sent: list[Any] = [{"role": "user", "content": asked}, *[item.to_dict() for item in whole.output], *turn]
    by_output = await client.responses.create(model="sim", input=sent, tools=TOOLS)
    by_id = await client.responses.create(model="sim", input=turn, tools=TOOLS, previous_response_id=whole.id)
    named: list[Any] = [{"type": "item_reference", "id": item.id} for item in whole.output]
    by_items = await client.responses.create(model="sim", input=[sent[0], *named, *turn], tools=TOOLS)
    assert by_output.output_text == by_id.output_text == by_items.output_text == words(1)
    assert by_output.usage == by_id.usage == by_items.usage


async def test_responses_are_a_chain(client: AsyncOpenAI) -> None:
    """Each goes on from all before it; its input can be listed, page by page."""
    first = await client.responses.create(model="sim", input=script(tokens=3), instructions="Be brief.")
    second = await client.responses.create(model="sim", input=script(tokens=4), previous_response_id=first.id)
    third = await client.responses.create(model="sim", input=script(tokens=5), previous_response_id=second.id)
    assert (third.previous_response_id, third.instructions) == (second.id, None)
    assert third.output_text == words(5)
    pages = client.responses.input_items.list(third.id, order="asc", limit=2)
    said: list[Any] = [item.to_dict() async for item in pages]
    assert [item["role"] for item in said] == ["user", "assistant", "user", "assistant", "user"]
    texts = [item["content"][0]["text"] for item in said]
    assert texts == [script(tokens=3), words(3), script(tokens=4), words(4), script(tokens=5)]
    newest = [item.id async for item in client.responses.input_items.list(third.id)]
    assert newest == [item["id"] for item in said][::-1]


async def test_what_is_not_stored_is_not_gone_on_from(client: AsyncOpenAI) -> None:
    """Nor is what is unknown, still being made, or another's; the error names the field."""
    hidden = await client.responses.create(model="sim", input=script(tokens=1), store=False)
    running = await client.responses.create(model="sim", input=script(per_second=1), background=True)
    for previous in (hidden.id, running.id, "resp_" + "a" * 26, "nonsense"):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="sim", input=script(), previous_response_id=previous)
        assert refused.value.param == "previous_response_id"
    assert (await client.responses.retrieve(hidden.id)).output_text == words(1)
    with pytest.raises(openai.NotFoundError):
        await client.responses.input_items.list(hidden.id)
    await client.responses.cancel(running.id)


async def test_a_deleted_response_is_gone(client: AsyncOpenAI) -> None:
    """With all that was kept of it."""
    answer = await client.responses.create(model="sim", input=script(tokens=1))
    await client.responses.delete(answer.id)
    with pytest.raises(openai.APIStatusError) as gone:
        await client.responses.retrieve(answer.id)
    assert gone.value.status_code == 410
    with pytest.raises(openai.BadRequestError):
        await client.responses.create(model="sim", input=script(), previous_response_id=answer.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve("resp_" + "a" * 26)


async def test_a_refusal_before_the_answer_is_raised_at_once(client: AsyncOpenAI) -> None:
    """As the SDK's error for it, with the field."""
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.responses.create(model="none", input=script(), stream=True)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="sim", input=script(), tools=[{"type": "web_search"}])
    assert (refused.value.param or "").startswith("tools.0")


async def test_an_answer_that_fails_says_so(client: AsyncOpenAI) -> None:
    """In a stream by its last event, in the background by its status, and otherwise as an error."""
    asked = script(tokens=9, fail_at=0, fault="refused")
    events = [event async for event in await client.responses.create(model="sim", input=asked, stream=True)]
    assert events[-1].type == "response.failed"
    error = last(events).error
    assert error is not None
    assert error.code == "server_error"
    assert error.message
    found = await client.responses.retrieve(last(events).id)
    assert (found.status, found.error) == ("failed", error)
    with pytest.raises(openai.InternalServerError):
        await client.responses.create(model="sim", input=asked)


async def test_an_answer_that_starts_over_is_read_anew(client: AsyncOpenAI) -> None:
    """Its reader is told that what it has is void; whoever reads from the start then gets the answer alone."""
    stream = await client.responses.create(
        model="sim",
        input=script(tokens=9, fail_at=5, per_second=20, first_token_ms=300),
        stream=True,
        extra_body={"on_interruption": "restart"},
    )
    events = [event async for event in stream]
    assert events[-1].type == "error"
    assert events[-1].code == "discarded"
    assert events[0].type == "response.created"
    again = [event async for event in await client.responses.retrieve(events[0].response.id, stream=True)]
    assert text_of(again) == words(9) == last(again).output_text
    assert numbers_of(again) == sorted(set(numbers_of(again)))
    rest = await client.responses.retrieve(
        events[0].response.id, stream=True, starting_after=numbers_of(again)[len(again) // 2]
    )
    assert [event async for event in rest] == again[len(again) // 2 + 1 :]


async def test_a_limit_makes_an_answer_incomplete(client: AsyncOpenAI) -> None:
    """What was said of it stays."""
    answer = await client.responses.create(model="sim", input=script(tokens=9), max_output_tokens=3)
    assert (answer.status, answer.output_text) == ("incomplete", words(3))
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


async def test_the_retry_of_an_answer_that_never_came_finds_it(relay: Service) -> None:
    """The SDK sends no key and nobody but the SDK has done anything."""
    mark = uuid.uuid4().hex
    async with Cutter(relay.url, 0) as wire, client_of(wire.url) as client:
        answer = await client.responses.create(model="sim", input=script(tokens=5), metadata={"test": mark})
        assert answer.output_text == words(5)
        assert wire.connections == 2
        url = str(client.base_url.join(f"/v1/streams?metadata.test={mark}"))
        listed = await client.get(url, cast_to=httpx2.Response)
        assert len(listed.json()["streams"]) == 1


async def test_a_relay_that_leaves_cuts_and_another_goes_on(
    relay_process: StartService, worker_process: StartService
) -> None:
    """From the number of the last event: the same response, under the same numbers."""
    settings = {"TAILRACE_SIM": "true", "TAILRACE_HEARTBEAT_S": "0.1", "TAILRACE_RELAY_DRAIN_S": "0.5"}
    first, second = relay_process(**settings), relay_process(**settings)
    worker = worker_process(**settings)
    for service in (first, second, worker):
        await service.ready()
    events: list[ResponseStreamEvent] = []
    async with client_of(first.url) as client, client_of(second.url) as other:
        stream = await client.responses.create(
            model="sim", input=script(tokens=40, per_second=20, first_token_ms=300), stream=True
        )
        while not text_of(events):
            events.append(await anext(stream))
        first.terminate()
        with pytest.raises(openai.APIConnectionError):
            await gather(stream, events)
        created = events[0]
        assert created.type == "response.created"
        rest = await other.responses.retrieve(
            created.response.id, stream=True, starting_after=events[-1].sequence_number
        )
        await gather(rest, events)
    assert text_of(events) == words(40)
    assert numbers_of(events) == list(range(len(events)))
    assert last(events).status == "completed"
    await eventually(lambda: not first.running, 10)


async def test_a_stream_of_another_dialect_can_be_had_as_a_response(client: AsyncOpenAI) -> None:
    """Whatever it was started with: whole, and as events."""
    request = {"model": "sim", "messages": [{"role": "user", "content": script(tokens=4)}]}
    started = await client.post("/streams?wait=10", body=request, cast_to=httpx2.Response)
    response_id = f"resp_{started.json()['id']}"
    assert (await client.responses.retrieve(response_id)).output_text == words(4)
    events = [event async for event in await client.responses.retrieve(response_id, stream=True)]
    assert text_of(events) == words(4)
