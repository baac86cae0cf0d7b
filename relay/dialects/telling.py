"""Telling one reader a stream in a dialect: what the log folds to, less what the reader had and what is discarded.

The log is always folded from its first entry. Wire events are numbered as they are told live, discarded ones too, so
that a number never means two things. A reader who comes after a ``reset`` gets what survived it. One who has something
of what a reset discards cannot be put right, in most dialects, but by an error and the end: it reads anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from relay.dialects.dialect import Dialect, Projection, WireEvent
from relay.dialects.place import NO_PLACE, NOTHING, Had, Mark, Place, whole_event
from shared.entry import Entry
from shared.errors import DiscardedError, TailraceError
from shared.events import BlockStartEvent, BlockStopEvent, DeltaEvent, EndEvent, Event, ResetEvent
from shared.offset import NO_ENTRY, Offset

_DISCARDED = "what was told so far of this answer was discarded; read the stream again from its start"


class Frame(NamedTuple):
    """A wire event and its place; None for what is not in the log, from where nobody can go on."""

    event: WireEvent
    place: Place | None


class Reset(NamedTuple):
    """A reset that a log has."""

    at: Mark
    first: Mark | None
    """Of the first wire event that it discards."""
    keep_blocks: int
    sayable: bool
    """Whether the dialect has a word for it."""


class Past(NamedTuple):
    """What a log held when its reader came."""

    resets: Sequence[Reset] = ()
    total: int = 0
    """How many wire events it came to, whether or not they were discarded since."""
    end: Mark | None = None
    """Of its last wire event, once it has ended."""
    last: Place = NO_PLACE
    """Of a reader who has all of it."""

    def now(self) -> Had:
        """Return what a reader counts as having who wants only what comes."""
        return Had(self.last, self.total)


class Fed(NamedTuple):
    """What one event came to."""

    event: Event
    mark: Mark
    wire: Sequence[WireEvent] | None


class Fold:
    """A projection with the marks of its wire events."""

    def __init__(self, projection: Projection) -> None:
        """Begin with nothing fed."""
        self.projection = projection
        self.total = 0
        """How many wire events it has come to."""

    def feed(self, entry: Entry) -> Iterator[Fed]:
        """Feed the projection with all of ``entry``."""
        for sub, event in enumerate(entry.events()):
            mark = Mark(Place(Offset(entry.id, sub), 0), self.total)
            if isinstance(event, ResetEvent):
                wire = self.projection.discard(event.keep_blocks)
                self.total += 1 if wire is None else len(wire)  # the failure that some are told has its number too
            else:
                wire = self.projection.feed(event, entry.t_ms)
                self.total += len(wire)
            yield Fed(event, mark, wire)


class Survey:
    """Reads a log ahead of its reader, for what decides which of its events the reader may be told."""

    def __init__(self, stream_id: str, dialect: Dialect) -> None:
        """Begin with nothing read."""
        self._fold = Fold(dialect.project(stream_id))
        self._blocks: dict[int, Mark] = {}
        """The blocks that nothing has discarded, with the first wire event of each."""
        self._resets: list[Reset] = []
        self._end: Mark | None = None
        self._last = NO_PLACE

    def read(self, entries: Iterable[Entry]) -> None:
        """Take in the log's next entries."""
        for entry in entries:
            self._last = whole_event(entry.last_offset())
            for event, mark, wire in self._fold.feed(entry):
                if isinstance(event, ResetEvent):
                    gone = [first for block, first in self._blocks.items() if block >= event.keep_blocks]
                    self._blocks = {block: at for block, at in self._blocks.items() if block < event.keep_blocks}
                    self._resets.append(Reset(mark, min(gone, default=None), event.keep_blocks, wire is not None))
                elif wire:
                    block = _block_of(event)
                    if block is not None:
                        self._blocks.setdefault(block, mark)
                    if isinstance(event, EndEvent):
                        place = Place(mark.place.offset, len(wire) - 1)
                        self._end = Mark(place, mark.number + len(wire) - 1)

    def past(self) -> Past:
        """Return what was found."""
        return Past(tuple(self._resets), self._fold.total, self._end, self._last)


class Teller:
    """Tells one reader a stream, entry by entry from the log's first. ``ended`` once nothing follows."""

    def __init__(self, stream_id: str, dialect: Dialect, had: Had = NOTHING, past: Past | None = None) -> None:
        """Take what the reader had, and what the log held when it came."""
        self.ended = False
        self._stream_id = stream_id
        self._dialect = dialect
        self._had = had
        self._fold = Fold(dialect.project(stream_id))
        self._met = had.place.offset.entry == NO_ENTRY
        """Whether the log has shown the entry the reader stands at."""
        self._blocks: set[int] = set()
        """Those of which the reader has anything."""
        self._ahead = [(reset, _inside(had, reset)) for reset in (past or Past()).resets]
        """Resets that the log had when the reader came, and whether it has something of what they discard."""
        self._told = False

    def tell(self, entry: Entry) -> list[Frame]:
        """Return what ``entry``, the next of the log, comes to for this reader."""
        frames: list[Frame] = []
        here, stands = entry.id, self._had.place.offset.entry
        self._met = self._met or here == stands
        if not self._met and here > stands:
            return self.fork()
        if self._ahead and self._ahead[0][0].at.place.offset.entry < here:  # the log has lost it, and what it withheld
            return self.fail(DiscardedError(_DISCARDED, stream_id=self._stream_id))  # may be part of the answer now
        for fed in self._fold.feed(entry):
            if isinstance(fed.event, ResetEvent):
                frames += self._reset(fed, fed.event.keep_blocks)
            elif self._ahead and self._withheld(fed.event):
                frames += self._filler(fed)
            else:
                block = _block_of(fed.event)
                if block is not None and fed.wire:
                    self._blocks.add(block)
                frames += self._fresh(fed)
            self.ended = self.ended or isinstance(fed.event, EndEvent)
            if self._ahead and frames and self._void():
                return self.fail(DiscardedError(_DISCARDED, stream_id=self._stream_id))
            if self.ended:
                break
        if self.ended and not self._met:
            return self.fork()  # ahead of all there will ever be
        self._told = self._told or bool(frames)
        return frames

    def fork(self) -> list[Frame]:
        """Return what a reader is told whose stream went another way than it was told."""
        if self._told or self._had:
            return self.fail(DiscardedError(_DISCARDED, stream_id=self._stream_id))
        self._fold = Fold(self._dialect.project(self._stream_id))
        self._blocks.clear()
        self._ahead.clear()
        return []

    def fail(self, error: TailraceError) -> list[Frame]:
        """Return what ends the answer with an error that is not in the log."""
        self.ended = True
        return [Frame(event, None) for event in self._fold.projection.fail(error)]

    def _reset(self, fed: Fed, keep_blocks: int) -> list[Frame]:
        """Return what a reset comes to."""
        if self._ahead and self._ahead[0][0].at.place == fed.mark.place and not self._ahead.pop(0)[1]:
            return self._filler(fed)
        gone = {block for block in self._blocks if block >= keep_blocks}
        self._blocks -= gone
        if fed.wire is not None:
            return self._fresh(fed)
        if gone:
            return self.fail(DiscardedError(_DISCARDED, stream_id=self._stream_id))
        return self._filler(fed)

    def _void(self) -> bool:
        """Tell whether the reader came back with something that it cannot be told to throw away.

        Where it counts by itself, what stood for something withheld is among what it has: no word would be right.
        """
        sayable = self._dialect.filler is None
        return any(inside and not (reset.sayable and sayable) for reset, inside in self._ahead)

    def _withheld(self, event: Event) -> bool:
        """Tell whether a reset that the reader came after discards what the event comes to.

        Until a reset whose reader has something of what it discards, nothing is withheld by the resets after it.
        """
        block = _block_of(event)
        came_after = takewhile(lambda ahead: not ahead[1], self._ahead)
        return block is not None and any(block >= reset.keep_blocks for reset, _ in came_after)

    def _filler(self, fed: Fed) -> list[Frame]:
        """Return what stands for what the reader is not told, where it counts by itself. Nobody goes on from there."""
        if self._dialect.filler is None:
            return []
        stand_in = fed._replace(wire=[self._dialect.filler] * (1 if fed.wire is None else len(fed.wire)))
        return [Frame(frame.event, None) for frame in self._fresh(stand_in)]

    def _fresh(self, fed: Fed) -> list[Frame]:
        """Return what the reader did not have."""
        offset, number = fed.mark.place.offset, fed.mark.number
        if self._told:  # so is all that follows
            return [Frame(event, Place(offset, part)) for part, event in enumerate(fed.wire or ())]
        marks = [Mark(Place(offset, part), number + part) for part in range(len(fed.wire or ()))]
        return [
            Frame(event, mark.place)
            for event, mark in zip(fed.wire or (), marks, strict=True)
            if not self._had.has(mark)
        ]


def _inside(had: Had, reset: Reset) -> bool:
    """Tell whether a reader left between what a reset discards and the reset: it has some of the former."""
    return reset.first is not None and had.has(reset.first) and not _passed(had, reset)


def _passed(had: Had, reset: Reset) -> bool:
    """Tell whether a reader has anything from after a reset. A failure told in its place counts for nothing."""
    if had.place > NO_PLACE:
        return had.place >= reset.at.place
    return had.total > reset.at.number + 1


def _block_of(event: Event) -> int | None:
    """Return the block that an event is about, for those that a reset discards."""
    return event.block if isinstance(event, (BlockStartEvent, DeltaEvent, BlockStopEvent)) else None
