"""One socket, many streams: starting, following, resuming, leaving and cancelling, each stream by itself."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from shared.offset import new_stream_id
from tests.relay.api import Api, script
from tests.relay.conftest import MakeApi, StartRelay, StartWorker
from tests.relay.socket_client import WORD_BY_WORD, connected, events_of, joined
from tests.support import eventually

SLOW = {"messages": script(tokens=2000, per_second=50)}


@pytest.fixture
async def exact(make_api: MakeApi, start_worker: StartWorker) -> Api:
    """Give a client of a relay that tells event by event; a worker answers."""
    await start_worker()
    return await make_api(**WORD_BY_WORD)


async def test_a_stream_is_started_and_told_to_its_end(exact: Api) -> None:
    """One message asks for it; the events are those of SSE, offset by offset; the last word says that it ended."""
    async with connected(exact) as client:
        assert client.socket.protocol == "tailrace.v1"
        created = await client.ask("create", request={"messages": script(tokens=20, thinking=3)}, key="k")
        assert (created["type"], created["attached"]) == ("created", False)
        stream_id = created["stream"]
        last = await client.until("unsubscribed", stream=stream_id)
        again = await client.ask("create", request={"messages": script(tokens=20, thinking=3)}, key="k", follow=False)
    assert (again["type"], again["stream"], again["attached"]) == ("created", stream_id, True)
    wanted = await events_of(exact, stream_id)
    assert client.events(stream_id) == wanted
    assert (last["reason"], last["offset"]) == ("ended", wanted[-1][0])
    kinds = [told["type"] for told in client.heard]
    assert kinds[:3] == ["created", "following", "event"]
    assert kinds.index("unsubscribed") == len(kinds) - 2


async def test_many_streams_share_one_socket(exact: Api) -> None:
    """Each is told whole, once and in order, all at the same time."""
    async with connected(exact) as client:
        for number in range(30):
            request = {"messages": script(tokens=20 + number, per_second=100)}
            await client.say("create", id=str(number), request=request)
        ended = [await client.until("unsubscribed", deadline_s=20) for _ in range(30)]
    assert {told["reason"] for told in ended} == {"ended"}
    streams = {told["stream"] for told in client.heard if told["type"] == "created"}
    assert {told["stream"] for told in ended} == streams
    assert len(streams) == 30
    for stream_id in streams:
        assert client.events(stream_id) == await events_of(exact, stream_id)
    told = [told["stream"] for told in client.heard if told["type"] == "event"]
    changes = sum(one != other for one, other in pairwise(told))
    assert changes > len(streams) * 5  # they were told side by side, not one after the other


async def test_each_stream_is_resumed_from_its_own_offset(exact: Api) -> None:
    """After the socket was cut: what follows each offset and nothing else; the two halves are the whole."""
    async with connected(exact) as client:
        for number in range(5):
            request = {"messages": script(tokens=60 + 20 * number, per_second=100)}
            await client.say("create", id=str(number), request=request)
        while len([told for told in client.heard if told["type"] == "event"]) < 150:
            await client.next()
        client.cut()
    streams = {told["stream"] for told in client.heard if told["type"] == "created"}
    first = {stream_id: client.events(stream_id) for stream_id in streams}
    async with connected(exact) as client:
        for stream_id, events in first.items():
            await client.say("follow", stream=stream_id, offset=events[-1][0])
        for _ in streams:
            assert (await client.until("unsubscribed"))["reason"] == "ended"
    for stream_id, events in first.items():
        assert events + client.events(stream_id) == await events_of(exact, stream_id)


async def test_every_offset_is_a_place_to_go_on_from(exact: Api) -> None:
    """For every event: what follows it, also inside an entry; behind the end only the last word."""
    stream_id = await exact.finished(messages=script(tokens=30))
    wanted = await events_of(exact, stream_id)
    async with connected(exact) as client:
        for at, (offset, _, _) in enumerate(wanted):
            client.heard.clear()
            await client.say("follow", stream=stream_id, offset=offset)
            last = await client.until("unsubscribed")
            assert client.events(stream_id) == wanted[at + 1 :]
            assert last["offset"] == wanted[-1][0]


async def test_now_is_only_what_comes(exact: Api) -> None:
    """Nothing that was told before; of an ended stream nothing at all."""
    stream_id = await exact.start(messages=script(tokens=60, per_second=50))
    async with exact.follow(stream_id) as reader, connected(exact) as client:
        await reader.until("delta")
        await client.say("follow", stream=stream_id, offset="now")
        await client.until("unsubscribed")
        told = client.events(stream_id)
        everything = await events_of(exact, stream_id)
        assert 0 < len(told) < len(everything)
        assert told == everything[-len(told) :]
        client.heard.clear()
        await client.say("follow", stream=stream_id, offset="now")
        assert (await client.until("unsubscribed"))["reason"] == "ended"
        assert client.events(stream_id) == []


async def test_an_offset_of_no_entry_is_told_to_start_over(exact: Api) -> None:
    """A reset first, under the start's offset, and then all of it, as over SSE."""
    stream_id = await exact.finished()
    async with connected(exact) as client:
        await client.say("follow", stream=stream_id, offset=f"{stream_id[:4]}-99999998-99999999-999", credit=3)
        await client.until("event", event="attempt")
        await client.say("ack", stream=stream_id, offset=client.events(stream_id)[-1][0])
        while True:
            told = await client.next()
            if told["type"] == "unsubscribed":
                break
            await client.say("ack", stream=stream_id, offset=told["offset"])
    events = client.events(stream_id)
    assert events[0][2] == {"type": "reset", "keep_blocks": 0, "reason": "fork"}
    assert events[1:] == await events_of(exact, stream_id)


async def test_unsubscribing_ends_the_telling_and_not_the_stream(exact: Api) -> None:
    """The last word answers the request; nothing comes after it; the stream can be followed again from there."""
    stream_id = await exact.start(messages=script(tokens=120, per_second=100))
    async with connected(exact) as client:
        await client.say("follow", stream=stream_id)
        await client.until("event", event="delta")
        last = await client.ask("unsubscribe", stream=stream_id)
        assert (last["type"], last["reason"], last["offset"]) == (
            "unsubscribed",
            "asked",
            client.events(stream_id)[-1][0],
        )
        assert (await client.ask("ping"))["type"] == "pong"
        assert client.heard[-2] == last
        assert (await exact.state(stream_id))["status"] == "running"
        await client.say("follow", stream=stream_id, offset=last["offset"])
        assert (await client.until("unsubscribed"))["reason"] == "ended"
    assert client.events(stream_id) == await events_of(exact, stream_id)


async def test_cancelling_ends_the_stream_for_all(exact: Api) -> None:
    """The answer says how it ended, also of one that had; whoever follows it is told the end."""
    stream_id = await exact.start(**SLOW)
    ended = await exact.finished()
    async with connected(exact) as client, connected(exact) as other:
        await other.say("follow", stream=stream_id)
        await other.until("event", event="delta")
        assert (await client.ask("cancel", stream=stream_id))["status"] == "cancelled"
        assert (await client.ask("cancel", stream=ended))["status"] == "completed"
        last = await other.until("unsubscribed")
    assert last["reason"] == "ended"
    assert other.events(stream_id)[-1][2]["status"] == "cancelled"


async def test_a_stream_without_credit_waits_and_no_other_does(served: Api) -> None:
    """It is told as many events as it has credit for, goes on at each acknowledgement, and is told whole in the end."""
    slow = await served.start(messages=script(tokens=300, per_second=1000))
    async with connected(served) as client:
        await client.say("follow", stream=slow, credit=10)
        created = await client.ask("create", request={"messages": script(tokens=100, per_second=200)})
        await client.until("unsubscribed", stream=created["stream"])
        assert len(client.events(slow)) == 10
        others = await events_of(served, created["stream"])
        assert joined(client.events(created["stream"])) == joined(others)
        told = 10
        while client.events(slow)[-1][1] != "end":
            await client.say("ack", stream=slow, offset=client.events(slow)[-1][0])
            room = 10
            while room and client.events(slow)[-1][1] != "end":
                await client.until("event", stream=slow)
                room -= 1
            told += 10 - room
            pong = await client.ask("ping")
            assert pong["type"] == "pong"
            assert len(client.events(slow)) == told  # no more than there was credit for
    text = "".join(data.get("text", "") for _, name, data in client.events(slow) if name == "delta")
    assert text == (await served.state(slow))["text"]


async def test_a_long_stream_does_not_hold_up_a_short_one(served: Api) -> None:
    """Thousands of events that are read from the log for one stream do not keep a word on another waiting."""
    long = await served.finished(messages=script(tokens=15_000), max_tokens=15_000)
    short = await served.finished(messages=script(tokens=3))
    async with connected(served, max_msg_size=0) as client:
        await client.say("follow", stream=long)
        await client.until("event", stream=long)
        await client.say("follow", stream=short)
        await client.until("unsubscribed", stream=short)
        assert client.events(long)[-1][1] != "end"
        await client.until("unsubscribed", stream=long, deadline_s=30)
    assert client.events(long) == await events_of(served, long)


async def test_a_stream_that_goes_on_elsewhere_goes_on_here(make_api: MakeApi, start_worker: StartWorker) -> None:
    """Two sockets on two relays follow one stream: both are told the same."""
    await start_worker()
    one, other = await make_api(), await make_api()
    async with connected(one) as here, connected(other) as there:
        created = await here.ask("create", request={"messages": script(tokens=50, per_second=100)})
        await there.say("follow", stream=created["stream"])
        await asyncio.gather(*(client.until("unsubscribed") for client in (here, there)))
    assert joined(here.events(created["stream"])) == joined(there.events(created["stream"]))
    assert here.events(created["stream"])[-1][1] == "end"


async def test_a_stream_deleted_under_its_reader_says_so(make_api: MakeApi, redis: Any) -> None:
    """An error that names the stream, and the last word; the socket stays, for all else."""
    api = await make_api(quiet_check_s=0.1)
    stream_id = await api.start()
    async with connected(api) as client:
        await client.say("follow", stream=stream_id)
        await client.until("event")
        for key in await redis.keys(f"*{stream_id}*record"):
            await redis.hset(key, "ended_ms", 1)
        for key in await redis.keys(f"*{stream_id}*log"):
            await redis.delete(key)
        error = await client.until("error")
        assert (error["code"], error["stream"], "id" in error) == ("gone", stream_id, False)
        assert (await client.next())["reason"] == "error"
        gone = await client.ask("follow", stream=stream_id)
        assert (gone["type"], gone["code"], gone["stream"]) == ("error", "gone", stream_id)
        missing = await client.ask("follow", stream=new_stream_id())
        assert (missing["type"], missing["code"]) == ("error", "not_found")
        assert (await client.ask("ping"))["type"] == "pong"


async def test_a_watched_stream_is_not_abandoned(make_api: MakeApi, start_worker: StartWorker) -> None:
    """Following counts as viewing; having left, by a word or with the socket, does not."""
    settings = {"abandon_grace_s": 0.3, "viewer_lease_s": 1.0, "heartbeat_s": 0.5}
    await start_worker(**settings)
    api = await make_api(**settings)
    async with connected(api) as one, connected(api) as other:
        left, cut = [await api.start(**SLOW, when_abandoned="cancel") for _ in range(2)]
        await one.say("follow", stream=left)
        await other.say("follow", stream=cut)
        for _ in range(75):  # 1.5 s: longer than grace and lease
            await one.until("event", event="delta")
        for stream_id in (left, cut):
            assert (await api.state(stream_id))["status"] == "running"
        other.cut()
        await one.ask("unsubscribe", stream=left)
        for stream_id in (left, cut):
            await eventually(partial(cancelled, api, stream_id))


async def cancelled(api: Api, stream_id: str) -> bool:
    """Tell whether the stream was cancelled."""
    return bool((await api.state(stream_id))["status"] == "cancelled")


async def test_a_draining_relay_says_goodbye_and_another_goes_on(
    start_relay: StartRelay, start_worker: StartWorker, served: Api
) -> None:
    """Goodbye tells when to come back, the close code that one may at once; the halves are the whole."""
    await start_worker()
    leaving = await start_relay(relay_drain_s=0.5)
    api = Api(served.session, leaving.url)
    async with connected(api) as client:
        created = await client.ask("create", request={"messages": script(tokens=150, per_second=100)})
        await client.until("event", event="delta")
        stopping = asyncio.create_task(leaving.stop(), name="test.stop")
        assert await client.closed() == 4000
        await stopping
    goodbye = client.heard[-1]
    assert goodbye["type"] == "goodbye"
    assert 0 <= goodbye["reconnect_in_ms"] <= 1000
    stream_id = created["stream"]
    events = client.events(stream_id)
    async with connected(served) as again:
        await again.say("follow", stream=stream_id, offset=events[-1][0])
        await again.until("unsubscribed")
    assert joined(events + again.events(stream_id)) == joined(await events_of(served, stream_id))
