"""Streams on a Redis Cluster: slots move and a primary dies under running streams, and every reader has it all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from shared import keys
from shared.cluster_map import slot_of
from tests.conftest import StartRedis, StartService
from tests.e2e.crowd import Crowd, environment, request, said
from tests.messages_server import MessagesServer
from tests.support import eventually
from tests.support_cluster import ClusterSet


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP session for any number of connections."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as opened:
        yield opened


async def move_streams(cluster: ClusterSet, stream_ids: list[str]) -> None:
    """Move the slot of each stream to another primary."""
    for stream_id in stream_ids:
        slot = slot_of(keys.record(stream_id))
        owner = await cluster.owner(slot)
        await cluster.move(slot, next(one for one in cluster.primaries if one is not owner))


def words_of(crowd: Crowd, numbers: list[int]) -> list[int]:
    """Return how many words each of these followers has."""
    return [len(crowd.followers[number].text.split()) for number in numbers]


async def test_streams_on_a_cluster_outlive_moved_slots_and_a_killed_primary(
    session: aiohttp.ClientSession,
    tmp_path: Path,
    redis_server: StartRedis,
    relay_process: StartService,
    worker_process: StartService,
) -> None:
    """Nobody loses or repeats a word, nobody is taken over, and no provider is asked twice."""
    queue = redis_server()
    async with MessagesServer() as provider, ClusterSet(tmp_path, replicas=1) as cluster:
        # A long lease: this is about the cluster, not about a worker that a busy machine lets starve meanwhile.
        env = environment(queue.url, provider.base_url, TAILRACE_STREAMS_URL=cluster.url, TAILRACE_LEASE_S="5")
        relays = [relay_process(**env) for _ in range(2)]
        workers = [worker_process(**env) for _ in range(2)]
        for part in (*relays, *workers):
            await part.ready(30)
        async with Crowd(session, relays) as crowd:
            await crowd.start(50, request(tokens=90, per_second=10))
            await eventually(lambda: crowd.have(3), 30)
            await move_streams(cluster, [follower.stream_id for follower in crowd.followers[:12]])
            assert not any(follower.kinds("end") for follower in crowd.followers), "all was moved under running streams"
            cluster.primaries[0].kill()
            promoted = await cluster.owner(0)
            assert promoted is cluster.replicas[0]
            assert not any(follower.kinds("end") for follower in crowd.followers)
            await crowd.ended(60)
            crowd.check_whole(said(90))
        assert len(provider.calls) == 50
        assert not [call for call in provider.calls if call.disconnected.is_set()]
        for part in (*relays, *workers):
            assert part.running, part.tail()
            part.end()


async def test_a_hung_server_of_a_cluster_stops_its_own_streams_and_no_others(
    session: aiohttp.ClientSession,
    cluster: ClusterSet,
    redis_server: StartRedis,
    relay_process: StartService,
    worker_process: StartService,
) -> None:
    """For seconds, without a replica: the others go on, its own wait in the worker's buffer, nobody is asked twice."""
    queue = redis_server()
    async with MessagesServer() as provider:
        env = environment(queue.url, provider.base_url, TAILRACE_STREAMS_URL=cluster.url, TAILRACE_LEASE_S="5")
        relay, worker = relay_process(**env), worker_process(**env)
        for part in (relay, worker):
            await part.ready(30)
        async with Crowd(session, [relay]) as crowd:
            await crowd.start(20, request(tokens=60, per_second=10))
            await eventually(lambda: crowd.have(3), 30)
            owners = [await cluster.owner(slot_of(keys.record(one.stream_id))) for one in crowd.followers]
            hung = owners[0]
            stopped = [number for number, owner in enumerate(owners) if owner is hung]
            others = [number for number, owner in enumerate(owners) if owner is not hung]
            hung.pause()
            try:
                before = words_of(crowd, stopped)
                await eventually(lambda: min(words_of(crowd, others)) >= 50, 15, "the others go on")
                assert max(now - then for now, then in zip(words_of(crowd, stopped), before, strict=True)) <= 2
            finally:
                hung.resume()
            await crowd.ended(30)
            crowd.check_whole(said(60))
        assert len(provider.calls) == 20
        for part in (relay, worker):
            assert part.running, part.tail()
            part.end()
    await eventually(cluster.settled, 10)
