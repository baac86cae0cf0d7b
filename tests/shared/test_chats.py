"""Which stream is a chat's newest: by compare-and-set, whatever comes at the same moment, is repeated or lost."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from shared import keys
from shared.chats import CHAT_ID, Chats, Newest
from shared.offset import new_stream_id
from shared.record import Record
from shared.settings import Settings

TENANT = "acme"
CHAT = "a chat, {its} id:\u00e9 *"
NOBODY = Newest()


def record(created_ms: int, **metadata: str) -> Record:
    """Return the record of a stream made then."""
    return Record(TENANT, "sim", "sim", created_ms, 100, metadata, b"")


def chats_of(redis: Redis) -> Chats:
    """Return the chats under test."""
    return Chats(redis, Settings(running_ttl_s=5000))


async def test_a_chat_without_a_stream_has_none(redis: Redis) -> None:
    """Nothing is kept for it either."""
    chats = chats_of(redis)
    assert await chats.newest(TENANT, CHAT) == NOBODY
    assert not await chats.forget(TENANT, CHAT, new_stream_id())
    assert await redis.keys("*") == []


async def test_a_stream_asked_for_later_is_newer_whatever_the_clocks_say(redis: Redis) -> None:
    """The relay that took the second request may be behind by a minute."""
    chats, first, second = chats_of(redis), new_stream_id(), new_stream_id()
    assert await chats.point(CHAT, first, record(60_000), NOBODY)
    before = await chats.newest(TENANT, CHAT)
    assert before.stream_id == first
    assert await chats.point(CHAT, second, record(1), before)
    assert (await chats.newest(TENANT, CHAT)).stream_id == second


async def test_of_streams_asked_for_at_one_moment_the_last_made_is_the_newest(redis: Redis) -> None:
    """In whatever order they come to Redis, and nobody else's chat is touched."""
    chats = chats_of(redis)
    streams = {created_ms: new_stream_id() for created_ms in range(100, 120)}
    points = [chats.point(CHAT, stream_id, record(at), NOBODY) for at, stream_id in reversed(streams.items())]
    assert any(await asyncio.gather(*points))
    assert (await chats.newest(TENANT, CHAT)).stream_id == streams[119]
    assert await chats.newest("other", CHAT) == NOBODY
    assert await chats.newest(TENANT, "other") == NOBODY


async def test_a_stream_started_before_gives_way_to_a_newer_one_only(redis: Redis) -> None:
    """A repeated request must not take the chat back to an older answer, but may find it lost."""
    chats, older, newer = chats_of(redis), new_stream_id(), new_stream_id()
    assert await chats.point(CHAT, older, record(1))
    assert await chats.point(CHAT, newer, record(2), await chats.newest(TENANT, CHAT))
    assert not await chats.point(CHAT, older, record(1))
    assert (await chats.newest(TENANT, CHAT)).stream_id == newer


async def test_a_chat_forgets_the_stream_that_is_meant_alone(redis: Redis) -> None:
    """A stop that is late must not have it forget the next answer."""
    chats, older, newer = chats_of(redis), new_stream_id(), new_stream_id()
    await chats.point(CHAT, newer, record(2), NOBODY)
    assert not await chats.forget(TENANT, CHAT, older)
    assert (await chats.newest(TENANT, CHAT)).stream_id == newer
    assert await chats.forget(TENANT, CHAT, newer)
    assert await chats.newest(TENANT, CHAT) == NOBODY


async def test_chats_that_redis_has_lost_are_put_back_by_their_newest(redis: Redis) -> None:
    """Of several streams that name one, whichever comes first; those that name none are left alone."""
    chats, older, newer = chats_of(redis), new_stream_id(), new_stream_id()
    lost = [(newer, record(2, **{CHAT_ID: CHAT})), (older, record(1, **{CHAT_ID: CHAT})), (new_stream_id(), record(3))]
    await chats.restore(lost)
    assert (await chats.newest(TENANT, CHAT)).stream_id == newer
    assert await redis.keys("*") == [keys.chat(TENANT, CHAT).encode()]


async def test_a_chat_is_kept_as_long_as_its_stream_may_run(redis: Redis) -> None:
    """Counted from its newest."""
    chats = chats_of(redis)
    await chats.point(CHAT, new_stream_id(), record(1), NOBODY)
    assert 4_900_000 < await redis.pttl(keys.chat(TENANT, CHAT)) <= 5_000_000
