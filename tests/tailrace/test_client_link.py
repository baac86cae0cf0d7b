"""The way to a stream: cut at any byte, silent, refused, lost and moved, and every event once and in order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import GoneError, NotFoundError
from tailrace import AnswerTimeoutError, Client, ConnectionLostError, Reconnect, ResetEvent, Timeouts
from tests.tailrace.far_relay import (
    OTHER_ID,
    PREAMBLE,
    QUICK,
    STREAM_ID,
    WHOLE,
    FarRelay,
    Reply,
    answer,
    answer_events,
    beat,
    cut,
    event,
    frame,
    hang,
    mute,
    offset,
    read,
    refuse,
)


@pytest.mark.parametrize("how", ["close", "lose", "reset"])
async def test_a_cut_after_any_byte_loses_and_repeats_nothing(client: Client, relay: FarRelay, how: str) -> None:
    """Every place in the body, the middle of an id or of a character included; closed, lost or reset."""
    relay.tell(answer_events("Hé", "llo\n"))
    for after_bytes in range(len(relay.body()) + 1):
        relay.asked.clear()
        relay.replies.append(cut(after_bytes, how))
        stream = client.stream("Hi")
        assert await read(stream) == relay.events, after_bytes
        assert relay.asked[0].method == "POST"
        assert all(asked.headers["Idempotency-Key"] == relay.asked[0].headers["Idempotency-Key"]
                   for asked in relay.asked if asked.method == "POST")  # fmt: skip


CUTS = st.lists(st.tuples(st.integers(0, 1500), st.sampled_from(["close", "lose", "reset"])), max_size=8)


@given(texts=st.lists(st.text(max_size=8), max_size=6), cuts=CUTS)
@settings(max_examples=60)
def test_any_answer_survives_any_series_of_cuts(texts: list[str], cuts: list[tuple[int, str]]) -> None:
    """Resumptions are cut as well, some before their first event."""

    async def check() -> None:
        async with FarRelay() as relay, Client(relay.url, timeouts=QUICK) as client:
            relay.tell(answer_events(*texts))
            relay.replies.extend(cut(after_bytes, how) for after_bytes, how in cuts)
            assert await read(client.stream("Hi")) == relay.events

    asyncio.run(check())


async def test_a_resumption_asks_for_what_follows_the_last_event(
    client: Client, relay: FarRelay, notes: list[Reconnect]
) -> None:
    """By ``Last-Event-ID``, after telling whoever wants to know."""
    two_events = len(PREAMBLE) + sum(len(frame(*entry)) for entry in relay.log[:2])
    relay.replies.append(cut(two_events + 5, "lose"))
    await read(client.stream("Hi"))
    start, resumption = relay.asked
    assert (start.method, resumption.method) == ("POST", "GET")
    assert resumption.path == f"/v1/streams/{STREAM_ID}/events"
    assert resumption.headers["Last-Event-ID"] == relay.log[1][0]
    assert [note.stream_id for note in notes] == [STREAM_ID]


async def test_events_sent_twice_are_given_out_once(client: Client, relay: FarRelay) -> None:
    """A relay that replays too much is corrected by the offsets."""

    async def replay_all(far: FarRelay, request: web.Request) -> web.StreamResponse:
        kept = far.log
        far.log = kept[:2] + kept[:3] + kept[1:]
        reply = await cut(WHOLE, replay=True)(far, request)
        far.log = kept
        return reply

    relay.replies.append(replay_all)
    assert await read(client.stream("Hi")) == relay.events


async def test_a_silent_connection_is_taken_for_dead(relay: FarRelay, notes: list[Reconnect]) -> None:
    """After ``idle_s`` without even a heartbeat the stream is resumed."""
    relay.replies.append(hang(len(PREAMBLE) + 200))
    async with Client(relay.url, timeouts=Timeouts(idle_s=0.5), on_reconnect=notes.append) as client:
        assert await read(client.stream("Hi")) == relay.events
    assert "silent" in notes[0].reason
    await asyncio.wait_for(relay.gone.wait(), 5)


async def test_heartbeats_keep_a_connection_alive(relay: FarRelay, notes: list[Reconnect]) -> None:
    """A queued stream sends nothing else, for as long as it takes."""
    relay.replies.append(beat)
    async with Client(relay.url, timeouts=Timeouts(idle_s=1.0, total_s=2.5), on_reconnect=notes.append) as client:
        with pytest.raises(AnswerTimeoutError):
            await read(client.stream("Hi"))
    assert notes == []


async def test_a_relay_that_never_answers_runs_into_the_first_byte_timeout(relay: FarRelay) -> None:
    """And the start is tried again under its key."""
    relay.replies.append(mute)
    async with Client(relay.url, timeouts=Timeouts(first_byte_s=1.0)) as client:
        assert await read(client.stream("Hi")) == relay.events
    assert relay.asked[0].headers["Idempotency-Key"] == relay.asked[1].headers["Idempotency-Key"]


async def test_the_total_timeout_is_a_timeout_error(relay: FarRelay) -> None:
    """However alive the connection is; the id is known, so that the answer can be followed later."""
    relay.replies.append(hang(len(PREAMBLE) + 300))
    async with Client(relay.url, timeouts=Timeouts(total_s=0.5)) as client:
        stream = client.stream("Hi")
        with pytest.raises(TimeoutError, match="total_s"):
            await read(stream)
        assert stream.id == STREAM_ID
        assert await read(client.follow(STREAM_ID, stream.offset, timeouts=QUICK)) != []


async def test_a_lost_stream_is_given_up_after_its_time(relay: FarRelay) -> None:
    """Cuts without any progress end in the last cut's error."""
    relay.replies.extend([cut(len(PREAMBLE), "lose")] * 1000)
    async with Client(relay.url, timeouts=Timeouts(lost_s=0.2)) as client:
        with pytest.raises(ConnectionLostError):
            await read(client.stream("Hi"))


async def test_progress_gives_a_lost_stream_its_full_time_again(relay: FarRelay, notes: list[Reconnect]) -> None:
    """As long as each connection brings an event there is no giving up, and no growing delay."""
    relay.tell(answer_events(*"a long answer of many little pieces"))
    at_least_one = len(PREAMBLE) + max(len(frame(*entry)) for entry in relay.log)
    relay.replies.extend([cut(at_least_one, "lose")] * 1000)
    async with Client(relay.url, timeouts=Timeouts(lost_s=0.15), on_reconnect=notes.append) as client:
        assert await read(client.stream("Hi")) == relay.events
    assert len(notes) > 20
    assert {note.tries for note in notes} == {1}


async def test_the_server_says_how_soon_to_come_back(client: Client, relay: FarRelay, notes: list[Reconnect]) -> None:
    """SSE ``retry:`` is the ceiling of the first delay."""
    relay.preamble = b"retry: 300\n\n"
    relay.replies.extend([cut(len(relay.preamble), "lose")] * 3)
    await read(client.stream("Hi"))
    assert [note.tries for note in notes] == [1, 2, 3]
    assert all(note.delay_s <= 0.3 * 2**tries for tries, note in enumerate(notes))
    assert max(note.delay_s for note in notes) > 0.001  # what PREAMBLE's retry would allow at most is 0.004


# Failover


async def test_a_reset_that_leads_back_is_followed(client: Client, relay: FarRelay) -> None:
    """After a failover the log is shorter than what was read: what follows the reset is told anew."""
    old = relay.log
    relay.replies.append(cut(len(relay.body()) - 150, "lose"))
    reset = (offset(0, attempt=0), event("reset", keep_blocks=0, reason="fork"))
    new = [(offset(seq, attempt=1 + seq // 3), data) for seq, data in enumerate(answer_events("Good", "bye"), 1)]
    relay.replies.append(_tell([reset, *new]))
    stream = client.stream("Hi")
    got = await read(stream)
    at = next(index for index, data in enumerate(got) if data["type"] == "reset")
    assert got[:at] == [data for _place, data in old[:at]]
    assert got[at:] == [data for _place, data in (reset, *new)]
    assert (await stream.result()).text == "Goodbye"


async def test_a_relays_own_error_in_a_stream_is_an_error_and_no_event(client: Client, relay: FarRelay) -> None:
    """It has no offset, for it is not in the log: the log has just gone."""
    gone = event("error", code="gone", message="The log has expired.", retryable=False)
    relay.replies.append(_tell([*relay.log[:4], ("", gone)]))
    stream = client.follow(STREAM_ID)
    with pytest.raises(GoneError, match="The log has expired"):
        await read(stream)
    assert stream.offset == relay.log[3][0]
    assert stream.text == "Hello"


async def test_a_relays_own_error_that_may_pass_is_waited_out(client: Client, relay: FarRelay) -> None:
    """As if the connection had been refused with it."""
    whole = relay.log
    trouble = event("error", code="unavailable", message="Redis is away.", retryable=True)

    async def say_so(far: FarRelay, request: web.Request) -> web.StreamResponse:
        reply = await _tell([*whole[:4], ("", trouble)])(far, request)
        far.log = whole
        return reply

    relay.replies.append(say_so)
    assert await read(client.stream("Hi")) == relay.events


async def test_a_stream_lost_soon_after_its_start_is_started_again(client: Client, relay: FarRelay) -> None:
    """Under the same key; where that makes another stream, the reader is told by a reset."""
    relay.replies.extend([cut(len(PREAMBLE) + 400, "lose"), refuse(404, "not_found"), _reborn])
    stream = client.stream("Hi")
    events = [event async for event in stream]
    assert sum(isinstance(event, ResetEvent) for event in events) == 1
    assert stream.id == OTHER_ID
    assert (await stream.result()).text == "Other"
    posts = [asked for asked in relay.asked if asked.method == "POST"]
    assert len(posts) == 2
    assert posts[0].headers["Idempotency-Key"] == posts[1].headers["Idempotency-Key"]
    assert posts[0].body == posts[1].body


async def test_a_stream_found_again_after_a_404_goes_on_where_it_was(client: Client, relay: FarRelay) -> None:
    """A replica that lagged behind is no reason to tell anything twice."""
    relay.replies.extend([cut(len(PREAMBLE) + 400, "lose"), refuse(404, "not_found")])
    assert await read(client.stream("Hi")) == relay.events


async def test_an_unknown_stream_is_not_started(client: Client, relay: FarRelay) -> None:
    """Who follows has nothing to start again with."""
    relay.replies.append(refuse(404, "not_found"))
    with pytest.raises(NotFoundError):
        await read(client.follow(STREAM_ID))
    assert len(relay.asked) == 1


async def test_a_proxys_page_on_a_resumption_may_pass(client: Client, relay: FarRelay) -> None:
    """During a deploy the way to a stream that exists may lead to a web page; it is tried again."""
    page = answer(404, html="<h1>default backend</h1>")
    relay.replies.extend([cut(len(PREAMBLE) + 300, "lose"), page, answer(200, html="<h1>back soon</h1>")])
    assert await read(client.stream("Hi")) == relay.events


def _tell(entries: list[tuple[str, dict[str, Any]]]) -> Reply:
    async def reply(relay: FarRelay, request: web.Request) -> web.StreamResponse:
        relay.log = entries
        return await cut(WHOLE, replay=True)(relay, request)

    return reply


async def _reborn(relay: FarRelay, request: web.Request) -> web.StreamResponse:
    relay.stream_id = OTHER_ID
    relay.tell(answer_events("Other", stream_id=OTHER_ID))
    return await answer(201, relay.state())(relay, request)
