"""The native dialect for a reader that fell behind: runs of deltas told as one, under the offset of the last.

A slow client has to get through fewer bytes than the stream has: most of a frame is its name and its offset. Only
deltas that follow each other in one block are joined, so that nothing changes places, and what the reader adds up to
is the same.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from relay.reading.batch import Batch
from relay.reading.native import Told, told
from shared.events import DeltaEvent, encode_event, encoded_type

_DELTA = b'{"type":"delta"'


class _Plain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="delta"):
    """A delta with nothing but text: what may be joined without knowing more."""

    block: int
    text: str | None = None
    json: str | None = None


_decoder = msgspec.json.Decoder(_Plain)


def merged_frames(stream_id: str, batch: Batch) -> bytes:
    """Return the SSE frames of a batch, with runs of plain deltas of one block as one frame each."""
    events = merged(stream_id, batch)
    return b"".join([b"id: %s\nevent: %s\ndata: %s\n\n" % (at, encoded_type(line), line) for at, line in events])


def merged(stream_id: str, batch: Batch) -> list[Told]:
    """Return the events of a batch, with runs of plain deltas of one block as one each."""
    merger = _Merger()
    for one in told(stream_id, batch):
        merger.add(one)
    return merger.events()


class _Merger:
    """Takes events in order and gives them merged."""

    def __init__(self) -> None:
        self._events: list[Told] = []
        self._run: list[str] = []
        """The pieces of the run that is open."""
        self._of: tuple[int, Literal["text", "json"]] = (0, "text")
        """Its block and field."""
        self._offset = b""
        """Of its last event."""

    def add(self, event: Told) -> None:
        """Take one event."""
        delta = _plain(event.line)
        if delta is None:
            self._close()
            self._events.append(event)
            return
        kind: Literal["text", "json"] = "text" if delta.json is None else "json"
        if (delta.block, kind) != self._of:
            self._close()
        self._of, self._offset = (delta.block, kind), event.offset
        self._run.append((delta.text if kind == "text" else delta.json) or "")

    def events(self) -> list[Told]:
        """Return all events."""
        self._close()
        return self._events

    def _close(self) -> None:
        """End the open run, if there is one."""
        if not self._run:
            return
        block, kind = self._of
        said = "".join(self._run)
        self._run.clear()
        delta = DeltaEvent(block, text=said) if kind == "text" else DeltaEvent(block, json=said)
        self._events.append(Told(self._offset, encode_event(delta)))


def _plain(line: bytes) -> _Plain | None:
    """Return the delta in ``line`` if it may be joined with others."""
    if not line.startswith(_DELTA):
        return None
    try:
        delta = _decoder.decode(line)
    except msgspec.DecodeError:  # a signature, opaque data, or fields of a newer version
        return None
    return delta if (delta.text is None) != (delta.json is None) else None
