"""Direct delivery: the next entry reaches a socket while the reader's task sleeps, and in no other case."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from relay.dialects.registry import DIALECTS
from relay.live.hub import Hub
from relay.reading import native
from relay.reading.direct import DirectWriter
from relay.reading.subscription import Batch, Piece, Subscription
from relay.reading.voice import DialectVoice, NativeVoice, Voice
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

    def writer(self, voice: Voice, *, chunked: bool = False) -> DirectWriter:
        """Return a writer to the client."""
        return DirectWriter(voice, self.transport, lambda: self.wakes.append(None), chunked=chunked)

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


@pytest.fixture
def voice(redis: Redis) -> NativeVoice:
    """Give the native dialect's voice of some stream."""
    stream_log = StreamLog(redis, SETTINGS)
    return NativeVoice(Subscription(Hub(redis, stream_log, SETTINGS), stream_log, STREAM_ID, START, 100))


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
        subscription.deliver_directly(wire.writer(NativeVoice(subscription)).write)
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


async def test_chunks_are_those_of_http(wire: Wire, voice: NativeVoice) -> None:
    """Each entry is one chunk, with its length before it, where the answer is sent in chunks."""
    one = entry(3, "a", "b")
    assert wire.writer(voice, chunked=True).write(one)
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
        wrote += 1
    assert wrote
    assert len(wire.wakes) == 1
    await eventually(lambda: bool(wire.received()) and not wire.transport.get_write_buffer_size())
    assert direct.write(entry(4, "again"))
    wire.transport.abort()
    assert not direct.write(entry(5, "gone"))


@pytest.mark.parametrize("name", DIALECTS)
async def test_other_dialects_are_told_the_same_directly_as_by_the_task(wire: Wire, name: str) -> None:
    """Each entry moves the fold on, whichever way it comes; what comes to nothing is not written."""
    events: list[Sequence[Event]] = [
        [StartEvent(STREAM_ID, "anthropic", "m", 3, 100)],
        [AttemptEvent(1, "first", "start", "anthropic", "m", "0-1"), StepEvent("start", 1, "msg_1", "m")],
        [BlockStartEvent(0, "text"), DeltaEvent(0, text="one")],
        [DeltaEvent(0, text=" two"), DeltaEvent(0, text=" three")],
        [BlockStopEvent(0), UsageEvent(1, Usage(3, 5))],
    ]
    entries = [Entry(EntryId(min(at, 1), at + 1), encode_blob(one, 3)) for at, one in enumerate(events)]
    by_task, directly = (DialectVoice(STREAM_ID, DIALECTS[name]) for _ in range(2))
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


async def test_an_entry_of_no_writer_of_ours_is_the_tasks_to_fail_by(wire: Wire) -> None:
    """Anybody may publish: it must not end whoever hears for all readers."""
    voice = DialectVoice(STREAM_ID, DIALECTS["openai-chat"])
    with capture_logs() as logged:
        assert not wire.writer(voice).write(Entry(EntryId(0, 1), b'1 3\n{"type":"delta","block":"none"}'))
    assert [line["event"] for line in logged] == ["connection.defect"]
    assert wire.received() == b""
