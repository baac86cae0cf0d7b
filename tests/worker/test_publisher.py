"""Group commit: nothing is lost, doubled or reordered, whatever Redis does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from shared import keys
from shared.claims import Claim
from shared.entry import Entry, encode_blob
from shared.events import (
    AttemptEvent,
    BlockStartEvent,
    BlockStopEvent,
    DeltaEvent,
    EndEvent,
    Event,
    StartEvent,
)
from shared.offset import NO_ENTRY, EntryId, new_stream_id
from shared.record import Record
from shared.settings import Settings
from shared.stream_log import StreamLog
from tests.faults.links import Fate, Link
from tests.support import eventually
from tests.support_redis import RedisProcess
from worker.publisher import Publisher
from worker.stream_writer import LostStreamError, StreamWriter

SETTINGS = Settings(redis_timeout_s=1)
RECORD = Record("acme", "sim", "sim", 1_790_000_000_000, 100, {}, b'{"messages":[]}')


async def granted(stream_log: StreamLog, limit_bytes: int = 1_000_000, token: str = "t1") -> StreamWriter:
    """Return the writer of a stream that was just claimed."""
    stream_id = new_stream_id()
    start = Entry(EntryId(0, 1), encode_blob([StartEvent(stream_id, "sim", "sim", 1, 100)], 1))
    await stream_log.create(stream_id, RECORD, start)
    event = AttemptEvent(1, "first", "start", "sim", "sim", "")
    await stream_log.claim(stream_id, Claim(0, token, "worker-1"), event, 2)
    record = replace(RECORD, status="running", attempt=1, token=token, worker="worker-1")
    writer = StreamWriter(stream_id, record, limit_bytes)
    writer.adopt(await stream_log.read(stream_id, NO_ENTRY, 10))
    return writer


@asynccontextmanager
async def publishing(stream_log: StreamLog, most_apart_s: float = SETTINGS.commit_every_s) -> AsyncIterator[Publisher]:
    """Run a publisher."""
    publisher = Publisher(stream_log, most_apart_s)
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def told(stream_log: StreamLog, stream_id: str) -> list[Event]:
    """Return the events in the log after start and attempt."""
    entries = await stream_log.read(stream_id, NO_ENTRY, 10_000)
    assert [entry.id.seq for entry in entries] == list(range(1, len(entries) + 1))
    return [event for entry in entries[2:] for event in entry.events()]


async def test_events_of_many_streams_are_all_written_in_order(redis: Redis) -> None:
    """Forty streams write fifty events each at once; every log has its own, in order, in far fewer commits."""
    stream_log = StreamLog(redis, SETTINGS)
    writers = [await granted(stream_log) for _ in range(40)]
    before = (await redis.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"]
    async with publishing(stream_log) as publisher:
        for n in range(50):
            for writer in writers:
                publisher.write(writer, [DeltaEvent(0, text=f"w{n}")])
            await asyncio.sleep(0)
        await asyncio.gather(*(writer.flushed() for writer in writers))
    commits = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before
    for writer in writers:
        assert await told(stream_log, writer.stream_id) == [DeltaEvent(0, text=f"w{n}") for n in range(50)]
    assert commits < 500


async def test_the_first_event_is_an_entry_of_its_own(redis: Redis) -> None:
    """What comes while the first append is in flight goes out together, after it."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = await granted(stream_log)
    async with publishing(stream_log) as publisher:
        publisher.write(writer, [DeltaEvent(0, text="first")])
        await eventually(lambda: len(writer.entries) == 3)
        for n in range(5):
            publisher.write(writer, [DeltaEvent(0, text=str(n))])
        await writer.flushed()
    sizes = [len(entry.lines) for entry in await stream_log.read(writer.stream_id, EntryId(1, 3), 10)]
    assert sizes == [1, 5]


async def test_a_first_token_waits_for_no_append_in_flight(redis_server: Callable[..., RedisProcess]) -> None:
    """While the write that carries the other streams hangs, it is in its log; they follow once Redis answers again."""
    server = redis_server()
    async with Link(lambda: [server.port]) as link, Redis(port=link.port, socket_timeout=10) as client:
        stream_log = StreamLog(client, SETTINGS)
        other, fresh = await granted(stream_log), await granted(stream_log)
        async with publishing(stream_log) as publisher:
            publisher.write(other, [DeltaEvent(0, text="w0")])
            await other.flushed()
            link.strike(lambda: Fate("hang"))
            publisher.write(other, [DeltaEvent(0, text="w1")])
            await eventually(lambda: len(other.entries) == 4)
            publisher.write(fresh, [DeltaEvent(0, text="w0")])
            await asyncio.wait_for(fresh.flushed(), 5)
            assert other.pending
            link.heal()
            await asyncio.wait_for(other.flushed(), 5)
        assert await told(stream_log, fresh.stream_id) == [DeltaEvent(0, text="w0")]
        assert await told(stream_log, other.stream_id) == [DeltaEvent(0, text="w0"), DeltaEvent(0, text="w1")]


async def test_more_events_than_an_entry_may_hold_take_several(redis: Redis) -> None:
    """An entry has at most 1,000 events, since offsets count them in three digits; the end still closes the stream."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = await granted(stream_log)
    async with publishing(stream_log) as publisher:
        publisher.write(writer, [*(DeltaEvent(0, text=str(n)) for n in range(2500)), EndEvent("completed")])
        await writer.flushed()
    events = await told(stream_log, writer.stream_id)
    assert events == [*(DeltaEvent(0, text=str(n)) for n in range(2500)), EndEvent("completed")]
    assert max(len(entry.lines) for entry in writer.entries) == 1000
    assert writer.ended


async def test_a_full_writer_makes_its_provider_wait(redis: Redis) -> None:
    """With ``limit_bytes`` gathered there is no room until Redis has taken some."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = await granted(stream_log, limit_bytes=1000)
    publisher = Publisher(stream_log, SETTINGS.commit_every_s)
    publisher.write(writer, [DeltaEvent(0, text="x" * 2000)])
    waiting = asyncio.create_task(writer.room())
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    running = asyncio.create_task(publisher.run())
    await asyncio.wait_for(waiting, 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_fenced_writer_is_told_and_writes_nothing(redis: Redis) -> None:
    """After another attempt was granted, flushing says so, and the owner is signalled."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = await granted(stream_log)
    signals: list[str] = []
    writer.on_signal = signals.append
    await stream_log.claim(
        writer.stream_id, Claim(1, "t2", "worker-2"), AttemptEvent(2, "first", "start", "sim", "sim", ""), 3
    )
    async with publishing(stream_log) as publisher:
        publisher.write(writer, [DeltaEvent(0, text="late")])
        with pytest.raises(LostStreamError, match="fenced"):
            await writer.flushed()
    assert signals == ["lost"]
    assert [type(event) for event in await told(stream_log, writer.stream_id)] == [AttemptEvent]


async def test_what_redis_has_lost_is_sent_again_unchanged(redis: Redis) -> None:
    """A log cut back to its third entry is repaired by the next append, with the ids and bytes it had."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = await granted(stream_log)
    async with publishing(stream_log) as publisher:
        for n in range(6):
            publisher.write(writer, [DeltaEvent(0, text=f"w{n}")])
            await writer.flushed()
        before = await stream_log.read(writer.stream_id, NO_ENTRY, 100)
        await redis.xdel(keys.log(writer.stream_id), *(str(entry.id) for entry in before[3:]))
        await redis.execute_command("XSETID", keys.log(writer.stream_id), "1-3")
        publisher.write(writer, [DeltaEvent(0, text="w6")])
        await writer.flushed()
    after = await stream_log.read(writer.stream_id, NO_ENTRY, 100)
    assert [(entry.id, entry.blob) for entry in after[: len(before)]] == [(entry.id, entry.blob) for entry in before]
    assert await told(stream_log, writer.stream_id) == [DeltaEvent(0, text=f"w{n}") for n in range(7)]


async def test_a_stream_that_redis_has_lost_whole_is_made_anew(redis: Redis) -> None:
    """Record and log away, the writer restores both and goes on; the record has its expiry again."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = await granted(stream_log)
    async with publishing(stream_log) as publisher:
        publisher.write(writer, [DeltaEvent(0, text="w0")])
        await writer.flushed()
        await redis.flushall()
        publisher.write(writer, [DeltaEvent(0, text="w1")])
        await writer.flushed()
    assert await told(stream_log, writer.stream_id) == [DeltaEvent(0, text="w0"), DeltaEvent(0, text="w1")]
    assert await redis.ttl(keys.record(writer.stream_id)) > 0


async def test_a_redis_that_is_killed_and_comes_back_loses_nothing(redis_server: Callable[..., RedisProcess]) -> None:
    """Three writers go on while Redis dies twice; what they gathered meanwhile is in the log in the end."""
    server = redis_server()
    async with Redis.from_url(server.url, socket_timeout=1, socket_connect_timeout=1) as client:
        stream_log = StreamLog(client, SETTINGS)
        writers = [await granted(stream_log) for _ in range(3)]
        async with publishing(stream_log) as publisher:
            for n in range(30):
                if n in (10, 20):
                    server.kill()
                if n in (13, 23):
                    server.start()
                for writer in writers:
                    publisher.write(writer, [DeltaEvent(0, text=f"w{n}")])
                await asyncio.sleep(0)
            async with asyncio.timeout(20):
                await asyncio.gather(*(writer.flushed() for writer in writers))
        for writer in writers:
            assert await told(stream_log, writer.stream_id) == [DeltaEvent(0, text=f"w{n}") for n in range(30)]


async def test_a_wish_to_cancel_reaches_the_writer_with_its_next_append(redis: Redis) -> None:
    """The flag in the record comes back with the append's answer."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = await granted(stream_log)
    signals: list[str] = []
    writer.on_signal = signals.append
    await stream_log.ask_cancel(writer.stream_id, 5)
    async with publishing(stream_log) as publisher:
        publisher.write(writer, [DeltaEvent(0, text="w0")])
        await eventually(lambda: signals == ["cancelled"])


async def test_deltas_are_held_back_only_as_long_as_the_request_allows(redis: Redis) -> None:
    """With a delay the first delta goes out at once, later ones together; whatever is no delta hurries them."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = await granted(stream_log)
    writer.delay_s = 60.0
    async with publishing(stream_log) as publisher:
        publisher.write(writer, [DeltaEvent(0, text="first")])
        await writer.flushed()
        for n in range(5):
            publisher.write(writer, [DeltaEvent(0, text=str(n))])
            await asyncio.sleep(0)
        assert writer.pending
        assert len(writer.entries) == 3
        publisher.write(writer, [EndEvent("completed")])
        await writer.flushed()
        brief = await granted(stream_log)
        brief.delay_s = 0.05
        for n in range(3):
            publisher.write(brief, [DeltaEvent(0, text=str(n))])
            await asyncio.sleep(0)
        await asyncio.wait_for(brief.flushed(), 5)
    sizes = [len(entry.lines) for entry in await stream_log.read(writer.stream_id, EntryId(1, 3), 10)]
    assert sizes == [1, 6]
    assert [len(entry.lines) for entry in await stream_log.read(brief.stream_id, EntryId(1, 3), 10)] == [1, 2]


async def test_what_the_end_follows_is_one_entry_with_it(redis: Redis) -> None:
    """It waits for the end, but not for long, never before the first token, and no delta waits with it."""
    stream_log = StreamLog(redis, SETTINGS)
    writer, alone = await granted(stream_log), await granted(stream_log)
    alone.delay_s = 60.0
    async with publishing(stream_log) as publisher:
        for one in (writer, alone):
            publisher.write(one, [BlockStartEvent(0, "text"), DeltaEvent(0, text="first")], end_follows=True)
            assert not one.held
            await one.flushed()
        publisher.write(writer, [BlockStopEvent(0)], end_follows=True)
        assert writer.held
        publisher.write(writer, [EndEvent("completed")])
        await writer.flushed()
        publisher.write(alone, [BlockStopEvent(0)], end_follows=True)
        await asyncio.wait_for(alone.flushed(), 5)
        publisher.write(alone, [DeltaEvent(0, text="second")])
        await alone.flushed()
        publisher.write(alone, [DeltaEvent(0, text="held")])
        assert alone.held
        publisher.write(alone, [BlockStopEvent(0)], end_follows=True)
        assert not alone.held
        await asyncio.wait_for(alone.flushed(), 5)
        publisher.write(alone, [DeltaEvent(0, text="last"), BlockStopEvent(0)], end_follows=True)
        assert not alone.held
        await asyncio.wait_for(alone.flushed(), 5)
    assert [len(entry.lines) for entry in await stream_log.read(writer.stream_id, EntryId(1, 3), 10)] == [2, 2]
    assert [len(entry.lines) for entry in await stream_log.read(alone.stream_id, EntryId(1, 3), 10)] == [2, 1, 1, 2, 2]


async def test_a_stream_that_redis_refuses_holds_no_other_up(redis: Redis) -> None:
    """A log that is no log any more fails its own appends alone; once it is one again, what was held is written."""
    stream_log = StreamLog(redis, SETTINGS)
    broken, sound = await granted(stream_log), await granted(stream_log)
    name = keys.log(broken.stream_id)
    await redis.rename(name, "aside")
    await redis.set(name, "no log", ex=60)
    async with publishing(stream_log) as publisher, asyncio.timeout(10):
        publisher.write(broken, [DeltaEvent(0, text="kept")])
        began_s = asyncio.get_running_loop().time()
        for n in range(20):
            publisher.write(sound, [DeltaEvent(0, text=f"w{n}")])
            await sound.flushed()
        assert asyncio.get_running_loop().time() - began_s < 5
        assert broken.pending
        await redis.rename("aside", name)
        await broken.flushed()
    assert await told(stream_log, broken.stream_id) == [DeltaEvent(0, text="kept")]
