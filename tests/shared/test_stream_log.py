"""The log protocol's numbered rules (docs/log-protocol.md), each against a real Redis."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from shared import keys
from shared.admission import Admission
from shared.claims import Claim, Claimed
from shared.entry import Entry, encode_blob
from shared.events import AttemptEvent, DeltaEvent, EndEvent, StartEvent
from shared.offset import NO_ENTRY, EntryId, new_stream_id
from shared.record import Record
from shared.settings import Settings
from shared.stream_log import Append, Appended, StreamLog

SETTINGS = Settings(ttl_s=60, running_ttl_s=120, tombstone_s=600)
RECORD = Record("acme", "sim", "sim", 1_790_000_000_000, 100, {"k": "v"}, b'{"messages":[]}')


@pytest.fixture
def stream_log(redis: Redis) -> StreamLog:
    """Give the streams of the test's Redis."""
    return StreamLog(redis, SETTINGS)


async def started(stream_log: StreamLog) -> str:
    """Return the id of a stream that was just started."""
    stream_id = new_stream_id()
    assert await stream_log.create(stream_id, RECORD, first_entry(stream_id))
    return stream_id


def first_entry(stream_id: str) -> Entry:
    """Return the entry that a relay begins a stream with."""
    start = StartEvent(stream_id, "sim", "sim", 1_790_000_000_000, 100)
    return Entry(EntryId(0, 1), encode_blob([start], 1_790_000_000_000))


async def claimed(stream_log: StreamLog, stream_id: str, token: str = "t1", replaces: int = 0) -> Claimed:
    """Claim the stream for the attempt after ``replaces``."""
    event = AttemptEvent(replaces + 1, "first", "start", "sim", "sim", "")
    return await stream_log.claim(stream_id, Claim(replaces, token, "worker-1"), event, 1_790_000_000_001)


def words(stream_id: str, attempt: int, seq: int, text: str = "w", token: str = "t1") -> Append:
    """Return an append of one delta."""
    blob = encode_blob([DeltaEvent(0, text=text)], 1_790_000_000_002)
    return Append(stream_id, token, attempt, EntryId(attempt, seq), blob)


def the_end(stream_id: str, attempt: int, seq: int, token: str = "t1") -> Append:
    """Return an append of the end."""
    blob = encode_blob([EndEvent("completed")], 1_790_000_000_003)
    return Append(stream_id, token, attempt, EntryId(attempt, seq), blob, "completed")


async def one(stream_log: StreamLog, append: Append) -> Appended:
    """Return what became of a single append."""
    return (await stream_log.append([append]))[0]


async def ids(stream_log: StreamLog, stream_id: str) -> list[str]:
    """Return the ids in the log."""
    return [str(entry.id) for entry in await stream_log.read(stream_id, NO_ENTRY, 1000)]


@pytest.mark.parametrize("idempotency", ["", "tr:idempotency:acme:k"])
async def test_an_end_takes_its_stream_out_of_the_book(stream_log: StreamLog, redis: Redis, idempotency: str) -> None:
    """With the entry and not without it, of the stream that ends and of no other, also where it is sent again."""
    book = Admission(redis, SETTINGS)
    record = replace(RECORD, idempotency=idempotency)
    running, ending = [await started(stream_log) for _ in range(2)]
    for stream_id in (running, ending):
        await claimed(stream_log, stream_id)
        await enter(redis, stream_id, idempotency)
    end = the_end(ending, 1, 3)._replace(release=book.releasing(ending, record))
    beside = [words(running, 1, 3), end, words(running, 1, 4)]
    early = await stream_log.append([end._replace(id=EntryId(1, 4)), words(running, 1, 5)])
    assert [outcome.status for outcome in early] == ["tail", "tail"]
    assert await in_book(redis) == {running, ending}
    assert {outcome.status for outcome in await stream_log.append(beside)} == {"done"}
    assert await in_book(redis) == {running}
    await enter(redis, ending, idempotency)
    assert {outcome.status for outcome in await stream_log.append(beside)} == {"done"}
    assert await in_book(redis) == {running}
    if idempotency:
        assert 0 < await redis.pttl(idempotency) <= 60_000


async def enter(redis: Redis, stream_id: str, idempotency: str) -> None:
    """Put a stream into the book."""
    await redis.zadd(keys.LEASES, {stream_id: 1})
    await redis.execute_command("HSET", keys.APPLICANTS, stream_id, "acme")
    await redis.zadd(keys.tenant_active("acme"), {stream_id: 1})
    for key in (keys.LEASES, keys.APPLICANTS, keys.tenant_active("acme")):
        await redis.pexpire(key, 600_000)
    if idempotency:
        await redis.set(idempotency, stream_id, px=600_000)


async def in_book(redis: Redis) -> set[str]:
    """Return the streams of which all that a book has is there. Fails where only part of it is."""
    parts = [await redis.zrange(keys.LEASES, 0, -1), await redis.execute_command("HKEYS", keys.APPLICANTS)]
    parts.append(await redis.zrange(keys.tenant_active("acme"), 0, -1))
    found = [{name.decode() for name in part} for part in parts]
    assert found[0] == found[1] == found[2]
    return found[0]


async def test_rule_1_appends_are_contiguous_and_published_with_their_id(stream_log: StreamLog, redis: Redis) -> None:
    """An append in order is done, and its live message is the id and the very bytes of the entry."""
    stream_id = await started(stream_log)
    await claimed(stream_log, stream_id)
    async with redis.pubsub(ignore_subscribe_messages=False) as pubsub:
        await pubsub.subscribe(keys.live(stream_id))
        await pubsub.get_message(timeout=5)
        append = words(stream_id, 1, 3)
        assert (await one(stream_log, append)).status == "done"
        message = await pubsub.get_message(timeout=5)
    assert message is not None
    assert message["data"] == b"1-3\n" + append.blob
    assert await ids(stream_log, stream_id) == ["0-1", "1-2", "1-3"]


async def test_rule_1_a_gap_is_refused_with_the_real_tail(stream_log: StreamLog) -> None:
    """A log that is shorter than the writer thinks answers with its last entry and takes nothing."""
    stream_id = await started(stream_log)
    await claimed(stream_log, stream_id)
    outcome = await one(stream_log, words(stream_id, 1, 7))
    assert outcome == Appended("tail", tail=EntryId(1, 2), detail="")
    assert await ids(stream_log, stream_id) == ["0-1", "1-2"]


async def test_rule_1_a_repeat_is_done_only_when_it_is_identical_and_mine(stream_log: StreamLog) -> None:
    """The same entry again is done; another under its id, or a stranger's, is not."""
    stream_id = await started(stream_log)
    await claimed(stream_log, stream_id)
    append = words(stream_id, 1, 3)
    assert (await one(stream_log, append)).status == "done"
    assert (await one(stream_log, append)).status == "done"
    assert (await one(stream_log, words(stream_id, 1, 3, "other"))).status == "tail"
    assert (await one(stream_log, append._replace(token="thief"))).status == "fenced"
    assert await ids(stream_log, stream_id) == ["0-1", "1-2", "1-3"]


async def test_rule_1_nothing_follows_the_end(stream_log: StreamLog) -> None:
    """A closed stream refuses appends, and its own end again is still done."""
    stream_id = await started(stream_log)
    await claimed(stream_log, stream_id)
    assert (await one(stream_log, the_end(stream_id, 1, 3))).status == "done"
    assert (await one(stream_log, words(stream_id, 1, 4))).status == "closed"
    assert (await one(stream_log, the_end(stream_id, 1, 3))).status == "done"


async def test_rule_1_an_append_never_recreates_a_stream(stream_log: StreamLog, redis: Redis) -> None:
    """Without a record the answer is gone, and no key appears."""
    stream_id = new_stream_id()
    assert (await one(stream_log, words(stream_id, 1, 1))).status == "gone"
    assert await redis.keys("*") == []


async def test_rule_1_a_log_that_was_lost_is_written_again_from_its_first_entry(
    stream_log: StreamLog, redis: Redis
) -> None:
    """With the record there and the log away, the tail is ``0-0`` and the entries keep their ids."""
    stream_id = await started(stream_log)
    await claimed(stream_log, stream_id)
    entries = await stream_log.read(stream_id, NO_ENTRY, 10)
    await redis.delete(keys.log(stream_id))
    assert (await one(stream_log, words(stream_id, 1, 3))).tail == NO_ENTRY
    for entry in entries:
        assert (await one(stream_log, Append(stream_id, "t1", 1, entry.id, entry.blob))).status == "done"
    assert (await one(stream_log, words(stream_id, 1, 3))).status == "done"
    assert await ids(stream_log, stream_id) == ["0-1", "1-2", "1-3"]


async def test_rule_2_a_claim_fences_the_attempt_before(stream_log: StreamLog) -> None:
    """After attempt 2 is granted, attempt 1 can write nothing; attempt 2's event names what it follows."""
    stream_id = await started(stream_log)
    await claimed(stream_log, stream_id)
    await one(stream_log, words(stream_id, 1, 3))
    grant = await claimed(stream_log, stream_id, "t2", replaces=1)
    assert grant == Claimed("granted", 2, EntryId(1, 3))
    assert (await one(stream_log, words(stream_id, 1, 4))).status == "fenced"
    assert (await one(stream_log, words(stream_id, 2, 5, token="t2"))).status == "done"
    entry = (await stream_log.read(stream_id, EntryId(2, 4), 1))[0]
    assert entry.events() == [AttemptEvent(2, "first", "start", "sim", "sim", "1-3")]


async def test_rule_2_the_same_token_gets_the_same_grant(stream_log: StreamLog) -> None:
    """A claim repeated after a lost answer appends no second attempt event."""
    stream_id = await started(stream_log)
    first = await claimed(stream_log, stream_id)
    assert len(first.log) == 2, "the whole log is told with the first grant"
    assert await claimed(stream_log, stream_id) == replace(first, log=())
    assert await ids(stream_log, stream_id) == ["0-1", "1-2"]


async def test_rule_2_of_many_claims_one_is_granted(stream_log: StreamLog) -> None:
    """Twenty workers claim at once: one is granted, the others are told that they are stale."""
    stream_id = await started(stream_log)
    answers = await asyncio.gather(*(claimed(stream_log, stream_id, f"t{n}") for n in range(20)))
    assert sorted(answer.status for answer in answers) == ["granted", *["stale"] * 19]


async def test_rule_2_a_claim_is_refused_for_missing_cancelled_and_closed_streams(stream_log: StreamLog) -> None:
    """Each refusal says why, and appends nothing."""
    assert (await claimed(stream_log, new_stream_id())).status == "gone"
    stream_id = await started(stream_log)
    await stream_log.ask_cancel(stream_id, 1)
    assert (await claimed(stream_log, stream_id)).status == "cancelled"
    await stream_log.close(stream_id, [EndEvent("cancelled")], "x", 2)
    assert (await claimed(stream_log, stream_id)).status == "closed"
    assert await ids(stream_log, stream_id) == ["0-1", "1-2"]


async def test_rule_3_an_error_stops_its_stream_alone(stream_log: StreamLog, redis: Redis) -> None:
    """Of three appends in one script, the one whose log is broken fails, and the others are done."""
    streams = [await started(stream_log) for _ in range(3)]
    for stream_id in streams:
        await claimed(stream_log, stream_id)
    await redis.execute_command("XADD", keys.log(streams[1]), "9-9", "d", b"1 1\n{}")  # a log ahead of our ids
    await redis.execute_command("XDEL", keys.log(streams[1]), "9-9")
    outcomes = await stream_log.append([words(stream_id, 1, 3) for stream_id in streams])
    assert [outcome.status for outcome in outcomes] == ["done", "error", "done"]


async def test_rule_6_the_first_end_wins_and_fences_the_worker(stream_log: StreamLog) -> None:
    """An end from outside closes the stream; the worker's next append is refused and a second end changes nothing."""
    stream_id = await started(stream_log)
    await claimed(stream_log, stream_id)
    assert await stream_log.close(stream_id, [EndEvent("cancelled")], "x", 5) == "done"
    assert (await one(stream_log, words(stream_id, 1, 3))).status == "fenced"
    assert await stream_log.close(stream_id, [EndEvent("failed")], "y", 6) == "closed"
    record = await stream_log.record(stream_id)
    assert record is not None
    assert (record.status, record.ended_ms, record.request) == ("cancelled", 5, b"")


async def test_rule_6_every_append_answer_carries_the_wish_to_cancel(stream_log: StreamLog) -> None:
    """From the moment the flag is set, the worker is told with each append and at each look."""
    stream_id = await started(stream_log)
    await claimed(stream_log, stream_id)
    assert not (await one(stream_log, words(stream_id, 1, 3))).cancel_asked
    assert await stream_log.ask_cancel(stream_id, 1) == ("asked", "worker-1")
    assert (await one(stream_log, words(stream_id, 1, 4))).cancel_asked
    owned = replace(RECORD, attempt=1, token="t1")
    assert (await stream_log.outlook([(stream_id, owned)]))[0].cancel_asked


async def test_rule_6_the_end_erases_the_request_and_starts_the_retention(stream_log: StreamLog, redis: Redis) -> None:
    """After the end the messages are gone, the log lives ``ttl_s``, and the record ``tombstone_s`` longer."""
    stream_id = await started(stream_log)
    await claimed(stream_log, stream_id)
    assert 100 < await redis.ttl(keys.log(stream_id)) <= 120
    await one(stream_log, the_end(stream_id, 1, 3))
    assert await redis.execute_command("HEXISTS", keys.record(stream_id), "request") == 0
    assert 50 < await redis.ttl(keys.log(stream_id)) <= 60
    assert 650 < await redis.ttl(keys.record(stream_id)) <= 660


async def test_rule_7_a_stream_that_was_lost_whole_is_restored_under_its_token(
    stream_log: StreamLog, redis: Redis
) -> None:
    """With record and log away, creating it from the writer's copy lets the same writer go on."""
    stream_id = await started(stream_log)
    await claimed(stream_log, stream_id)
    entries = await stream_log.read(stream_id, NO_ENTRY, 10)
    await redis.delete(keys.log(stream_id), keys.record(stream_id))
    assert (await one(stream_log, words(stream_id, 1, 3))).status == "gone"
    owned = replace(RECORD, status="running", attempt=1, token="t1", worker="worker-1")
    assert await stream_log.create(stream_id, owned, entries[0])
    assert (await one(stream_log, Append(stream_id, "t1", 1, entries[1].id, entries[1].blob))).status == "done"
    assert (await one(stream_log, words(stream_id, 1, 3))).status == "done"
    assert await stream_log.record(stream_id) == owned


async def test_rule_7_a_claim_that_redis_has_lost_is_restored(stream_log: StreamLog, redis: Redis) -> None:
    """A record that fell back to before the claim is told as gone, and the worker's copy of it wins."""
    stream_id = await started(stream_log)
    before = await redis.execute_command("HGETALL", keys.record(stream_id))
    await claimed(stream_log, stream_id)
    await redis.delete(keys.record(stream_id))
    await redis.execute_command("HSET", keys.record(stream_id), *(part for pair in before.items() for part in pair))
    await redis.expire(keys.record(stream_id), 60)
    assert (await one(stream_log, words(stream_id, 1, 3))).status == "gone"
    owned = replace(RECORD, status="running", attempt=1, token="t1", worker="worker-1")
    assert await stream_log.create(stream_id, owned, first_entry(stream_id))
    assert (await one(stream_log, words(stream_id, 1, 3))).status == "done"


async def test_creating_a_stream_twice_changes_nothing(stream_log: StreamLog) -> None:
    """Whoever repeats the start order finds the record and leaves it as it is."""
    stream_id = await started(stream_log)
    await claimed(stream_log, stream_id)
    assert not await stream_log.create(stream_id, replace(RECORD, tenant="other"), first_entry(stream_id))
    record = await stream_log.record(stream_id)
    assert record is not None
    assert (record.tenant, record.attempt) == ("acme", 1)


async def test_only_an_ended_stream_is_erased_and_its_tombstone_stays(stream_log: StreamLog, redis: Redis) -> None:
    """Erasing takes the log and what the client had said, and leaves a record that says so."""
    stream_id = await started(stream_log)
    assert await stream_log.erase(stream_id) == "running"
    await stream_log.close(stream_id, [EndEvent("cancelled")], "x", 5)
    assert await stream_log.erase(stream_id) == "erased"
    assert await redis.exists(keys.log(stream_id)) == 0
    record = await stream_log.record(stream_id)
    assert record is not None
    assert record.metadata == {}


async def test_an_outlook_tells_a_writer_how_its_stream_stands(stream_log: StreamLog, redis: Redis) -> None:
    """Without writing, a worker learns: mine and how far, fenced, closed, or gone; or that one cannot be read."""
    _, taken, ended, lost, empty, odd = streams = [await started(stream_log) for _ in range(6)]
    for stream_id in streams:
        await claimed(stream_log, stream_id)
    await claimed(stream_log, taken, "t2", replaces=1)
    await one(stream_log, the_end(ended, 1, 3))
    await redis.delete(keys.record(lost), keys.log(empty), keys.log(odd))
    await redis.set(keys.log(odd), "no log", ex=60)
    owned = replace(RECORD, attempt=1, token="t1")
    outlooks = await stream_log.outlook([(stream_id, owned) for stream_id in streams])
    assert "WRONGTYPE" in outlooks[-1].detail
    assert [(look.status, look.tail) for look in outlooks] == [
        ("tail", EntryId(1, 2)),
        ("fenced", NO_ENTRY),
        ("closed", EntryId(1, 3)),
        ("gone", NO_ENTRY),
        ("tail", NO_ENTRY),
        ("error", NO_ENTRY),
    ]


async def test_viewer_leases_tell_since_when_nobody_looks(stream_log: StreamLog) -> None:
    """Never viewed is -1, viewed is 0, and after the last viewer left the time grows."""
    stream_id = await started(stream_log)
    assert await stream_log.unviewed_ms([stream_id]) == [-1]
    await stream_log.view("relay-1", [(stream_id, 60_000)])
    await stream_log.view("relay-2", [(stream_id, 60_000)])
    await stream_log.view("relay-1", [(stream_id, 0)])
    assert await stream_log.unviewed_ms([stream_id]) == [0]
    await stream_log.view("relay-2", [(stream_id, 0)])
    assert 0 <= (await stream_log.unviewed_ms([stream_id]))[0] < 5000


async def test_rule_3_what_is_wrong_with_one_stream_stops_that_stream_alone(
    redis: Redis, stream_log: StreamLog
) -> None:
    """A key of the wrong type in the middle of a group commit is an error of its own, and the rest is appended."""
    streams = [await started(stream_log) for _ in range(3)]
    for stream_id in streams:
        await claimed(stream_log, stream_id)
    await redis.set(keys.log(streams[1]), "no log", ex=60)
    outcomes = await stream_log.append([words(stream_id, 1, 3) for stream_id in streams])
    assert [outcome.status for outcome in outcomes] == ["done", "error", "done"]
    assert "WRONGTYPE" in outcomes[1].detail
