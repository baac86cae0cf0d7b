"""Logs of ended streams that a relay keeps: they tell what Redis would, as long as Redis has the same end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from relay.live.hub import Hub
from relay.reading import native
from relay.reading.kept_logs import KeptLogs
from relay.reading.subscription import Subscription
from shared import keys
from shared.entry import encode_blob
from shared.errors import GoneError
from shared.events import DeltaEvent, EndEvent
from shared.offset import NO_ENTRY, START, EntryId, Offset
from shared.run import Run
from shared.settings import Settings
from shared.stream_log import StreamLog
from tests.relay.log_writer import LogWriter, hubs
from tests.support import eventually

SETTINGS = Settings()
_MUCH = 1 << 20


@pytest.fixture
async def hub(redis: Redis) -> AsyncIterator[Hub]:
    """Run the live delivery of one relay."""
    async with hubs(redis, SETTINGS) as (relay,):
        yield relay


@pytest.fixture
async def writer(redis: Redis) -> LogWriter:
    """Write a stream of two attempts to its end: some of its entries have one event, some have several."""
    writer, rng = LogWriter(StreamLog(redis, SETTINGS)), random.Random(1)
    await writer.start()
    for _ in range(2):
        await writer.claim()
        await writer.write_words([rng.choice((1, 1, 1, 2, 5)) for _ in range(300)])
    await writer.end()
    return writer


class _Relay:
    """What one relay tells of a stream that has ended."""

    def __init__(self, redis: Redis, hub: Hub, stream_id: str, kept_logs: KeptLogs) -> None:
        self._hub = hub
        self._log = StreamLog(redis, SETTINGS)
        self._stream_id = stream_id
        self._kept_logs = kept_logs

    def subscription(self, offset: Offset = START) -> Subscription:
        """Return one that is not open yet."""
        subscription = Subscription(self._hub, self._log, self._stream_id, offset, 1000)
        subscription.join_late(self._kept_logs)
        return subscription

    async def tell(self, offset: Offset = START, rng: random.Random | None = None) -> bytes:
        """Return all that follows the offset, as a native reader gets it; one that takes much, or as ``rng`` has it."""
        frames = b""
        async with asyncio.timeout(20), self.subscription(offset) as subscription:
            while not subscription.ended:
                frames += native.sse_frames(self._stream_id, await subscription.read())
                if rng is not None and rng.random() < 0.1:
                    subscription.shed()
                subscription.pace(100_000 if rng is None else rng.choice((0, 100, 100_000)))
        return frames


async def _lose_the_middle(redis: Redis, writer: LogWriter) -> None:
    """Take entries out of the log, which nothing of ours does: who tells them now does not read them from there."""
    await redis.xdel(keys.log(writer.stream_id), *(str(entry.id) for entry in writer.entries[100:500]))


async def test_what_was_told_to_the_end_is_told_again_from_memory(redis: Redis, hub: Hub, writer: LogWriter) -> None:
    """After each of the offsets that a reader may come with."""
    from_log = _Relay(redis, hub, writer.stream_id, KeptLogs(0))
    offsets = [Offset.parse(text, writer.stream_id) for text, _ in writer.told()]
    expected = {offset: await from_log.tell(offset) for offset in [START, *offsets[:-1:41]]}
    relay = _Relay(redis, hub, writer.stream_id, KeptLogs(_MUCH))
    assert await relay.tell() == expected[START]
    await _lose_the_middle(redis, writer)
    for _ in range(2):
        for offset, frames in expected.items():
            assert await relay.tell(offset) == frames
    async with relay.subscription(offsets[-1]) as subscription:
        assert await subscription.look() == "end"


async def test_who_has_the_end_has_nothing_kept(redis: Redis, hub: Hub, writer: LogWriter) -> None:
    """As an EventSource that comes back after it."""
    kept_logs = KeptLogs(_MUCH)
    relay = _Relay(redis, hub, writer.stream_id, kept_logs)
    async with relay.subscription(Offset(writer.entries[-1].id, 0)) as subscription:
        assert await subscription.look() == "end"
        assert kept_logs.held_bytes == 0


async def test_a_log_that_was_told_from_the_middle_is_kept_so(redis: Redis, hub: Hub, writer: LogWriter) -> None:
    """Who wants more than is kept is told by Redis, and then that is kept."""
    relay = _Relay(redis, hub, writer.stream_id, KeptLogs(_MUCH))
    early, middle, late = (Offset(writer.entries[at].id, 0) for at in (10, 90, 550))
    expected = [await relay.tell(early), await relay.tell(middle), await relay.tell(late)]
    relay = _Relay(redis, hub, writer.stream_id, KeptLogs(_MUCH))
    assert await relay.tell(middle) == expected[1]
    assert await relay.tell(early) == expected[0]
    await _lose_the_middle(redis, writer)
    assert [await relay.tell(offset) for offset in (early, middle, late)] == expected


@pytest.mark.parametrize("seed", range(6))
async def test_however_a_client_takes_it_it_is_told_the_same(
    redis: Redis, hub: Hub, writer: LogWriter, seed: int
) -> None:
    """The first reader, of whom it is gathered unless it stalls, and those after it."""
    rng = random.Random(seed)
    expected = await _Relay(redis, hub, writer.stream_id, KeptLogs(0)).tell()
    kept_logs = KeptLogs(_MUCH)
    relay = _Relay(redis, hub, writer.stream_id, kept_logs)
    for _ in range(4):
        assert await relay.tell(rng=rng) == expected
    assert kept_logs.held_bytes < 4 * len(expected)


async def test_a_log_that_ends_otherwise_by_now_is_read(redis: Redis, hub: Hub, writer: LogWriter) -> None:
    """Redis may have lost the end, and the stream may have been ended by somebody else, in the very same place."""
    relay = _Relay(redis, hub, writer.stream_id, KeptLogs(_MUCH))
    told = await relay.tell()
    end = writer.entries[-1]
    log = keys.log(writer.stream_id)
    await redis.delete(log)
    for entry in writer.entries[:-1]:
        await redis.xadd(log, {"d": entry.blob}, id=str(entry.id))
    await redis.xadd(log, {"d": encode_blob([EndEvent("cancelled")], 9)}, id=str(end.id))
    await redis.expire(log, 60)
    again = await relay.tell()
    assert again != told
    assert b'"cancelled"' in again[-200:]


async def test_a_log_that_was_erased_is_gone(redis: Redis, hub: Hub, writer: LogWriter) -> None:
    """Here too, and what was kept of it is let go."""
    kept_logs = KeptLogs(_MUCH)
    relay = _Relay(redis, hub, writer.stream_id, kept_logs)
    await relay.tell()
    assert kept_logs.held_bytes > 0
    await StreamLog(redis, SETTINGS).erase(writer.stream_id)
    async with relay.subscription() as subscription:
        assert await subscription.look() == "nothing"
        with pytest.raises(GoneError):
            await subscription.read()
    assert kept_logs.held_bytes == 0


async def test_a_reader_who_leaves_before_the_end_leaves_nothing(redis: Redis, hub: Hub, writer: LogWriter) -> None:
    """Nor does one who stops reading."""
    kept_logs = KeptLogs(_MUCH)
    relay = _Relay(redis, hub, writer.stream_id, kept_logs)
    async with relay.subscription() as subscription:
        await subscription.read()
        assert kept_logs.held_bytes > 0
    assert kept_logs.held_bytes == 0
    async with relay.subscription() as subscription:
        await subscription.read()
        subscription.shed()
        assert kept_logs.held_bytes == 0


def _run(size: int) -> Run:
    """Return a run of one entry, which is an end."""
    return Run(EntryId(1, 1), [encode_blob([DeltaEvent(0, text="x" * size), EndEvent("completed")], 3)])


async def test_the_memory_is_bounded_and_what_was_read_last_stays() -> None:
    """A log that would take more than its part is not kept, and the others stay."""
    kept_logs = KeptLogs(20_000)
    for name in ("a", "b", "c", "d", "e", "f"):
        if name == "e":
            assert kept_logs.get("a") is not None
        kept_logs.gather(name).add([_run(1_350)])
        assert 0 < kept_logs.held_bytes <= 20_000
    assert [kept_logs.get(name) is not None for name in "abcdef"] == [True, False, False, True, True, True]
    kept_logs.gather("g").add([_run(3_000)])
    assert kept_logs.get("g") is None
    assert all(kept_logs.get(name) is not None for name in "adef")


async def test_what_is_gathered_counts_before_it_is_kept() -> None:
    """Many first readers at once take no more memory than there is."""
    kept_logs = KeptLogs(20_000)
    part = Run(EntryId(1, 1), [encode_blob([DeltaEvent(0, text="x" * 1_500)], 3)])
    gatherings = [kept_logs.gather(str(number)) for number in range(50)]
    for gathering in gatherings:
        gathering.add([part])
    assert kept_logs.held_bytes <= 20_000
    for gathering in gatherings:
        gathering.stop()
        gathering.stop()
    assert kept_logs.held_bytes == 0


async def test_what_was_refused_or_left_once_is_not_kept_without_it() -> None:
    """A log with a hole would be told with the hole."""
    kept_logs = KeptLogs(20_000)
    first, last = (
        Run(EntryId(1, 1), [encode_blob([DeltaEvent(0, text="x" * 9_000)], 3)]),
        Run(EntryId(1, 2), _run(1).blobs),
    )
    refused, left = kept_logs.gather("a"), kept_logs.gather("b")
    refused.add([first])
    refused.add([last])
    left.stop()
    left.add([last])
    assert (kept_logs.get("a"), kept_logs.get("b"), kept_logs.held_bytes) == (None, None, 0)


async def test_one_reader_of_many_is_enough_to_keep_a_log() -> None:
    """What the others are told counts nothing; and a part of what is kept does not take its place."""
    kept_logs = KeptLogs(20_000)
    part, end = Run(EntryId(1, 1), [encode_blob([DeltaEvent(0, text="x" * 100)], 3)]), Run(EntryId(1, 2), _run(1).blobs)
    one, other = kept_logs.gather("a"), kept_logs.gather("a")
    one.add([part])
    held_bytes = kept_logs.held_bytes
    other.add([part, end])
    assert (kept_logs.get("a"), kept_logs.held_bytes) == (None, held_bytes)
    one.add([end])
    held_bytes = kept_logs.held_bytes
    kept_logs.gather("a").add([end])
    kept = kept_logs.get("a")
    assert kept is not None
    assert kept.since(NO_ENTRY) is not None
    assert kept_logs.held_bytes == held_bytes
    kept_logs.gather("a").add([Run(EntryId(1, 1), _run(500).blobs)])  # another log of this name
    kept_logs.drop("a")
    assert kept_logs.held_bytes == 0


async def test_what_nobody_reads_is_let_go() -> None:
    """After a while, also when nothing else happens."""
    kept_logs = KeptLogs(20_000, keep_s=0.05)
    kept_logs.gather("a").add([_run(100)])
    assert kept_logs.get("a") is not None
    await eventually(lambda: kept_logs.held_bytes == 0)
    assert kept_logs.get("a") is None


async def test_a_log_has_what_follows_an_entry_of_its_own_alone() -> None:
    """Not of another attempt, nor from before its first entry."""
    kept_logs = KeptLogs(_MUCH)
    kept_logs.gather("a").add([Run(EntryId(1, 5), [b"1 1\n{}"] * 3), Run(EntryId(2, 8), _run(1).blobs)])
    kept = kept_logs.get("a")
    assert kept is not None
    for missing in (NO_ENTRY, EntryId(1, 4), EntryId(1, 8), EntryId(2, 7), EntryId(2, 9), EntryId(0, 6), EntryId(3, 8)):
        assert kept.since(missing) is None
    for found, count in ((EntryId(1, 5), 4), (EntryId(1, 7), 2), (EntryId(2, 8), 1)):
        runs = kept.since(found)
        assert runs is not None
        assert (runs[0].first, sum(map(len, runs))) == (found, count)
