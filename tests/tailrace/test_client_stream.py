"""An answer as it is read: with a plain ``async for``, in pieces, from anywhere."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from tailrace import Client, EndEvent, UnknownEvent
from tests.support import eventually
from tests.tailrace.far_relay import (
    PREAMBLE,
    STREAM_ID,
    FarRelay,
    answer,
    answer_events,
    cut,
    hang,
    plain,
    read,
)


async def test_a_stream_is_read_with_a_plain_async_for(client: Client, relay: FarRelay) -> None:
    """The shape the README shows: no ``async with``, no result object."""
    events = [event async for event in client.stream("Hi")]
    assert [plain(told) for told in events] == relay.events
    assert isinstance(events[-1], EndEvent)


async def test_an_entered_stream_knows_its_id_before_the_first_event(client: Client, relay: FarRelay) -> None:
    """So that it can be noted down, or cancelled, at once."""
    relay.replies.append(hang(len(PREAMBLE)))
    async with client.stream("Hi") as stream:
        assert stream.id == STREAM_ID
        assert stream.offset is None


async def test_the_result_is_the_whole_answer(client: Client) -> None:
    """Text, status and the end, folded from the events."""
    result = await client.ask("Hi")
    assert (result.text, result.status) == ("Hello, world", "completed")
    assert result.end is not None
    assert result.end.stop_reason == "end_turn"


async def test_a_reading_broken_off_goes_on_where_it_stopped(client: Client, relay: FarRelay) -> None:
    """Also by ``result``, which then still has the whole."""
    stream = client.stream("Hi")
    first = []
    async for event in stream:
        first.append(plain(event))
        if len(first) == 3:
            break
    rest = await read(stream)
    assert first + rest == relay.events
    assert (await stream.result()).text == "Hello, world"


async def test_a_result_is_whole_although_reading_began_in_the_middle(client: Client, relay: FarRelay) -> None:
    """What came before the offset is read again for it."""
    stream = client.follow(STREAM_ID, relay.log[3][0])
    assert await read(stream) == relay.events[4:]
    assert (await stream.result()).text == "Hello, world"


async def test_a_reader_who_has_the_end_is_told_nothing(client: Client, relay: FarRelay) -> None:
    """204 ends the reading; it is no error."""
    assert await read(client.follow(STREAM_ID, relay.log[-1][0])) == []


async def test_two_tasks_cannot_read_one_stream_object(client: Client, relay: FarRelay) -> None:
    """Each would get some of the events; the second is refused and the first one goes on."""
    relay.replies.append(hang(len(PREAMBLE)))
    stream = client.stream("Hi")
    reading = asyncio.create_task(read(stream))
    await eventually(lambda: stream.id)
    with pytest.raises(RuntimeError, match="another task is reading"):
        await read(stream)
    reading.cancel()
    await asyncio.wait((reading,))


async def test_a_reading_whose_turn_is_over_is_told_so(client: Client) -> None:
    """It must not look like the end of the answer."""
    stream = client.stream("Hi")
    older = aiter(stream)
    await anext(older)
    await read(stream)
    with pytest.raises(RuntimeError, match="this reading is over"):
        await anext(older)


async def test_only_what_comes_can_be_asked_for(client: Client, relay: FarRelay) -> None:
    """``now`` is settled once, so that a cut before the first event does not skip any."""
    whole = relay.log
    relay.log = whole[:4]

    async def lose_and_go_on(far: FarRelay, request: web.Request) -> web.StreamResponse:
        far.log = whole
        return await cut(0, "lose")(far, request)

    relay.replies.extend([answer(200, relay.state()), lose_and_go_on])
    assert await read(client.follow(STREAM_ID, "now")) == relay.events[4:]


async def test_events_of_a_newer_version_are_handed_on(client: Client, relay: FarRelay) -> None:
    """Neither lost nor an error."""
    events = answer_events("Hello")
    relay.tell([*events[:-1], {"type": "of_tomorrow", "x": 1}, events[-1]])
    got = [event async for event in client.stream("Hi")]
    assert isinstance(got[-2], UnknownEvent)
    assert len(got) == len(relay.log)
