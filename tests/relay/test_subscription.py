"""Resuming: every event once and in order from any offset, with appends during the replay, through two relays."""

from __future__ import annotations

import asyncio
import random

import pytest
from redis.asyncio import Redis

from relay.reading.batch import Piece, pieces
from relay.reading.kept_logs import KeptLogs
from relay.reading.subscription import Subscription
from shared import keys
from shared.entry import Entry, encode_blob
from shared.errors import GoneError
from shared.events import DeltaEvent, EndEvent, UnknownEvent
from shared.offset import NO_ENTRY, START, EntryId, Offset
from shared.settings import Settings
from shared.stream_log import StreamLog
from tests.relay.log_writer import LogWriter, Reader, hubs
from tests.support import eventually

SETTINGS = Settings(feed_entries=4, quiet_check_s=300, heartbeat_s=0.5, viewer_lease_s=5)
"""The check of quiet streams, which would hide what live delivery misses, is as good as off."""


def position(offset_text: str) -> Offset:
    """Return the offset in its opaque form."""
    return Offset.parse(offset_text, offset_text[:4] + "a" * 22)


@pytest.mark.parametrize("seed", range(8))
async def test_from_every_offset_the_rest_is_read_once_and_in_order(redis: Redis, seed: int) -> None:
    """``full[0:k] + resume(k) == full`` for every k of a random log, half of which is appended during the replay."""
    rng = random.Random(seed)
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    counts = [rng.randint(1, 4) for _ in range(rng.randint(4, 16))]
    half = rng.randint(0, len(counts))
    await writer.write_words(counts[:half])
    before = writer.told()
    offsets = [START, *(position(text) for text, _ in before)]
    async with hubs(redis, SETTINGS, 2) as relays:
        readers = [Reader(writer.stream_id, offset) for offset in offsets]
        async with asyncio.TaskGroup() as group:
            for number, reader in enumerate(readers):
                reader.takes = (lambda: rng.random() < 0.7) if number % 3 else None  # what they can, directly
                group.create_task(reader.read(relays[number % 2], stream_log, page_entries=rng.randint(1, 5)))
            await asyncio.sleep(rng.random() / 200)
            await writer.write_words(counts[half:], rng)
            await writer.end()
    full = writer.told()
    for k, reader in enumerate(readers):
        assert before[:k] + reader.had == full


@pytest.mark.parametrize("seed", range(8))
async def test_a_reader_that_is_cut_again_and_again_still_has_everything_once(redis: Redis, seed: int) -> None:
    """Three readers change between two relays at random events while the stream is written and changes its attempt."""
    rng = random.Random(seed)
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    async with hubs(redis, SETTINGS, 2) as relays:

        async def follow(reader: Reader) -> None:
            ended = False
            while not ended:
                relay, most = rng.choice(relays), len(reader.had) + rng.randint(1, 9)
                ended = await reader.read(relay, stream_log, page_entries=rng.randint(1, 8), most=most)

        readers = [Reader(writer.stream_id, START) for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(follow(reader))
            for _ in range(3):
                await writer.claim()
                await writer.write_words([rng.randint(1, 4) for _ in range(12)], rng)
            await writer.end()
    for reader in readers:
        assert reader.had == writer.told()
        assert reader.forks == 0


async def test_a_burst_larger_than_the_inbox_is_read_from_the_log(redis: Redis) -> None:
    """A reader that is not reading holds ``feed_entries`` at most, and then finds the rest in the log."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    async with (
        hubs(redis, SETTINGS) as (relay,),
        Subscription(relay, stream_log, writer.stream_id, START, 100) as subscription,
    ):
        seen = 0
        while seen < 2:
            seen += len(list(pieces(await subscription.read())))
        await writer.write_words([1] * 50)
        await writer.end()
        await eventually(lambda: relay._feeds[writer.stream_id].last_seq == len(writer.entries))
        while not subscription.ended:
            seen += len(list(pieces(await subscription.read())))
    assert seen == len(writer.entries)


@pytest.mark.parametrize("entries", [4, 10, 80, 200])
async def test_a_log_of_large_entries_is_given_out_in_small_batches(redis: Redis, entries: int) -> None:
    """Whatever the sizes, a batch that is more than one entry stays under 8 KiB, and nothing is left out."""
    rng = random.Random(entries)
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    for _ in range(entries):
        await writer.append(DeltaEvent(0, text="x" * rng.choice((1, 100, 5000, 20_000))))
    await writer.end()
    told: list[Entry] = []
    async with (
        hubs(redis, SETTINGS) as (relay,),
        Subscription(relay, stream_log, writer.stream_id, START, 256) as subscription,
    ):
        while not subscription.ended:
            batch = [one.entry for one in pieces(await subscription.read()) if isinstance(one, Piece)]
            assert len(batch) == 1 or sum(len(entry.blob) for entry in batch) < 8192
            told += batch
    assert [entry.blob for entry in told] == [entry.blob for entry in writer.entries]


async def test_what_has_gathered_for_a_slow_reader_may_be_told_as_one(redis: Redis) -> None:
    """From ``merge_entries`` on, and only then: a reader that keeps up gets every token by itself."""
    settings = SETTINGS.model_copy(update={"feed_entries": 100, "merge_entries": 3})
    stream_log = StreamLog(redis, settings)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    async with (
        hubs(redis, settings) as (relay,),
        Subscription(relay, stream_log, writer.stream_id, START, 100) as subscription,
    ):
        while subscription.offset.entry.seq < len(writer.entries):
            await subscription.read()
        for gathered, merged in ((1, False), (2, False), (3, True), (20, True), (1, False)):
            for _ in range(gathered):
                await writer.write_words([1])
            await eventually(lambda: relay._feeds[writer.stream_id].last_seq == len(writer.entries))
            assert len(list(pieces(await subscription.read()))) == gathered
            assert subscription.catching_up is merged


async def test_only_a_reader_that_was_too_slow_for_live_delivery_is_catching_up(redis: Redis) -> None:
    """Not while it reads what was there before it came, nor once it is live again: only then may deltas be merged."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    await writer.write_words([1] * 20)
    async with (
        hubs(redis, SETTINGS) as (relay,),
        Subscription(relay, stream_log, writer.stream_id, START, 5) as subscription,
    ):

        async def read(until: int) -> list[bool]:
            told = []
            while subscription.offset.entry.seq < until:
                if await subscription.read():
                    told.append(subscription.catching_up)
            return told

        assert not any(await read(len(writer.entries)))
        await writer.write_words([1])
        assert not any(await read(len(writer.entries)))
        await writer.write_words([1] * 20)
        await eventually(lambda: relay._feeds[writer.stream_id].last_seq == len(writer.entries))
        assert all(await read(len(writer.entries)))
        await writer.write_words([1])
        await read(len(writer.entries))  # maybe still from the log, but this is its tail
        await writer.end()
        assert await read(len(writer.entries)) == [False]


async def test_what_live_delivery_misses_is_found_by_the_check_of_quiet_streams(redis: Redis) -> None:
    """An entry that was appended without being published reaches the reader all the same."""
    settings = Settings(quiet_check_s=0.2)
    stream_log = StreamLog(redis, settings)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    async with hubs(redis, settings) as (relay,):
        reader = Reader(writer.stream_id, START)
        reading = asyncio.create_task(reader.read(relay, stream_log))
        await eventually(lambda: len(reader.had) == 2)
        await redis.xadd(keys.log(writer.stream_id), {"d": b'1 5\n{"type":"novel"}'}, id="1-3")
        await eventually(lambda: len(reader.had) == 3)
        assert isinstance((await stream_log.read(writer.stream_id, EntryId(1, 3), 1))[0].events()[0], UnknownEvent)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_a_hole_in_live_delivery_is_filled_from_the_log(redis: Redis) -> None:
    """An entry that nobody was told of is told before the next one, which was published."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    async with hubs(redis, SETTINGS) as (relay,):
        reader = Reader(writer.stream_id, START)
        reader.takes = lambda: True
        async with asyncio.TaskGroup() as group:
            group.create_task(reader.read(relay, stream_log))
            await eventually(lambda: len(reader.had) == 2)
            unheard = Entry(EntryId(1, 3), encode_blob([DeltaEvent(0, text="unheard")], 5))
            await redis.xadd(keys.log(writer.stream_id), {"d": unheard.blob}, id="1-3")
            writer.entries.append(unheard)
            await writer.write_words([1])
            await writer.end()
    assert reader.had == writer.told()


async def test_live_entries_go_on_after_the_pubsub_connection_was_killed(redis: Redis) -> None:
    """Redis cuts every subscriber; the hub comes back, and the reader misses nothing of what came meanwhile."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    async with hubs(redis, SETTINGS) as (relay,):
        reader = Reader(writer.stream_id, START)
        reader.takes = lambda: True
        async with asyncio.TaskGroup() as group:
            group.create_task(reader.read(relay, stream_log))
            for _ in range(5):
                await writer.write_words([1, 2, 1])
                await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                await writer.write_words([1, 1])
            await writer.end()
        assert reader.had == writer.told()


async def shortened(redis: Redis, stream_log: StreamLog, words: list[int]) -> LogWriter:
    """Write entries of so many words each, of which Redis then loses the last two; return who wrote them."""
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    await writer.write_words(words)
    await redis.xdel(keys.log(writer.stream_id), "1-4", "1-5")
    await redis.execute_command("XSETID", keys.log(writer.stream_id), "1-3")
    return writer


async def test_a_log_that_went_another_way_resets_the_reader(redis: Redis) -> None:
    """A reader who saw entries that a failover lost, and that another attempt wrote differently, begins anew."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = await shortened(redis, stream_log, [1, 1, 1])
    seen = writer.told()[-1][0]
    await writer.claim()
    await writer.write_words([1, 1, 1])
    await writer.end()
    async with hubs(redis, SETTINGS) as (relay,):
        reader = Reader(writer.stream_id, position(seen))
        await reader.read(relay, stream_log)
    assert reader.forks == 1
    assert reader.had == writer.told()


async def test_a_reader_ahead_of_the_log_waits_until_it_is_repaired(redis: Redis) -> None:
    """What Redis lost and the worker appends again, unchanged, is not told twice, and what follows is told once."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = await shortened(redis, stream_log, [2, 2, 2])
    before = writer.told()
    async with hubs(redis, SETTINGS) as (relay,):
        reader = Reader(writer.stream_id, position(before[-1][0]))
        reader.takes = lambda: True
        async with asyncio.TaskGroup() as group:
            group.create_task(reader.read(relay, stream_log))
            await eventually(lambda: relay.viewed() == {writer.stream_id})
            for entry in writer.entries[3:]:
                await writer.send(entry)
            await writer.write_words([1])
            await writer.end()
    assert reader.forks == 0
    assert before + reader.had == writer.told()


@pytest.mark.parametrize("repaired", ["heard", "unheard"])
async def test_a_reader_ahead_of_the_log_in_the_middle_of_an_entry_gets_its_rest(redis: Redis, repaired: str) -> None:
    """It was cut between two events of an entry that Redis then lost; whether or not it hears of the entry's repair."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = await shortened(redis, stream_log, [2, 2, 3])
    before = writer.told()[:-2]
    async with hubs(redis, SETTINGS) as (relay,):
        reader = Reader(writer.stream_id, position(before[-1][0]))
        reader.takes = lambda: True
        async with asyncio.TaskGroup() as group:
            group.create_task(reader.read(relay, stream_log))
            await eventually(lambda: relay.viewed() == {writer.stream_id})
            await eventually(lambda: all(inbox._waiter for inbox in relay._feeds[writer.stream_id].inboxes))
            for entry in writer.entries[3:]:
                if repaired == "unheard":
                    await redis.xadd(keys.log(writer.stream_id), {"d": entry.blob}, id=str(entry.id))
                else:
                    await writer.send(entry)
            await writer.write_words([1])
            await writer.end()
    assert reader.forks == 0
    assert before + reader.had == writer.told()


async def test_a_log_that_has_gone_is_told(redis: Redis) -> None:
    """A reader of an expired log gets a ``GoneError``, from its start and from an offset."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    await writer.end()
    await redis.delete(keys.log(writer.stream_id))
    async with hubs(redis, SETTINGS) as (relay,):
        for offset in (START, Offset(EntryId(1, 2), 0)):
            with pytest.raises(GoneError):
                await Reader(writer.stream_id, offset).read(relay, stream_log)


@pytest.mark.parametrize("seed", range(8))
async def test_however_a_client_takes_it_the_log_is_given_out_once_and_in_order(redis: Redis, seed: int) -> None:
    """Large pages are held, shed when the client stalls, and read again; a read that is cancelled loses nothing."""
    rng = random.Random(seed)
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    for _ in range(400):
        await writer.append(*(DeltaEvent(0, text="x" * rng.choice((1, 50, 900))) for _ in range(rng.randint(1, 3))))
    await writer.end()
    told: list[EntryId] = []
    async with hubs(redis, SETTINGS) as (relay,):
        subscription = Subscription(relay, stream_log, writer.stream_id, START, 1000)
        subscription.join_late(KeptLogs(0))
        async with subscription:
            assert await subscription.look() == "more"
            while not subscription.ended:
                reading = asyncio.create_task(subscription.read())
                if rng.random() < 0.2:
                    await asyncio.sleep(0)
                    reading.cancel()
                await asyncio.wait([reading])
                if reading.cancelled():
                    continue
                told += [one.entry.id for one in pieces(reading.result()) if isinstance(one, Piece)]
                if rng.random() < 0.1:
                    subscription.shed()
                subscription.pace(rng.choice((0, 100, 40_000, 40_000)))
            assert relay.viewed() == set()
    assert told == [entry.id for entry in writer.entries]


async def test_the_end_that_a_log_has_lost_is_heard_when_it_is_written_again(redis: Redis) -> None:
    """A reader who comes when the stream had ended reads the log first, and then waits for what is missing of it."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = await shortened(redis, stream_log, [2, 2, 2])
    async with hubs(redis, SETTINGS) as (relay,):
        subscription = Subscription(relay, stream_log, writer.stream_id, START, 100)
        subscription.join_late(KeptLogs(0))
        told: list[EntryId] = []

        async def read() -> None:
            async with subscription:
                while not subscription.ended:
                    told.extend(one.entry.id for one in pieces(await subscription.read()) if isinstance(one, Piece))

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            await eventually(lambda: relay.viewed() == {writer.stream_id})
            assert told == [entry.id for entry in writer.entries[:3]]
            for entry in writer.entries[3:]:
                await writer.send(entry)
            await writer.end()
        assert relay.viewed() == set()
    assert told == [entry.id for entry in writer.entries]


async def test_from_now_on_only_what_comes_is_read(redis: Redis) -> None:
    """After ``skip_to_now`` nothing of the past is told, and nothing of the future is missed."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    await writer.write_words([3, 3])
    before = len(writer.told())
    async with hubs(redis, SETTINGS) as (relay,):
        async with Subscription(relay, stream_log, writer.stream_id, START, 10) as subscription:
            await subscription.skip_to_now()
            offset = subscription.offset
        reader = Reader(writer.stream_id, offset)
        async with asyncio.TaskGroup() as group:
            group.create_task(reader.read(relay, stream_log))
            await writer.append(DeltaEvent(0, text="new"))
            await writer.append(EndEvent("completed"))
    assert reader.had == writer.told()[before:]


async def test_silence_is_a_sign_of_life_and_loses_nothing(redis: Redis) -> None:
    """A quiet stream gives empty batches every ``heartbeat_s``, and the next entry still comes."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    async with (
        hubs(redis, SETTINGS) as (relay,),
        Subscription(relay, stream_log, writer.stream_id, START, 10) as subscription,
    ):
        assert len(await subscription.read()) == 1
        async with asyncio.timeout(5):
            assert await subscription.read() == []
            assert await subscription.read() == []
        await writer.claim()
        batch = await subscription.read()
        while not batch:
            batch = await subscription.read()
    assert subscription.offset.entry == EntryId(1, 2)
    assert subscription.offset.entry > NO_ENTRY


async def test_from_now_on_gives_an_offset_that_can_be_come_back_with(redis: Redis) -> None:
    """A reader that has skipped to the tail and got nothing yet resumes exactly there."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    await writer.write_words([2])
    async with hubs(redis, SETTINGS) as (relay,):
        async with Subscription(relay, stream_log, writer.stream_id, START, 10) as subscription:
            await subscription.skip_to_now()
            assert await subscription.read() == []
            text = subscription.offset.text(writer.stream_id)
        told = writer.told()
        await writer.write_words([1])
        await writer.end()
        reader = Reader(writer.stream_id, Offset.parse(text, writer.stream_id))
        await reader.read(relay, stream_log)
    assert told + reader.had == writer.told()


async def test_a_reader_ahead_of_all_there_will_be_is_told_at_the_end(redis: Redis) -> None:
    """Its offset names an entry that never comes; when the end does, it gets a reset and everything."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    reader = Reader(writer.stream_id, Offset(EntryId(7, 7_000), 0))
    async with hubs(redis, SETTINGS) as (relay,):
        reading = asyncio.create_task(reader.read(relay, stream_log))
        await eventually(lambda: writer.stream_id in relay.viewed())
        await writer.write_words([1])
        await eventually(lambda: relay._feeds[writer.stream_id].last_seq == len(writer.entries))
        await writer.end()
        await asyncio.wait([reading], timeout=5)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert reader.forks == 1
    assert reader.had == writer.told()


async def test_a_read_that_is_cancelled_in_the_middle_of_a_catch_up_loses_nothing(redis: Redis) -> None:
    """The entries that overflowed its inbox are read from the log by the next read."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    async with (
        hubs(redis, SETTINGS) as (relay,),
        Subscription(relay, stream_log, writer.stream_id, START, 100) as subscription,
    ):
        seen = 0
        while seen < 2:
            seen += len(list(pieces(await subscription.read())))
        await writer.write_words([1] * 6)
        await eventually(lambda: all(inbox.behind for inbox in relay._feeds[writer.stream_id].inboxes))
        await eventually(lambda: relay._feeds[writer.stream_id].last_seq == len(writer.entries))
        cut = asyncio.create_task(subscription.read())
        await asyncio.sleep(0)
        cut.cancel()
        await asyncio.wait([cut])
        async with asyncio.timeout(5):
            while seen < len(writer.entries):
                seen += len(list(pieces(await subscription.read())))
    assert seen == len(writer.entries)
