"""The hub: what comes on a live channel is a shortcut, whoever has published it."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from redis.asyncio import Redis

from shared import keys
from shared.offset import START
from shared.settings import Settings
from shared.stream_log import StreamLog
from tests.relay.log_writer import LogWriter, Reader, hubs
from tests.support import eventually

SETTINGS = Settings(quiet_check_s=300, heartbeat_s=0.5, viewer_lease_s=5)
"""The check of quiet streams, which would hide what live delivery misses, is as good as off."""


@pytest.mark.parametrize(
    "junk", [b"", b"junk", b"\xff\xfe\n\xff", b"1-3", b"1-3\nno header", b"x-y\n1 2\n{}", b"1-3\n1 2\n{}"]
)
async def test_junk_on_a_live_channel_disturbs_nobody(redis: Redis, junk: bytes) -> None:
    """It is told of once; the readers of the stream look at the log, and those of others notice nothing."""
    stream_log = StreamLog(redis, SETTINGS)
    writers = [LogWriter(stream_log) for _ in range(2)]
    for writer in writers:
        await writer.start()
        await writer.claim()
    readers = [Reader(writer.stream_id, START) for writer in writers]
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(10), hubs(redis, SETTINGS) as (hub,), asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.read(hub, stream_log))
            await eventually(lambda: all(len(reader.had) == 2 for reader in readers))
            await redis.publish(keys.live(writers[0].stream_id), junk)
            await redis.publish(keys.live(writers[0].stream_id), junk)
            for writer in writers:
                await writer.write_words([1, 2])
                await writer.end()
    assert [reader.had for reader in readers] == [writer.told() for writer in writers]
    assert [entry["size"] for entry in logs if entry["event"] == "hub.junk"] == [len(junk)]


async def test_a_reader_is_sent_to_the_log_by_junk_alone(redis: Redis) -> None:
    """Somebody may have published it in an entry's place."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    async with hubs(redis, SETTINGS) as (hub,):
        inbox = await hub.join(writer.stream_id)
        inbox.caught_up()
        await redis.publish(keys.live(writer.stream_id), "junk")
        await eventually(lambda: inbox.behind)
        hub.leave(inbox)


async def test_what_nobody_reads_any_more_is_left_and_what_is_read_again_is_not(redis: Redis) -> None:
    """A reader who comes back at once keeps hearing, though the end of the subscription was on its way."""
    stream_log = StreamLog(redis, SETTINGS)
    writers = [LogWriter(stream_log) for _ in range(2)]
    left, again = (keys.live(writer.stream_id) for writer in writers)
    for writer in writers:
        await writer.start()

    async def heard(channel: str) -> int:
        return int(dict(await redis.pubsub_numsub(channel))[channel.encode()])

    async def nobody_hears_what_was_left() -> bool:
        return await heard(left) == 0

    async with hubs(redis, SETTINGS) as (hub,):
        for inbox in [await hub.join(writer.stream_id) for writer in writers]:
            hub.leave(inbox)
        inbox = await hub.join(writers[1].stream_id)
        await eventually(nobody_hears_what_was_left)
        assert await heard(again) == 1
        inbox.caught_up()
        await redis.publish(again, "junk")
        await eventually(lambda: inbox.behind)
        hub.leave(inbox)
