"""Replaying: frames that are made of many entries at once are those that are made of each."""

from __future__ import annotations

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from relay.reading.batch import Piece
from relay.reading.native import sse_frames
from relay.reading.replay import run_frames
from shared.entry import encode_blob
from shared.events import DeltaEvent, Event
from shared.offset import EntryId, new_stream_id
from shared.run import Run
from shared.settings import Settings
from shared.stream_log import StreamLog
from tests.conftest import StartService
from tests.relay.log_writer import LogWriter
from tests.support_events import EVENTS
from tests.support_sse import SseReader

STREAM = new_stream_id()
KEY = {"x-api-key": "secret"}


@given(st.lists(st.lists(EVENTS, min_size=1, max_size=4), min_size=1, max_size=12), st.integers(1, 99_999_000))
def test_a_run_is_told_as_its_entries_are(log: list[list[Event]], seq: int) -> None:
    """Byte for byte, whatever the events, also those of a newer version."""
    run = Run(EntryId(3, seq), [encode_blob(events, 1_790_000_000_000) for events in log])
    assert run_frames(STREAM, run) == sse_frames(STREAM, [Piece(entry) for entry in run.entries()])


@pytest.mark.parametrize("seq", [995, 9_999, 98_999, 999_998, 99_998_000])
def test_the_numbers_of_a_long_run_go_on_where_they_get_longer(seq: int) -> None:
    """Their last digits come from a table, which a run of 1,500 entries begins anew."""
    events: list[Event] = [DeltaEvent(0, text="a"), DeltaEvent(0, text="b")]
    run = Run(EntryId(3, seq), [encode_blob(events[: 1 + number % 2], 3) for number in range(1500)])
    assert run_frames(STREAM, run) == sse_frames(STREAM, [Piece(entry) for entry in run.entries()])


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"1 2",
        b"1 2\n",
        b"1 2\n{}",
        b'1 2\n{"a":1,"b":{"type":"delta"}}',
        b'1 2\n{"type":"delta","block":0}\n{"b":{"type":"delta"}}',
        b'{"type":"delta","block":0}',
    ],
)
def test_a_line_that_is_no_event_is_not_passed_over(blob: bytes) -> None:
    """A reader must not believe that it has everything."""
    good = encode_blob([DeltaEvent(0, text="good")], 3)
    for blobs in ([blob], [good, blob], [blob, good], [good, blob, good]):
        with pytest.raises(ValueError):  # noqa: PT011 - the contract names the class alone
            run_frames(STREAM, Run(EntryId(1, 3), blobs))


async def test_a_long_log_is_replayed_whole_from_anywhere(relay_process: StartService, redis: Redis) -> None:
    """Thousands of entries, small and large, to a client that takes what it gets: every event once and in order."""
    relay = await relay_process(TAILRACE_API_KEYS='{"acme": "secret"}').ready()
    writer = LogWriter(StreamLog(redis, Settings()))
    await writer.start()
    await writer.claim()
    for number in range(1500):
        await writer.append(*(DeltaEvent(0, text="x" * size) for size in [1, 30, 1, 200, 9000][: 1 + number % 4]))
        if number % 400 == 0:
            await writer.append(DeltaEvent(0, text="x" * 50_000))
    await writer.end()
    told = [(offset, line.decode()) for offset, line in writer.told()]
    async with aiohttp.ClientSession(headers=KEY) as session:
        for k in (0, 1, 700, len(told) - 1):
            query = f"?offset={told[k - 1][0]}" if k else ""
            url = f"{relay.url}/v1/streams/{writer.stream_id}/events{query}"
            async with SseReader(session, url) as reader:
                await reader.rest()
            assert [(event.id, event.data) for event in reader.events] == told[k:]
