"""Live delivery from a cluster: slots move and connections are cut under readers who have everything once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

import pytest

from relay.live.hub import Hub
from shared import keys
from shared.cluster import Cluster
from shared.cluster_map import slot_of
from shared.offset import START
from shared.redis_client import streams_redis
from shared.settings import Settings
from shared.stream_log import StreamLog
from tests.relay.log_writer import LogWriter, Reader, hubs
from tests.support import eventually
from tests.support_cluster import ClusterSet

QUIET = Settings(quiet_check_s=300, heartbeat_s=0.5, viewer_lease_s=5, redis_timeout_s=2)
"""The check of quiet streams, which would hide what live delivery misses, is as good as off."""


@dataclass(frozen=True)
class Clients:
    """Two clients of one cluster, of which neither knows what the other has learnt."""

    worker: Cluster
    relay: Cluster


@pytest.fixture
async def clients(cluster: ClusterSet) -> AsyncIterator[Clients]:
    """Give clients of the test's cluster."""
    made = [streams_redis(Settings(streams_url=cluster.url, redis_timeout_s=2)) for _ in range(2)]
    worker, relay = made
    assert isinstance(worker, Cluster)
    assert isinstance(relay, Cluster)
    yield Clients(worker, relay)
    for client in made:
        await client.aclose()


class Readings:
    """Streams on all servers, and a reader of each."""

    def __init__(self, clients: Clients, hub: Hub, count: int) -> None:
        """Read so many streams through ``hub``."""
        self._log = StreamLog(clients.relay, QUIET)
        self._hub = hub
        self.writers = [LogWriter(StreamLog(clients.worker, QUIET)) for _ in range(count)]
        self.readers = [Reader(writer.stream_id, START) for writer in self.writers]

    async def begin(self, group: asyncio.TaskGroup) -> None:
        """Begin to write and to read."""
        for writer, reader in zip(self.writers, self.readers, strict=True):
            await writer.start()
            await writer.claim()
            group.create_task(reader.read(self._hub, self._log))
        await self.caught_up()

    async def say(self) -> None:
        """Append to every stream."""
        for writer in self.writers:
            await writer.write_words([1, 2])

    async def caught_up(self) -> None:
        """Return when every reader has all."""
        await eventually(lambda: [one.had for one in self.readers] == [one.told() for one in self.writers])

    async def end(self) -> None:
        """End every stream."""
        for writer in self.writers:
            await writer.end()


async def test_every_server_delivers_its_streams_live(clients: Clients) -> None:
    """Sharded pub/sub reaches readers from the server that has the stream, over one connection each."""
    async with asyncio.timeout(20), hubs(clients.relay, QUIET) as (hub,), asyncio.TaskGroup() as group:
        readings = Readings(clients, hub, 30)
        await readings.begin(group)
        for _ in range(3):
            await readings.say()
            await readings.caught_up()
        listening = [
            [one for one in await clients.relay.node(address).client.client_list() if int(one["ssub"])]
            for address in clients.relay.map.primaries
        ]
        assert [len(connections) for connections in listening] == [1, 1, 1]
        await readings.end()


async def test_readers_follow_slots_that_move_there_and_back(cluster: ClusterSet, clients: Clients) -> None:
    """The server that gives a slot away ends its subscriptions; they are made again at the new one."""
    async with asyncio.timeout(20), hubs(clients.relay, QUIET) as (hub,), asyncio.TaskGroup() as group:
        readings = Readings(clients, hub, 10)
        await readings.begin(group)
        for _ in cluster.primaries:  # all the way round
            for writer in readings.writers[:5]:
                slot = slot_of(keys.log(writer.stream_id))
                number = cluster.primaries.index(await cluster.owner(slot))
                await cluster.move(slot, cluster.primaries[number - 1])
                await readings.say()
            await readings.caught_up()
        await readings.end()


async def test_readers_outlast_cut_connections(cluster: ClusterSet, clients: Clients) -> None:
    """One server after the other cuts its subscribers."""
    async with asyncio.timeout(20), hubs(clients.relay, QUIET) as (hub,), asyncio.TaskGroup() as group:
        readings = Readings(clients, hub, 10)
        await readings.begin(group)
        for server in cluster.primaries:
            await readings.say()
            await cluster.ask(server, "CLIENT KILL", "TYPE", "pubsub")
            await readings.say()
            await readings.caught_up()
        await readings.end()


async def test_what_is_written_while_a_slot_is_on_its_way_is_found_by_the_check_of_quiet_streams(
    cluster: ClusterSet, clients: Clients
) -> None:
    """Its keys are at the new server already, its subscribers still at the old one, where nothing is published."""
    settings = QUIET.model_copy(update={"quiet_check_s": 0.1})
    async with asyncio.timeout(20), hubs(clients.relay, settings) as (hub,), asyncio.TaskGroup() as group:
        readings = Readings(clients, hub, 1)
        await readings.begin(group)
        names = [keys.record(readings.writers[0].stream_id), keys.log(readings.writers[0].stream_id)]
        slot = slot_of(names[0])
        source = await cluster.owner(slot)
        target = next(one for one in cluster.primaries if one is not source)
        await cluster.begin_move(slot, target)
        await cluster.migrate(source, target, [name.encode() for name in names])
        await readings.say()
        await readings.caught_up()
        await cluster.finish_move(slot, target)
        await readings.say()
        await readings.end()


async def test_a_stream_that_nobody_reads_any_more_is_not_subscribed_to(clients: Clients) -> None:
    """Also when it was asked for again in between."""
    stream_log = StreamLog(clients.worker, QUIET)
    writer = LogWriter(stream_log)
    await writer.start()
    channel = keys.live(writer.stream_id)
    async with asyncio.timeout(20), hubs(clients.relay, QUIET) as (hub,):
        for _ in range(3):
            inboxes = [await hub.join(writer.stream_id) for _ in range(2)]
            for inbox in inboxes:
                hub.leave(inbox)
        address = clients.relay.owner(channel)
        assert address is not None
        server = clients.relay.node(address).client
        await eventually(lambda: _silent(server.execute_command("PUBSUB SHARDNUMSUB", channel)))


async def _silent(asked: Awaitable[list[tuple[bytes, int]]]) -> bool:
    """Tell whether nobody subscribes."""
    return [count for _, count in await asked] == [0]
