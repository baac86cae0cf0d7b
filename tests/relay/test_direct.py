"""Direct delivery: the next entry reaches a socket while the reader's task sleeps, and in no other case."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis

from relay.reading import native
from relay.reading.direct import DirectWriter
from relay.reading.subscription import Batch, Piece, Subscription
from shared.entry import Entry, encode_blob
from shared.events import DeltaEvent
from shared.offset import START, EntryId, new_stream_id
from shared.settings import Settings
from shared.stream_log import StreamLog
from tests.relay.log_writer import LogWriter, Reader, hubs
from tests.support import eventually

SETTINGS = Settings(quiet_check_s=300, heartbeat_s=100, viewer_lease_s=200)
"""Nothing but what comes live wakes anybody."""


@dataclass
class Wire:
    """A connection with both of its ends: the relay's transport and the client's socket."""

    transport: asyncio.Transport
    client: socket.socket
    stalls: list[None] = field(default_factory=list)

    def writer(self, stream_id: str, *, chunked: bool = False) -> DirectWriter:
        """Return a writer to the client."""
        return DirectWriter(stream_id, self.transport, lambda: self.stalls.append(None), chunked=chunked)

    def received(self) -> bytes:
        """Return what has come to the client since the last look."""
        try:
            return self.client.recv(1 << 20)
        except BlockingIOError:
            return b""


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """Give a connection, with the limits of an SSE answer's."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    transport.set_write_buffer_limits(high=0)
    yield Wire(transport, theirs)
    transport.abort()
    theirs.close()


def entry(seq: int, *texts: str) -> Entry:
    """Return an entry of deltas."""
    return Entry(EntryId(1, seq), encode_blob([DeltaEvent(0, text=text) for text in texts], 3))


async def test_a_reader_that_keeps_up_is_written_to_without_being_woken(redis: Redis, wire: Wire) -> None:
    """Its task gets the end and nothing else; the bytes are the frames that the task would have written."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    async with (
        hubs(redis, SETTINGS) as (hub,),
        Subscription(hub, stream_log, writer.stream_id, START, 100) as subscription,
    ):
        while subscription.offset.entry.seq < 2:
            await subscription.read()
        subscription.deliver_directly(wire.writer(writer.stream_id).write)
        reading: asyncio.Task[Batch] = asyncio.create_task(subscription.read())
        told = b""
        for _ in range(20):
            await writer.write_words([2])
            await eventually(lambda: subscription.offset.entry.seq == len(writer.entries))
            told += wire.received()
        assert not reading.done()
        await writer.end()
        (end,) = await reading
        assert isinstance(end, Piece)
        assert end.entry.ends
        assert subscription.ended
    assert told == native.sse_frames(writer.stream_id, [Piece(one) for one in writer.entries[2:-1]])


async def test_a_burst_goes_through_the_task(redis: Redis) -> None:
    """Of entries that come all at once only the first is told directly: the others may then be told as one."""
    stream_log = StreamLog(redis, SETTINGS)
    writer = LogWriter(stream_log)
    await writer.start()
    await writer.claim()
    async with hubs(redis, SETTINGS) as (hub,):
        reader = Reader(writer.stream_id, START)
        reader.takes = lambda: True
        async with asyncio.TaskGroup() as group:
            group.create_task(reader.read(hub, stream_log))
            await eventually(lambda: len(reader.had) == 2)
            await eventually(lambda: all(inbox._waiter for inbox in hub._feeds[writer.stream_id].inboxes))
            for _ in range(10):
                writer.entries.append(entry(len(writer.entries) + 1, "word"))
                hub.hear(writer.stream_id, b"%d-%d\n%b" % (*writer.entries[-1].id, writer.entries[-1].blob))
            assert reader.taken == 1
            await eventually(lambda: len(reader.had) == len(writer.entries))
            hub.hear(writer.stream_id, b'1-13\n1 3\n{"type":"end","status":"completed"}')
    assert [line for _, line in reader.had[:-1]] == [line for one in writer.entries for line in one.lines]


async def test_chunks_are_those_of_http(wire: Wire) -> None:
    """Each entry is one chunk, with its length before it, where the answer is sent in chunks."""
    stream_id = new_stream_id()
    one = entry(3, "a", "b")
    assert wire.writer(stream_id, chunked=True).write(one)
    await eventually(lambda: bool(wire.client.recv(1, socket.MSG_PEEK)))
    size, _, rest = wire.received().partition(b"\r\n")
    frames = native.sse_frames(stream_id, [Piece(one)])
    assert rest == frames + b"\r\n"
    assert int(size, 16) == len(frames)


async def test_a_large_entry_is_left_to_the_task(wire: Wire) -> None:
    """The task writes it piece by piece, so that a client which does not read makes nobody hold it."""
    direct = wire.writer(new_stream_id())
    assert not direct.write(entry(3, "x" * 5000))
    assert wire.received() == b""
    assert direct.write(entry(3, "x" * 3000))


async def test_nothing_is_written_while_anything_is_unsent_or_to_a_closed_connection(wire: Wire) -> None:
    """The first write that the kernel does not take whole is told of, and is the last until it has been taken."""
    direct = wire.writer(new_stream_id())
    wrote = 0
    while direct.write(entry(3, "x" * 3000)):
        wrote += 1
    assert wrote
    assert len(wire.stalls) == 1
    await eventually(lambda: bool(wire.received()) and not wire.transport.get_write_buffer_size())
    assert direct.write(entry(4, "again"))
    wire.transport.abort()
    assert not direct.write(entry(5, "gone"))
