"""The pen of one attempt: what it has gathered, what it has sent, and every entry of the log it goes on from."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Literal

from shared.entry import Entry, blob_of_lines
from shared.events import DeltaEvent, EndEvent, EndStatus, Event, encode_event
from shared.offset import MAX_EVENTS_PER_ENTRY, NO_ENTRY, EntryId
from shared.record import Record
from shared.scripts import Call
from shared.stream_log import Append, Appended
from worker.entries import Entries

Interrupt = Literal["cancelled", "abandoned", "lost", "detached", "drained", "too_long"]
"""Why a provider call is stopped before its end."""


class LostStreamError(Exception):
    """The stream is no longer this writer's: ``status`` is fenced, closed or gone. Nothing more can be written."""

    def __init__(self, status: str) -> None:
        """Take the log's answer."""
        super().__init__(status)
        self.status = status


class StreamWriter:
    """Gathers the events of one attempt and knows every entry of the log, its own and those before.

    ``limit_bytes`` bounds what is written here but not yet in the log; a full writer makes ``room`` wait, so that
    the provider is read no further.
    """

    def __init__(self, stream_id: str, record: Record, limit_bytes: int) -> None:
        """Make a writer for a granted attempt. ``adopt`` must give it the log before the first write.

        ``record`` is the stream's as of the grant, with our token; it is what restores a stream that Redis has lost.
        """
        self.stream_id = stream_id
        self.record = record
        self.attempt = record.attempt
        self.entries = Entries()
        self.on_signal: Callable[[Interrupt], None] = _ignore
        """Told ``cancelled`` when the log carries a wish to cancel, and ``lost`` when the stream is no longer ours."""
        self.settled_s = time.monotonic()
        """When the log last answered, on the monotonic clock."""
        self.lost: str | None = None
        self.ended = False
        self.release: Call | None = None
        """What takes the stream out of the book, where it can be taken with the end."""
        self.end_sent_s = math.inf
        """When the end was first sent, on the monotonic clock."""
        self.delay_s = 0.0
        """How long deltas may be held back to be written together, as the request allowed."""
        self.held = False
        """Whether what has gathered is being held back."""
        self.in_flight = False
        """Whether there are appends of which nobody knows yet what became."""
        self.eager = True
        """Whether the attempt's first token has not been sent yet: nothing waits before it."""
        self._has_token = False
        self._limit_bytes = limit_bytes
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._unwritten_bytes = 0
        self._end_status: EndStatus | None = None
        self._told_delta = False
        self._next = 0
        self._changed = asyncio.Event()

    def adopt(self, entries: Sequence[Entry]) -> None:
        """Take over the log as read after the grant, with its original ids."""
        self.entries = Entries(entries)
        self._next = len(self.entries)

    def gather(self, events: Sequence[Event]) -> None:
        """Add events to the next entry.

        Never waits itself; callers await ``room`` between reads of the provider.
        """
        for event in events:
            line = encode_event(event)
            self._gathered.append(line)
            self._gathered_bytes += len(line)
            if isinstance(event, EndEvent):
                self._end_status = event.status
        if self.eager and not self._has_token:
            self._has_token = any(isinstance(event, DeltaEvent) for event in events)

    @property
    def full(self) -> bool:
        """Whether nothing more should be gathered: ``room`` waits, or tells why there is no use for more."""
        return self.lost is not None or self._gathered_bytes + self._unwritten_bytes >= self._limit_bytes

    async def room(self) -> None:
        """Return when there is room for more. Raises ``LostStreamError`` when there is no more use for it."""
        while self.lost is None and self.full:
            self._changed.clear()
            await self._changed.wait()
        self._raise_if_lost()

    async def flushed(self) -> None:
        """Return when all that was gathered is in the log. Raises ``LostStreamError``."""
        while self.lost is None and self.pending:
            self._changed.clear()
            await self._changed.wait()
        self._raise_if_lost()

    def may_hold(self, events: Sequence[Event]) -> bool:
        """Tell whether ``events`` may wait for more, for ``delay_s``: deltas may, but never the first."""
        if not all(isinstance(event, DeltaEvent) for event in events):
            return False
        first, self._told_delta = not self._told_delta, True
        return not first

    def may_await_end(self, events: Sequence[Event]) -> bool:
        """Tell whether ``events`` may wait for the answer's end: no delta among them or before them waits too."""
        return not (self.eager or self._gathered or any(isinstance(event, DeltaEvent) for event in events))

    @property
    def due(self) -> bool:
        """Whether there is anything to send now, and nothing in flight."""
        if self.in_flight:
            return False
        return self._next < len(self.entries) or (bool(self._gathered) and not self.held)

    @property
    def pending(self) -> bool:
        """Whether anything is not yet known to be in the log."""
        return bool(self._gathered) or self._next < len(self.entries)

    def next_appends(self, most: int, now_ms: int) -> list[Append]:
        """Return what to send now, up to ``most`` entries: what was frozen before, or else all that has gathered.

        The stream is ``in_flight`` from here on, until the caller knows what became of them.
        """
        self.in_flight = True
        if self._next == len(self.entries):
            self._freeze(now_ms)
        stream_id, token, attempt = self.stream_id, self.record.token, self.attempt
        appends = [Append(stream_id, token, attempt, *entry) for entry in self.entries.since(self._next, most)]
        if self._end_status is not None and self._next + len(appends) == len(self.entries) and not self._gathered:
            appends[-1] = appends[-1]._replace(end_status=self._end_status, release=self.release)
            self.end_sent_s = min(self.end_sent_s, time.monotonic())
        return appends

    def _freeze(self, now_ms: int) -> None:
        """Make an entry of what has gathered."""
        lines = self._gathered
        if len(lines) > MAX_EVENTS_PER_ENTRY:
            lines, self._gathered = lines[:MAX_EVENTS_PER_ENTRY], lines[MAX_EVENTS_PER_ENTRY:]
            self._unwritten_bytes = sum(map(len, lines))
        else:
            self._gathered, self._unwritten_bytes = [], self._gathered_bytes
        self._gathered_bytes -= self._unwritten_bytes
        self.eager = self.eager and not self._has_token
        self.entries.append(self.attempt, blob_of_lines(lines, now_ms))

    def settle(self, outcome: Appended) -> None:
        """Take in what became of one append in flight, in their order; after one that was not done, no more."""
        if outcome.status != "error":
            self.settled_s = time.monotonic()
        if outcome.cancel_asked:
            self.on_signal("cancelled")
        match outcome.status:
            case "done":
                self._next += 1
                if self._next == len(self.entries):
                    self._unwritten_bytes = 0
                    self.ended = self._end_status is not None and not self._gathered
            case "tail":
                self.rewind(outcome.tail)
            case "fenced" | "closed" | "gone":
                self._lose(outcome.status)
            case "error":
                pass
        self._changed.set()

    def rewind(self, tail: EntryId) -> None:
        """Go back to the entry after ``tail``: the log has lost what follows, so it is sent again, unchanged."""
        known = 0 < tail.seq <= len(self.entries) and self.entries.id_at(tail.seq - 1) == tail
        if not known and tail.seq != 0:
            self._lose("fenced")
            return
        self._next = tail.seq

    def retire(self) -> None:
        """Signal nothing any more: another attempt of the same worker follows, and being fenced by it is no loss."""
        self.on_signal = _ignore

    @property
    def tail(self) -> EntryId:
        """The last entry known to be in the log."""
        return self.entries.id_at(self._next - 1) if self._next else NO_ENTRY

    def _lose(self, status: str) -> None:
        """Note that nothing more can be written."""
        self.lost = status
        self.on_signal("lost")
        self._changed.set()

    def _raise_if_lost(self) -> None:
        if self.lost is not None:
            raise LostStreamError(self.lost)


def _ignore(_why: Interrupt) -> None:
    """Do nothing: nobody listens yet."""
