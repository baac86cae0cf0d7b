"""The native dialect: canonical events as SSE frames or JSON. The relay only frames what the worker encoded."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from relay.reading.batch import Batch, Fork, Piece, pieces
from relay.reading.replay import run_frames
from shared.entry import Entry
from shared.errors import TailraceError
from shared.events import ResetEvent, encode_event, encoded_type, event_type
from shared.offset import START, Offset
from shared.run import Run

_NAME = "native"
_FORK = encode_event(ResetEvent(keep_blocks=0, reason="fork"))


def sse_frames(stream_id: str, batch: Batch) -> bytes:
    """Return the SSE frames of a batch, each with the offset as its id."""
    return b"".join([_frames(stream_id, one) for one in batch])


def _frames(stream_id: str, one: Piece | Fork | Run) -> bytes:
    """Return the frames of one part of a batch."""
    match one:
        case Piece():
            return _entry_frames(stream_id, one)
        case Run():
            if one.frames is None:
                one.frames = run_frames(stream_id, one)
            return one.frames
        case Fork():
            return fork_frame(stream_id)


def _entry_frames(stream_id: str, piece: Piece) -> bytes:
    """Return the frames of one entry, or of what a reader lacks of it."""
    if piece.skip == 0:
        return entry_frames(stream_id, piece.entry)
    place, lines = place_of(stream_id, piece.entry), piece.entry.lines
    return b"".join([event_frame(place, sub, lines[sub]) for sub in range(piece.skip, len(lines))])


def entry_frames(stream_id: str, entry: Entry) -> bytes:
    """Return the frames of a whole entry; rendered once for all their readers."""
    kept = entry.frames(_NAME)
    if kept is not None:
        return kept
    place, lines = place_of(stream_id, entry), entry.lines
    if len(lines) == 1:
        frames = b"id: %s000\nevent: %s\ndata: %s\n\n" % (place, entry.types[0], lines[0])
    else:
        frames = b"".join([event_frame(place, sub, line) for sub, line in enumerate(lines)])
    return entry.keep_frames(_NAME, frames)


def place_of(stream_id: str, entry: Entry) -> bytes:
    """Return what the offsets of all events of an entry begin with."""
    return b"%s-%08d-%08d-" % (stream_id[:4].encode(), *entry.id)


class Told(NamedTuple):
    """One event and its offset, as they stand on the wire."""

    offset: bytes
    line: bytes


def told(stream_id: str, batch: Batch) -> list[Told]:
    """Return the events of a batch."""
    events: list[Told] = []
    for one in pieces(batch):
        if isinstance(one, Fork):
            events.append(fork(stream_id))
            continue
        place = place_of(stream_id, one.entry)
        events += [Told(b"%s%03d" % (place, sub), line) for sub, line in enumerate(one.entry.lines) if sub >= one.skip]
    return events


def fork(stream_id: str) -> Told:
    """Return what has a reader discard all; its offset is the start, so that a cut here loses nothing."""
    return Told(START.text(stream_id).encode(), _FORK)


def event_frame(place: bytes, sub: int, line: bytes) -> bytes:
    """Return the frame of one encoded event, the entry's number ``sub``."""
    return b"id: %s%03d\nevent: %s\ndata: %s\n\n" % (place, sub, encoded_type(line), line)


def fork_frame(stream_id: str) -> bytes:
    """Return the frame that has a reader discard all."""
    return b"id: %s\nevent: reset\ndata: %s\n\n" % fork(stream_id)


def error_frame(error: TailraceError) -> bytes:
    """Return the frame for an error after the first byte that is not in the log, hence without an id."""
    return b"event: error\ndata: %s\n\n" % msgspec.json.encode({"type": "error", **error.fields()})


def json_events(stream_id: str, batch: Batch) -> list[dict[str, object]]:
    """Return the events of a batch for a long-poll."""
    events: list[dict[str, object]] = []
    for one in pieces(batch):
        if isinstance(one, Fork):
            events.append({"id": START.text(stream_id), "event": "reset", "data": msgspec.Raw(_FORK)})
            continue
        for sub, line in enumerate(one.entry.lines):
            if sub >= one.skip:
                offset = Offset(one.entry.id, sub).text(stream_id)
                events.append({"id": offset, "event": event_type(line), "data": msgspec.Raw(line)})
    return events
