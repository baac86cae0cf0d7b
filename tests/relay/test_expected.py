"""Streams that are listened to before they are made: their readers need no look at the log, and lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from relay.at_once import AtOnce
from relay.live.hub import Hub
from relay.start import Starter
from relay.start_order import StartOrder
from shared import keys
from shared.admission import Admission
from shared.entry import encode_blob
from shared.errors import LimitError
from shared.events import AttemptEvent
from shared.jobs import JobQueue
from shared.leases import Leases
from shared.offset import START
from shared.settings import Settings
from shared.stream_log import StreamLog
from shared.tasks import end_tasks
from tests.core.system import TENANT, request
from tests.relay.log_writer import LogWriter, Reader, hubs
from tests.support import eventually

SETTINGS = Settings(sim=True, quiet_check_s=300, heartbeat_s=0.5, viewer_lease_s=5, max_active_per_tenant=1)
"""The check of quiet streams, which would hide what is missed, is as good as off."""


class Relay:
    """The two parts of a relay that start a stream and hear it, with the worker's pen."""

    def __init__(self, redis: Redis, hub: Hub) -> None:
        """Use ``redis`` for everything."""
        self.hub = hub
        self.redis = redis
        self.log = StreamLog(redis, SETTINGS)
        admission, jobs = Admission(redis, SETTINGS), JobQueue(redis, SETTINGS)
        at_once = AtOnce(redis, admission, self.log, jobs, Leases(redis, SETTINGS))
        order = StartOrder(admission, self.log, jobs, hub, at_once)
        self._starter = Starter(SETTINGS, order, self.log)

    async def start(self) -> LogWriter:
        """Start a stream that is to be followed, and return its pen."""
        started = await self._starter.start(TENANT, request(tokens=1), None, followed=True)
        writer = LogWriter(self.log)
        writer.stream_id = started.stream_id
        return writer

    async def reads(self) -> int:
        """Return how often a log was read by anybody."""
        return int((await self.redis.info("commandstats")).get("cmdstat_xrange", {"calls": 0})["calls"])


@asynccontextmanager
async def running(redis: Redis) -> AsyncIterator[Relay]:
    """Give a relay whose hub runs and is connected."""
    async with hubs(redis, SETTINGS) as (hub,):
        await eventually(lambda: hub.live.connected)
        yield Relay(redis, hub)


async def _write(writer: LogWriter) -> None:
    """Write a whole answer, of two attempts."""
    for _ in range(2):
        await writer.claim()
        await writer.write_words([1, 2, 1])
    await writer.end()


async def test_who_starts_a_stream_reads_it_without_a_look_at_the_log(redis: Redis) -> None:
    """From the first entry on, also over a change of the attempt; the pen alone reads the log, once an attempt."""
    async with asyncio.timeout(10), running(redis) as relay, asyncio.TaskGroup() as group:
        writer = await relay.start()
        # What Redis publishes and what it answers come on two connections.
        await eventually(lambda: relay.hub._feeds[writer.stream_id].spoke)
        before = await relay.reads()
        reader = Reader(writer.stream_id, START)
        group.create_task(reader.read(relay.hub, relay.log))
        await _write(writer)
        await eventually(lambda: reader.had == writer.told())
        looks = 1 + 2  # Reader asks whether it is at the end already; the pen reads what it continues
        assert await relay.reads() == before + looks


@pytest.mark.parametrize("when", ["after the start", "while it is written"])
async def test_a_live_connection_that_is_lost_meanwhile_costs_nobody_anything(redis: Redis, when: str) -> None:
    """Then the log is read, as ever."""
    async with asyncio.timeout(10), running(redis) as relay, asyncio.TaskGroup() as group:
        writer = await relay.start()
        if when == "after the start":
            await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        reader = Reader(writer.stream_id, START)
        group.create_task(reader.read(relay.hub, relay.log))
        await writer.claim()
        if when == "while it is written":
            await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await writer.write_words([1, 2, 1])
        await writer.end()
        await eventually(lambda: reader.had == writer.told())


async def test_a_start_before_there_is_a_live_connection_is_read_from_the_log(redis: Redis) -> None:
    """Its first entry was published to nobody, and the others come live."""
    hub = Hub(redis, StreamLog(redis, SETTINGS), SETTINGS)
    relay = Relay(redis, hub)
    writer = await relay.start()
    running_hub = asyncio.create_task(hub.run())
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        reader = Reader(writer.stream_id, START)
        group.create_task(reader.read(hub, relay.log))
        await eventually(lambda: len(reader.had) == 1)
        await _write(writer)
        await eventually(lambda: reader.had == writer.told())
    await end_tasks([running_hub])


async def test_what_comes_before_the_reader_is_kept_for_it(redis: Redis) -> None:
    """A worker may be faster than the relay's answer to its client."""
    async with asyncio.timeout(10), running(redis) as relay:
        writer = await relay.start()
        await _write(writer)
        reader = Reader(writer.stream_id, START)
        assert await reader.read(relay.hub, relay.log)
        assert reader.had == writer.told()
        assert reader.forks == 0


async def test_a_second_reader_reads_the_log(redis: Redis) -> None:
    """What was heard before it came is the first one's alone."""
    async with asyncio.timeout(10), running(redis) as relay, asyncio.TaskGroup() as group:
        writer = await relay.start()
        readers = [Reader(writer.stream_id, START) for _ in range(3)]
        for reader in readers:
            group.create_task(reader.read(relay.hub, relay.log))
        await _write(writer)
        await eventually(lambda: all(reader.had == writer.told() for reader in readers))


async def test_a_stream_that_is_refused_is_not_listened_to(redis: Redis) -> None:
    """Neither here nor by Redis."""
    async with asyncio.timeout(10), running(redis) as relay:
        first = await relay.start()
        with pytest.raises(LimitError):
            await relay.start()
        assert relay.hub.viewed() == {first.stream_id}

        async def listened_to() -> bool:
            return bool(await redis.pubsub_channels() == [keys.live(first.stream_id).encode()])

        await eventually(listened_to)


async def test_a_stream_that_nobody_comes_for_is_not_listened_to_for_long(redis: Redis) -> None:
    """Its client has gone before it was answered."""
    async with asyncio.timeout(10), running(redis) as relay:
        await relay.start()
        await eventually(lambda: relay.hub.viewed() == set(), 5, "it is given up")


@pytest.mark.parametrize("follows", ["", "0-7", "no id"])
async def test_an_attempt_is_read_live_only_where_it_follows_what_the_reader_has(redis: Redis, follows: str) -> None:
    """What was published may be another's, or of a log that went another way: the log says what is true."""
    async with asyncio.timeout(10), running(redis) as relay, asyncio.TaskGroup() as group:
        writer = await relay.start()
        reader = Reader(writer.stream_id, START)
        group.create_task(reader.read(relay.hub, relay.log))
        await eventually(lambda: len(reader.had) == 1)
        lie = AttemptEvent(7, "first", "start", "sim", "sim", follows)
        await redis.publish(keys.live(writer.stream_id), b"7-2\n" + encode_blob([lie], 1))
        await _write(writer)
        await eventually(lambda: reader.had == writer.told())
        assert reader.forks == 0
