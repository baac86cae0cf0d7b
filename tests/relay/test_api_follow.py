"""Following a stream: the shape of the events on the wire, signs of life, offsets, the end, and the long-poll."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.relay.api import Api, script
from tests.relay.conftest import MakeApi, StartWorker
from tests.support import eventually

SLOW = {"messages": script(tokens=2000, per_second=50)}


async def test_the_first_bytes_are_the_delay_and_a_comment(api: Api) -> None:
    """Sent from the moment of accept, so that proxies pass the answer on and the client knows its delay."""
    stream_id = await api.start()
    async with api.follow(stream_id) as reader:
        assert (
            await reader.response.content.readexactly(len(b"retry: 1000\n\n: open\n\n")) == b"retry: 1000\n\n: open\n\n"
        )
        headers = reader.response.headers
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-cache, no-transform"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Stream-Id"] == stream_id
    assert headers["Location"] == f"/v1/streams/{stream_id}"


async def test_the_delay_is_the_configured_one(make_api: MakeApi) -> None:
    """Operators spread reconnects by it."""
    api = await make_api(retry_ms=2500)
    async with api.follow(await api.start()) as reader:
        await reader.take(1)
        assert reader.retry_ms == 2500


async def test_every_frame_has_an_offset_a_name_and_one_line_of_data(served: Api) -> None:
    """Each frame is ``id``, ``event``, ``data``; ids sort as text, and the name is the data's type."""
    stream_id = await served.finished(messages=script(tokens=100, thinking=3, tools=[{"name": "t", "input": {"a": 1}}]))
    answer = await served.get(f"/v1/streams/{stream_id}/events")
    frames = answer.body.decode().removeprefix("retry: 1000\n\n: open\n\n").removesuffix("\n\n").split("\n\n")
    assert all([line.split(":")[0] for line in frame.split("\n")] == ["id", "event", "data"] for frame in frames)
    async with served.follow(stream_id) as reader:
        events = await reader.rest()
    ids = [event.id for event in events]
    assert ids == sorted(set(ids))
    assert len(ids) == len(frames)
    assert [event.event for event in events] == [event.json()["type"] for event in events]
    assert (events[0].event, events[-1].event) == ("start", "end")


async def test_a_queued_stream_gives_signs_of_life(make_api: MakeApi) -> None:
    """No worker runs, and yet no balancer may take the connection for dead."""
    api = await make_api(heartbeat_s=0.2)
    async with api.follow(await api.start()) as reader:
        waiting = asyncio.create_task(reader.until("attempt", deadline_s=30), name="test.reader")
        await eventually(lambda: reader.comments.count("ka") >= 3, what="three signs of life")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert reader.comments[0] == "open"
    assert [event.event for event in reader.events] == ["start"]


async def test_silence_is_filled_and_only_silence(make_api: MakeApi, start_worker: StartWorker) -> None:
    """While tokens flow faster than the beat there is no comment."""
    await start_worker()
    api = await make_api(heartbeat_s=0.5)
    async with api.follow(await api.start(messages=script(tokens=60, per_second=50))) as reader:
        await reader.rest()
    assert reader.comments == ["open"]


async def test_an_offset_continues_exactly_after_it(served: Api) -> None:
    """For every event: what follows it and nothing else, by query and by header, also inside an entry."""
    stream_id = await served.finished(messages=script(tokens=70))
    async with served.follow(stream_id) as reader:
        events = await reader.rest()
    for at, event in list(enumerate(events[:-1]))[:: max(1, len(events) // 12)]:
        async with served.follow(stream_id, f"?offset={event.id}") as reader:
            assert await reader.rest() == events[at + 1 :]
        async with served.follow(stream_id, headers={"Last-Event-ID": event.id}) as reader:
            assert await reader.rest() == events[at + 1 :]


async def test_the_header_wins_over_the_query(served: Api) -> None:
    """A browser reconnects to the URL it was given, with the header telling how far it came."""
    stream_id = await served.finished()
    async with served.follow(stream_id) as reader:
        events = await reader.rest()
    header = {"Last-Event-ID": events[-2].id}
    async with served.follow(stream_id, f"?offset={events[0].id}", headers=header) as reader:
        assert await reader.rest() == events[-1:]
    async with served.follow(stream_id, "?offset=rubbish", headers=header) as reader:
        assert await reader.rest() == events[-1:]


async def test_now_means_only_what_comes(served: Api) -> None:
    """Nothing of what was said before; everything from there to the end, once."""
    stream_id = await served.start(messages=script(tokens=60, per_second=40))
    async with served.follow(stream_id) as early:
        await early.until("delta")
        async with served.follow(stream_id, "?offset=now") as late:
            new = await late.rest()
        everything = early.events + await early.rest()
    assert 0 < len(new) < len(everything)
    assert new == everything[-len(new) :]


async def test_a_reader_that_has_the_end_is_told_to_stop(served: Api) -> None:
    """204 without a body, which ends an EventSource for good."""
    stream_id = await served.finished()
    async with served.follow(stream_id) as reader:
        last = (await reader.rest())[-1]
    for query, headers in ((f"?offset={last.id}", {}), ("?offset=now", {}), ("", {"Last-Event-ID": last.id})):
        answer = await served.get(f"/v1/streams/{stream_id}/events{query}", headers=headers)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["X-Stream-Id"] == stream_id


async def test_an_offset_ahead_of_an_ended_stream_is_told_to_start_over(served: Api) -> None:
    """What the reader claims to have never was: an explicit reset, and all of it again."""
    stream_id = await served.finished()
    ahead = f"{stream_id[:4]}-99999998-99999999-999"
    async with served.follow(stream_id, f"?offset={ahead}") as reader:
        events = await reader.rest()
    assert events[0].json() == {"type": "reset", "keep_blocks": 0, "reason": "fork"}
    assert (events[1].event, events[-1].event) == ("start", "end")
    polled = (await served.poll(stream_id, f"&offset={ahead}")).json()
    assert polled["events"][0]["event"] == "reset"
    assert polled["offset"] == polled["events"][0]["id"]


async def test_many_readers_get_the_same(served: Api) -> None:
    """From the start, one by one while it runs."""
    stream_id = await served.start(messages=script(tokens=30, per_second=60))
    readers = [served.follow(stream_id) for _ in range(10)]
    for reader in readers:
        await reader.__aenter__()
    told = await asyncio.gather(*(reader.rest() for reader in readers))
    assert all(events == told[0] for events in told)
    assert told[0][-1].event == "end"


async def polled(api: Api, stream_id: str, query: str = "") -> list[dict[str, Any]]:
    """Return all events of a stream, asked for batch by batch until it is done."""
    events: list[dict[str, Any]] = []
    offset = ""
    while True:
        batch = (await api.poll(stream_id, f"{query}{offset}")).json()
        events += batch["events"]
        if batch["done"]:
            return events
        offset = f"&offset={batch['offset']}"


async def test_polls_add_up_to_the_stream(served: Api) -> None:
    """Batch by batch while it runs: the same events, offsets and data as over SSE, each once."""
    stream_id = await served.start(messages=script(tokens=40, per_second=80))
    events = await polled(served, stream_id, "&wait=5")
    async with served.follow(stream_id) as reader:
        told = await reader.rest()
    assert [(event["id"], event["event"], event["data"]) for event in events] == [
        (event.id, event.event, event.json()) for event in told
    ]


async def test_a_poll_answers_at_once_when_there_is_something(api: Api) -> None:
    """However long it would have waited, and however short: what the log has is no waiting."""
    stream_id = await api.start()
    for wait in ("60", "0", "0.001"):
        begun_s = time.monotonic()
        batch = (await api.poll(stream_id, f"&wait={wait}")).json()
        assert [event["event"] for event in batch["events"]] == ["start"]
        assert batch["offset"] == batch["events"][-1]["id"]
        assert batch["done"] is False
        assert time.monotonic() - begun_s < 10


async def test_a_poll_in_vain_is_empty_and_keeps_its_place(api: Api) -> None:
    """After the wait; the same offset is good for the next one."""
    stream_id = await api.start()
    offset = (await api.poll(stream_id)).json()["offset"]
    for wait, least_s in (("0.3", 0.25), ("0", 0.0)):
        begun_s = time.monotonic()
        answer = await api.poll(stream_id, f"&wait={wait}&offset={offset}")
        assert answer.json() == {"events": [], "offset": offset, "done": False}
        assert least_s <= time.monotonic() - begun_s < 10
        assert answer.headers["X-Stream-Id"] == stream_id


async def test_a_poll_is_woken_by_what_comes(api: Api, start_worker: StartWorker) -> None:
    """It does not sleep through its wait."""
    stream_id = await api.start()
    offset = (await api.poll(stream_id)).json()["offset"]
    asking = asyncio.create_task(api.poll(stream_id, f"&wait=30&offset={offset}"), name="test.poll")
    await start_worker()
    batch = (await asking).json()
    assert batch["events"][0]["event"] == "attempt"


async def test_a_poll_behind_the_end_is_done(served: Api) -> None:
    """At once and empty, as often as it is asked."""
    stream_id = await served.finished()
    events = await polled(served, stream_id)
    for query in (f"&offset={events[-1]['id']}", "&offset=now"):
        batch = (await served.poll(stream_id, f"{query}&wait=30")).json()
        assert (batch["events"], batch["done"]) == ([], True)


@pytest.mark.parametrize("end", ["cancel", "delete"])
async def test_a_reader_sees_a_stream_ended_by_another(served: Api, end: str) -> None:
    """Every open connection gets the end event and closes."""
    stream_id = await served.start(**SLOW)
    async with served.follow(stream_id) as reader:
        await reader.until("delta")
        method, rest = ("POST", "/cancel") if end == "cancel" else ("DELETE", "")
        await served.ask(method, f"/v1/streams/{stream_id}{rest}")
        events = await reader.rest()
    assert events[-1].event == "end"
    assert events[-1].json()["status"] == "cancelled"
