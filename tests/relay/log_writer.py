"""A worker's side of the log protocol, small enough to script: what a reader must make sense of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from relay.live.hub import Hub
from relay.reading.batch import Fork, pieces
from relay.reading.subscription import Subscription
from shared.claims import Claim
from shared.cluster import Streams
from shared.entry import Entry, encode_blob
from shared.events import AttemptEvent, DeltaEvent, EndEvent, Event, StartEvent
from shared.offset import NO_ENTRY, EntryId, Offset, new_stream_id
from shared.record import Record
from shared.settings import Settings
from shared.stream_log import Append, StreamLog
from shared.tasks import end_tasks

RECORD = Record("acme", "sim", "sim", 1_790_000_000_000, 100, {}, b'{"messages":[]}')


class LogWriter:
    """Writes one stream, attempt after attempt."""

    def __init__(self, stream_log: StreamLog) -> None:
        """Write through ``stream_log``."""
        self.stream_id = new_stream_id()
        self.entries: list[Entry] = []
        self.attempt = 0
        self._log = stream_log

    async def start(self) -> None:
        """Make the stream, as a relay does."""
        start = StartEvent(self.stream_id, "sim", "sim", 1_790_000_000_000, 100)
        self.entries = [Entry(EntryId(0, 1), encode_blob([start], 1))]
        await self._log.create(self.stream_id, RECORD, self.entries[0])

    async def claim(self) -> None:
        """Begin the next attempt."""
        event = AttemptEvent(self.attempt + 1, "first", "start", "sim", "sim", "")
        claim = Claim(self.attempt, f"t{self.attempt + 1}", "worker-1")
        granted = await self._log.claim(self.stream_id, claim, event, 2)
        assert granted.status == "granted", granted
        self.attempt += 1
        self.entries = await self._log.read(self.stream_id, NO_ENTRY, 10_000)

    async def append(self, *events: Event) -> None:
        """Append one entry."""
        self.entries.append(Entry(EntryId(self.attempt, len(self.entries) + 1), encode_blob(events, 3)))
        await self.send(self.entries[-1])

    async def send(self, entry: Entry) -> None:
        """Send an entry, once more if need be."""
        last = entry.events()[-1]
        status = last.status if isinstance(last, EndEvent) else None
        append = Append(self.stream_id, f"t{self.attempt}", self.attempt, entry.id, entry.blob, status)
        outcome = (await self._log.append([append]))[0]
        assert outcome.status == "done", outcome

    async def write_words(self, counts: Sequence[int], rng: random.Random | None = None) -> None:
        """Append an entry of so many deltas for each of ``counts``, pausing here and there."""
        for count in counts:
            told = sum(len(entry.lines) for entry in self.entries)
            await self.append(*(DeltaEvent(0, text=f"w{told + n} ") for n in range(count)))
            if rng is not None and rng.random() < 0.3:
                await asyncio.sleep(rng.random() / 500)

    async def end(self) -> None:
        """Append the end."""
        await self.append(EndEvent("completed"))

    def told(self) -> list[tuple[str, bytes]]:
        """Return the offset and the line of every event in the log."""
        return [
            (Offset(entry.id, sub).text(self.stream_id), line)
            for entry in self.entries
            for sub, line in enumerate(entry.lines)
        ]


class Reader:
    """What one client has of a stream, over any number of connections: once and in order, or the test fails."""

    def __init__(self, stream_id: str, offset: Offset) -> None:
        """Begin after ``offset``."""
        self.stream_id = stream_id
        self.offset = offset
        self.had: list[tuple[str, bytes]] = []
        self.forks = 0
        self.takes: Callable[[], bool] | None = None
        """Whether it takes an entry that is offered to it directly, where it is to be offered any."""
        self.taken = 0
        """Entries so taken."""

    async def read(self, hub: Hub, stream_log: StreamLog, *, page_entries: int = 3, most: int | None = None) -> bool:
        """Read on one connection until the end, or until ``most`` events have come; tell whether the end was read."""
        async with Subscription(hub, stream_log, self.stream_id, self.offset, page_entries) as subscription:
            if self.takes is not None:
                subscription.deliver_directly(self._take_directly)
            if await subscription.look() == "end":
                return True
            while not subscription.ended:
                for one in pieces(await subscription.read()):
                    if isinstance(one, Fork):
                        self.had.clear()
                        self.forks += 1
                        continue
                    for sub in range(one.skip, len(one.entry.lines)):
                        self.offset = Offset(one.entry.id, sub)
                        self.had.append((self.offset.text(self.stream_id), one.entry.lines[sub]))
                        if most is not None and len(self.had) >= most:
                            return False
            return True

    def _take_directly(self, entry: Entry) -> bool:
        """Take an entry outside of ``read``."""
        if self.takes is None or not self.takes():
            return False
        self.taken += 1
        for sub, line in enumerate(entry.lines):
            self.offset = Offset(entry.id, sub)
            self.had.append((self.offset.text(self.stream_id), line))
        return True


@asynccontextmanager
async def hubs(redis: Streams, settings: Settings, count: int = 1) -> AsyncIterator[list[Hub]]:
    """Run the live delivery of so many relays."""
    made = [Hub(redis, StreamLog(redis, settings), settings) for _ in range(count)]
    tasks = [asyncio.create_task(hub.run()) for hub in made]
    try:
        yield made
    finally:
        await end_tasks(tasks)
