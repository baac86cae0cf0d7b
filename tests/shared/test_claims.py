"""Taking up a stream: its first claim, its record and its lease in one step, as if asked for one by one."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from redis.asyncio import Redis

from shared import keys
from shared.claims import Claim, Claimed
from shared.entry import Entry, encode_blob
from shared.events import AttemptEvent, EndEvent, StartEvent
from shared.jobs import NO_JOB, JobQueue, job_end
from shared.leases import Leases
from shared.offset import NO_ENTRY, EntryId, new_stream_id
from shared.record import Record
from shared.settings import Settings
from shared.stream_log import StreamLog

SETTINGS = Settings(lease_s=30, detached_s=60)
RECORD = Record("acme", "sim", "sim", 1_790_000_000_000, 100, {"k": "v"}, b'{"messages":[]}')
T_MS = 1_790_000_000_001


class Stream:
    """A stream that was just started."""

    def __init__(self, redis: Redis) -> None:
        """Use ``redis`` for log and leases; nothing is written yet."""
        self.id = new_stream_id()
        self.log = StreamLog(redis, SETTINGS)
        self.job_ends = False
        """Whether its job ends as it is taken up."""
        self._leases = Leases(redis, SETTINGS)

    async def create(self, record: Record = RECORD) -> None:
        """Make it."""
        start = StartEvent(self.id, record.provider, record.model, record.created_ms, 100)
        await self.log.create(self.id, record, Entry(EntryId(0, 1), encode_blob([start], 1)))

    async def take_up(self, token: str = "t1") -> tuple[Record | None, Claimed]:
        """Take it up by its job, as a worker does."""
        claim = Claim(0, token, "worker-1", careful=True)
        ending = job_end(f"{self.id}:1") if self.job_ends else NO_JOB
        return await self.log.take_up(self.id, claim, T_MS, self._leases.renewal([self.id]), ending)


@pytest.fixture
def stream(redis: Redis) -> Stream:
    """Give the name of a stream that is yet to be made."""
    return Stream(redis)


@pytest.mark.parametrize("name", ["sim", "meta-llama/Llama-3", 'a "b" \\ c\n', "模型", '","follows":"0-1'])
async def test_the_attempt_event_has_the_records_provider_and_model(stream: Stream, name: str) -> None:
    """Whatever they are called; what the worker is answered is what stands in the log, byte for byte."""
    await stream.create(replace(RECORD, provider=name, model=name))
    record, claimed = await stream.take_up()
    assert record == replace(RECORD, provider=name, model=name)
    assert (claimed.status, claimed.attempt, claimed.follows) == ("granted", 1, (0, 1))
    entries = await stream.log.read(stream.id, NO_ENTRY, 10)
    assert [(entry.id, entry.blob) for entry in claimed.log] == [(entry.id, entry.blob) for entry in entries]
    assert entries[1].events() == [AttemptEvent(1, "first", "start", name, name, "0-1")]
    assert entries[1].t_ms == T_MS


async def test_a_granted_stream_has_its_lease_renewed(stream: Stream, redis: Redis) -> None:
    """For one lease, by Redis's clock."""
    await stream.create()
    await stream.take_up()
    seconds, _ = await redis.time()
    deadline_ms = await redis.zscore(keys.LEASES, stream.id)
    assert deadline_ms is not None
    assert 25_000 < deadline_ms - seconds * 1000 <= 31_000


async def test_the_same_token_again_gets_the_same_grant(stream: Stream) -> None:
    """Whoever has lost the answer: nothing is written twice."""
    await stream.create()
    await stream.take_up()
    record, claimed = await stream.take_up()
    assert record is not None
    assert (record.token, record.attempts) == ("t1", 1)
    assert (claimed.status, claimed.attempt, claimed.follows, claimed.log) == ("granted", 1, (0, 1), ())
    assert len(await stream.log.read(stream.id, NO_ENTRY, 10)) == 2


@pytest.mark.parametrize("why", ["gone", "stale", "cancelled", "closed"])
async def test_a_refused_stream_is_left_as_it_is(stream: Stream, redis: Redis, why: str) -> None:
    """Neither its log nor its lease: it is somebody else's, or nobody's."""
    if why != "gone":
        await stream.create()
    if why == "stale":
        await stream.take_up("another's")
        await redis.delete(keys.LEASES)
    elif why == "cancelled":
        await stream.log.ask_cancel(stream.id, 5)
    elif why == "closed":
        await stream.log.close(stream.id, [EndEvent("cancelled")], "x", 5)
    before = await stream.log.read(stream.id, NO_ENTRY, 10)
    record, claimed = await stream.take_up()
    assert claimed.status == why
    assert (record is None) == (why == "gone")
    assert [entry.id for entry in await stream.log.read(stream.id, NO_ENTRY, 10)] == [entry.id for entry in before]
    assert await redis.zscore(keys.LEASES, stream.id) is None


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("status", ["granted", "stale", "gone"])
async def test_the_job_ends_with_the_claim_whatever_its_answer(
    stream: Stream, redis: Redis, status: str, *, ends: bool
) -> None:
    """Nothing is left of it, and of its neighbour all; where the claim has no job with it, all of both."""
    queue, neighbour = JobQueue(redis, SETTINGS), new_stream_id()
    if status != "gone":
        await stream.create()
    if status == "stale":
        await stream.take_up("another's")
    await queue.enqueue(stream.id, 1)
    await queue.enqueue(neighbour, 1)
    await redis.set(f"arq:retry:{stream.id}:1", 1, px=60_000)
    stream.job_ends = ends
    _, claimed = await stream.take_up()
    assert claimed.status == status
    left = set() if ends else {f"{stream.id}:1".encode()}
    assert set(await redis.zrange(keys.QUEUE, 0, -1)) == {*left, f"{neighbour}:1".encode()}
    assert len(await redis.keys(f"arq:*:{stream.id}:1")) == 2 * len(left)
    assert len(await redis.keys(f"arq:*:{neighbour}:1")) == 1


async def test_a_stream_that_an_earlier_version_has_made_is_taken_up(stream: Stream, redis: Redis) -> None:
    """During a deploy its record has what records have always had, and a field more that nobody knows here."""
    metadata = msgspec.json.encode({})
    old = {"tenant": "acme", "model": "sim", "provider": "sim", "created_ms": 5, "max_tokens": 9, "metadata": metadata}
    fields = [part for pair in (old | {"status": "queued", "attempt": 0, "older": "x"}).items() for part in pair]
    await redis.execute_command("HSET", keys.record(stream.id), *fields)
    await redis.pexpire(keys.record(stream.id), 60_000)
    record, claimed = await stream.take_up()
    assert (record and record.tenant, claimed.status) == ("acme", "granted")
    assert [entry.events() for entry in await stream.log.read(stream.id, NO_ENTRY, 10)] == [
        [AttemptEvent(1, "first", "start", "sim", "sim", "0-0")]
    ]
