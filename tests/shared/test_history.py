"""Attempts' numbers never come back, whatever Redis has lost: the rule behind every offset that readers hold."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from shared import keys
from shared.claims import Claim, Claimed
from shared.entry import Entry, encode_blob
from shared.events import AttemptEvent, EndEvent, StartEvent
from shared.offset import NO_ENTRY, EntryId, new_stream_id
from shared.record import Record
from shared.settings import Settings
from shared.stream_log import StreamLog
from tests.conftest import StartRedis
from tests.support_redis import RedisProcess

CREATED_MS = round(time.time() * 1000)
RECORD = Record("acme", "sim", "sim", CREATED_MS, 100, {}, b'{"messages":[]}')


class Losing:
    """A stream in a Redis of the test's own, which can be made to lose what it was last told."""

    def __init__(self, server: RedisProcess) -> None:
        """Use ``server``; nothing is written yet."""
        self.stream_id = new_stream_id()
        self.server = server
        self.redis = Redis.from_url(server.url)
        self.log = StreamLog(self.redis, Settings())

    async def create(self, *, new: bool = True) -> None:
        """Make the stream."""
        start = StartEvent(self.stream_id, "sim", "sim", CREATED_MS, 100)
        assert await self.log.create(self.stream_id, RECORD, Entry(EntryId(0, 1), encode_blob([start], 1)), new=new)

    async def claim(self, replaces: int, token: str, *, careful: bool = False) -> Claimed:
        """Claim the stream for the attempt after ``replaces``."""
        event = AttemptEvent(1, "first", "start", "sim", "sim", "")
        return await self.log.claim(self.stream_id, Claim(replaces, token, "worker-1", careful=careful), event, 1)

    async def lose_after(self, written_bytes: int) -> None:
        """Crash Redis and start it without what it was told since its AOF was so long."""
        await self.redis.aclose()
        self.server.lose_after(written_bytes)


@pytest.fixture
async def losing(redis_server: StartRedis) -> AsyncIterator[Losing]:
    """Give a stream that was just created."""
    stream = Losing(redis_server(appendfsync="no"))
    await stream.create()
    yield stream
    await stream.redis.aclose()


async def test_a_lost_attempts_number_is_not_used_again(losing: Losing) -> None:
    """Attempt 1 was granted and lost; the next one is neither 1 nor anything that attempt 1's successors could be."""
    kept = losing.server.written_bytes
    assert (await losing.claim(0, "lost")).attempt == 1
    await losing.lose_after(kept)
    again = await losing.claim(0, "t1")
    assert again.status == "granted"
    assert again.attempt > 1000
    assert [entry.id for entry in await losing.log.read(losing.stream_id, NO_ENTRY, 10)] == [(0, 1), (again.attempt, 2)]
    record = await losing.log.record(losing.stream_id)
    assert record is not None
    assert (record.attempt, record.attempts) == (again.attempt, 1)


async def test_a_number_that_has_leapt_and_was_lost_is_not_used_again_either(losing: Losing) -> None:
    """Redis loses the same moments twice: each time the number is higher than any before."""
    kept, seen = losing.server.written_bytes, [0]
    for token in ("one", "two", "three"):
        seen.append((await losing.claim(0, token)).attempt)
        seen.append((await losing.claim(seen[-1], f"{token}-again")).attempt)
        await losing.lose_after(kept)
    assert seen == sorted(set(seen))


async def test_numbers_are_contiguous_again_after_a_leap(losing: Losing) -> None:
    """A restart that lost nothing costs one leap, and no second one."""
    assert (await losing.claim(0, "t1")).attempt == 1
    await losing.lose_after(losing.server.written_bytes)
    leapt = await losing.claim(1, "t2")
    assert leapt.attempt > 1000
    assert (await losing.claim(leapt.attempt, "t3")).attempt == leapt.attempt + 1
    record = await losing.log.record(losing.stream_id)
    assert record is not None
    assert record.attempts == 3


async def test_an_end_from_outside_does_not_take_a_lost_attempts_place(losing: Losing) -> None:
    """A reader that has ``1-2`` of the lost attempt must not find the end under the very same id."""
    kept = losing.server.written_bytes
    await losing.claim(0, "lost")
    await losing.lose_after(kept)
    assert await losing.log.close(losing.stream_id, [EndEvent("cancelled")], "x", 2) == "done"
    assert (await losing.log.tail(losing.stream_id)).attempt > 1000


async def test_what_a_worker_restores_may_hide_a_lost_attempt(losing: Losing) -> None:
    """Attempt 2 and the whole stream were lost, and attempt 1's worker restores it: the next one is not 2 again."""
    await losing.claim(0, "t1")
    record = await losing.log.record(losing.stream_id)
    entries = await losing.log.read(losing.stream_id, NO_ENTRY, 10)
    assert record is not None
    await losing.claim(1, "lost")
    await losing.lose_after(0)
    assert await losing.log.create(losing.stream_id, record, entries[0], new=False)
    assert (await losing.claim(1, "t3")).attempt > 1000


async def test_what_is_started_anew_under_its_old_id_may_hide_a_lost_attempt(losing: Losing) -> None:
    """A repeated request makes a lost stream again: its first attempt is not 1, of which somebody may hold offsets."""
    await losing.claim(0, "lost")
    await losing.redis.delete(keys.record(losing.stream_id), keys.log(losing.stream_id))
    await losing.create(new=False)
    again = await losing.claim(0, "t1", careful=True)
    assert again.status == "granted"
    assert again.attempt > 1000


async def test_a_careful_claim_leaves_a_stream_alone_whose_worker_may_have_been_forgotten(losing: Losing) -> None:
    """A job that Redis brought back may be one that runs: not the job, only the lease may lead to a new attempt."""
    await losing.lose_after(losing.server.written_bytes)
    assert (await losing.claim(0, "t1", careful=True)).status == "stale"
    assert (await losing.claim(0, "t1")).status == "granted"


async def test_a_replica_that_takes_over_begins_another_history(losing: Losing, redis_server: StartRedis) -> None:
    """What a failover may have lost is never numbered again."""
    replica = redis_server(replicaof=f"127.0.0.1 {losing.server.port}")
    async with Redis.from_url(replica.url) as promoted:
        await losing.claim(0, "t1")
        assert await losing.redis.execute_command("WAIT", 1, 10_000) == 1
        await promoted.execute_command("REPLICAOF", "NO", "ONE")
        event = AttemptEvent(2, "lease_expired", "start", "sim", "sim", "")
        claim = Claim(1, "t2", "worker-2")
        assert (await StreamLog(promoted, Settings()).claim(losing.stream_id, claim, event, 1)).attempt > 1000
