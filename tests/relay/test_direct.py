"""Direct delivery: the next entry reaches a socket while the reader's task sleeps, and in no other case."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import pytest
import redis as blocking
from redis.asyncio import Redis

from relay.dialects.dialect import Dialect
from relay.dialects.registry import DIALECTS
from relay.dialects.ui_messages import WORKFLOW_V6, WORKFLOW_V7
from relay.live.connection import LiveConnection
from relay.live.hub import Hub
from relay.live.outbox import Outbox
from relay.reading import native
from relay.reading.batch import Batch, Piece
from relay.reading.direct import DirectWriter, Outlet
from relay.reading.subscription import Subscription
from relay.reading.voice import DialectVoice, NativeVoice, Voice
from shared import keys
from shared.entry import Entry, encode_blob
from shared.events import (
    AttemptEvent,
    BlockStartEvent,
    BlockStopEvent,
    DeltaEvent,
    Event,
    ResetEvent,
    StartEvent,
    StepEvent,
    Usage,
    UsageEvent,
)
from shared.offset import START, EntryId, new_stream_id
from shared.settings import Settings
from shared.stream_log import StreamLog
from shared.tasks import end_tasks
from tests.relay.log_writer import LogWriter, Reader, hubs
from tests.support import eventually

SETTINGS = Settings(quiet_check_s=300, heartbeat_s=100, viewer_lease_s=200)
"""Nothing but what comes live wakes anybody."""
STREAM_ID = new_stream_id()


@dataclass
class Wire:
    """A connection with both of its ends: the relay's transport and the client's socket."""

    transport: asyncio.Transport
    client: socket.socket
    wakes: list[None] = field(default_factory=list)
    outbox: Outbox = field(default_factory=Outbox)

    def writer(self, voice: Voice, *, chunked: bool = False, silent_s: float = 100) -> DirectWriter:
        """Return a writer to the client."""
        wake = partial(self.wakes.append, None)
        return DirectWriter(voice, Outlet(self.outbox, self.transport, chunked), wake, silent_s=silent_s)

    def received(self, *, flush: bool = True) -> bytes:
        """Return what has come to the client since the last look."""
        if flush:
            self.outbox.flush()
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


@pytest.fixture
def voice(redis: Redis) -> NativeVoice:
    """Give the native dialect's voice of some stream."""
    stream_log = StreamLog(redis, SETTINGS)
    return NativeVoice(Subscription(Hub(redis, stream_log, SETTINGS), stream_log, STREAM_ID, START, 100))


def entry(seq: int, *texts: str) -> Entry:
    """Return an entry of deltas."""
    return Entry(EntryId(1, seq), encode_blob([DeltaEvent(0, text=text) for text in texts], 3))


@asynccontextmanager
async def reading_directly(
    redis: Redis, wire: Wire, writer: LogWriter
) -> AsyncIterator[tuple[Hub, Subscription, asyncio.Task[Batch]]]:
    """Read a stream to where it is, and have what follows written to ``wire`` while a task waits for it."""
    async with (
        hubs(redis, SETTINGS) as (hub,),
        Subscription(hub, StreamLog(redis, SETTINGS), writer.stream_id, START, 100) as subscription,
    ):
        await subscription.read()
        wire.outbox = hub.outbox
        subscription.deliver_directly(wire.writer(NativeVoice(subscription)).write)
        reading = asyncio.create_task(subscription.read())
        try:
            yield hub, subscription, reading
        finally:
            await end_tasks([reading])


async def test_a_reader_that_keeps_up_is_written_to_without_being_woken(redis: Redis, wire: Wire) -> None:
    """Its task gets the end and nothing else; the bytes are the frames that the task would have written."""
    writer = LogWriter(StreamLog(redis, SETTINGS))
    await writer.start()
    async with reading_directly(redis, wire, writer) as (_, subscription, reading):
        told = b""
        for number in range(20):
            await (writer.write_words([2]) if number % 7 else writer.claim())  # also over a change of the attempt
            await eventually(lambda: subscription.offset.entry.seq == len(writer.entries))
            told += wire.received(flush=False)
        assert not reading.done()
        await writer.end()
        (end,) = await reading
        assert isinstance(end, Piece)
        assert end.entry.ends
        assert subscription.ended
    assert told == native.sse_frames(writer.stream_id, [Piece(one) for one in writer.entries[1:-1]])


async def test_what_was_told_is_sent_although_the_connection_fails_by_what_came_with_it(
    redis: Redis, wire: Wire
) -> None:
    """The reader's place is behind it by then: nobody would tell it again."""
    writer = LogWriter(StreamLog(redis, SETTINGS))
    await writer.start()
    await writer.claim()
    async with reading_directly(redis, wire, writer) as (hub, _, _):
        await eventually(lambda: all(inbox._waiter for inbox in hub._feeds[writer.stream_id].inboxes))
        live = hub.live
        assert isinstance(live, LiveConnection)
        connection = live._connection
        assert connection is not None
        assert connection._writer is not None
        writer.entries.append(entry(len(writer.entries) + 1, "word"))
        with blocking.Redis(**_place(redis)) as other:  # while the loop stands still, it all comes at once
            other.publish(keys.live(writer.stream_id), b"%d-%d\n%b" % (*writer.entries[-1].id, writer.entries[-1].blob))
            connection._writer.write(b"GET x\r\n")
            other.ping()
        await eventually(lambda: live._connection is not connection)
        assert wire.received(flush=False) == native.sse_frames(writer.stream_id, [Piece(writer.entries[-1])])


def _place(redis: Redis) -> dict[str, Any]:
    """Return where a Redis is."""
    return {name: redis.connection_pool.connection_kwargs[name] for name in ("host", "port", "db")}


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


async def test_chunks_are_those_of_http(wire: Wire, voice: NativeVoice) -> None:
    """Each entry is one chunk, with its length before it, where the answer is sent in chunks."""
    one = entry(3, "a", "b")
    assert wire.writer(voice, chunked=True).write(one)
    wire.outbox.flush()
    await eventually(lambda: bool(wire.client.recv(1, socket.MSG_PEEK)))
    size, _, rest = wire.received().partition(b"\r\n")
    frames = native.sse_frames(STREAM_ID, [Piece(one)])
    assert rest == frames + b"\r\n"
    assert int(size, 16) == len(frames)


async def test_a_large_entry_is_left_to_the_task(wire: Wire, voice: NativeVoice) -> None:
    """The task writes it piece by piece, so that a client which does not read makes nobody hold it."""
    direct = wire.writer(voice)
    assert not direct.write(entry(3, "x" * 5000))
    assert wire.received() == b""
    assert direct.write(entry(3, "x" * 3000))


async def test_nothing_is_written_while_anything_is_unsent_or_to_a_closed_connection(
    wire: Wire, voice: NativeVoice
) -> None:
    """The first write that the kernel does not take whole is told of, and is the last until it has been taken."""
    direct = wire.writer(voice)
    wrote = 0
    while direct.write(entry(3, "x" * 3000)):
        wire.outbox.flush()
        wrote += 1
    assert wrote
    assert len(wire.wakes) == 1
    await eventually(lambda: bool(wire.received()) and not wire.transport.get_write_buffer_size())
    assert direct.write(entry(4, "again"))
    wire.transport.abort()
    assert not direct.write(entry(5, "gone"))


@pytest.mark.parametrize("dialect", [*DIALECTS.values(), WORKFLOW_V6, WORKFLOW_V7], ids=lambda dialect: dialect.name)
async def test_other_dialects_are_told_the_same_directly_as_by_the_task(wire: Wire, dialect: Dialect) -> None:
    """Each entry moves the fold on, whichever way it comes; what comes to nothing is not written."""
    events: list[Sequence[Event]] = [
        [StartEvent(STREAM_ID, "anthropic", "m", 3, 100)],
        [AttemptEvent(1, "first", "start", "anthropic", "m", "0-1"), StepEvent("start", 1, "msg_1", "m")],
        [BlockStartEvent(0, "text"), DeltaEvent(0, text="one")],
        [DeltaEvent(0, text=" two"), DeltaEvent(0, text=" three")],
        [BlockStopEvent(0), UsageEvent(1, Usage(3, 5))],
    ]
    entries = [Entry(EntryId(min(at, 1), at + 1), encode_blob(one, 3)) for at, one in enumerate(events)]
    by_task, directly = (DialectVoice(STREAM_ID, dialect) for _ in range(2))
    direct = wire.writer(directly)
    told = b""
    for one in entries:
        assert direct.write(one)
        told += wire.received()
    assert told == by_task.frames([Piece(one) for one in entries])
    assert b"three" in told
    assert wire.wakes == []


async def test_an_answer_that_ends_by_what_was_written_directly_wakes_its_task(wire: Wire) -> None:
    """A reset that the dialect has no word for: the reader is told to read anew, and its task ends the answer."""
    voice = DialectVoice(STREAM_ID, DIALECTS["openai-chat"])
    direct = wire.writer(voice)
    begun: list[Event] = [StartEvent(STREAM_ID, "p", "m", 3, 9), BlockStartEvent(0, "text"), DeltaEvent(0, text="one")]
    assert direct.write(Entry(EntryId(0, 1), encode_blob(begun, 3)))
    assert not wire.wakes
    assert direct.write(Entry(EntryId(0, 2), encode_blob([ResetEvent(0, "restart")], 3)))
    assert voice.ended
    assert len(wire.wakes) == 1
    assert b"discarded" in wire.received()


async def test_entries_that_come_to_nothing_are_no_chunk_and_no_sign_of_life(wire: Wire) -> None:
    """An empty chunk would end the body; and after a while of them the task is woken to say that all is well."""
    voice = DialectVoice(STREAM_ID, DIALECTS["openai-chat"])
    tool: list[Event] = [
        StartEvent(STREAM_ID, "p", "m", 3, 9),
        BlockStartEvent(0, "tool_result", id="t", data=msgspec.Raw(b"{}")),
    ]
    quiet = [
        Entry(EntryId(0, 1), encode_blob(tool, 3)),
        Entry(EntryId(0, 2), encode_blob([DeltaEvent(0, json="1")], 3)),
    ]
    direct = wire.writer(voice, chunked=True)
    assert all(direct.write(one) for one in quiet)
    assert not wire.wakes
    last = wire.received()
    assert b"0\r\n\r\n" not in last.split(b"\n\n")
    impatient = wire.writer(voice, chunked=True, silent_s=0)
    assert impatient.write(Entry(EntryId(0, 3), encode_blob([DeltaEvent(0, json="2")], 3)))
    assert wire.received() == b""
    assert len(wire.wakes) == 1


@pytest.mark.parametrize("data", [b'"block":"none"', b'"data":' + b"[" * 1900 + b"]" * 1900], ids=["untyped", "deep"])
async def test_an_entry_of_no_writer_of_ours_fails_its_reader_and_nobody_else(wire: Wire, data: bytes) -> None:
    """Anybody may publish. The task is woken, fails by it, and does not tell it again: half of it may be told."""
    line = b'{"type":"delta",%b}' % data
    direct = wire.writer(DialectVoice(STREAM_ID, DIALECTS["openai-chat"]))
    assert direct.write(Entry(EntryId(0, 1), b"1 3\n" + line))
    assert len(wire.wakes) == 1
    assert wire.received() == b""
    with pytest.raises((ValueError, RecursionError)):
        direct.check()
