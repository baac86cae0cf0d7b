"""The native dialect for a reader that fell behind: runs of deltas told as one, under the offset of the last.

A slow client has to get through fewer bytes than the stream has: most of a frame is its name and its offset. Only
deltas that follow each other in one block are joined, so that nothing changes places, and what the reader adds up to
is the same.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from relay.native import event_frame, fork_frame, place_of
from relay.subscription import Batch, Fork
from shared.events import DeltaEvent, encode_event

_DELTA = b'{"type":"delta"'


class _Plain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="delta"):
    """A delta with nothing but text: what may be joined without knowing more."""

    block: int
    text: str | None = None
    json: str | None = None


_decoder = msgspec.json.Decoder(_Plain)


def merged_frames(stream_id: str, batch: Batch) -> bytes:
    """Return the SSE frames of a batch, with runs of plain deltas of one block as one frame each."""
    merger = _Merger()
    for one in batch:
        if isinstance(one, Fork):
            merger.put(fork_frame(stream_id))
            continue
        place = place_of(stream_id, one.entry)
        for sub, line in enumerate(one.entry.lines):
            if sub >= one.skip:
                merger.add(place, sub, line)
    return merger.frames()


class _Merger:
    """Takes events in order and gives their frames."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._run: list[str] = []
        """The pieces of the run that is open."""
        self._of: tuple[int, Literal["text", "json"]] = (0, "text")
        """Its block and field."""
        self._last = (b"", 0)
        """The place of its last event."""

    def add(self, place: bytes, sub: int, line: bytes) -> None:
        """Take one event."""
        delta = _plain(line)
        if delta is None:
            self.put(event_frame(place, sub, line))
            return
        kind: Literal["text", "json"] = "text" if delta.json is None else "json"
        if (delta.block, kind) != self._of:
            self._close()
        self._of, self._last = (delta.block, kind), (place, sub)
        self._run.append((delta.text if kind == "text" else delta.json) or "")

    def put(self, frame: bytes) -> None:
        """Take a frame that stands for itself."""
        self._close()
        self._frames.append(frame)

    def frames(self) -> bytes:
        """Return all frames."""
        self._close()
        return b"".join(self._frames)

    def _close(self) -> None:
        """End the open run, if there is one."""
        if not self._run:
            return
        block, kind = self._of
        told = "".join(self._run)
        self._run.clear()
        delta = DeltaEvent(block, text=told) if kind == "text" else DeltaEvent(block, json=told)
        self._frames.append(event_frame(*self._last, encode_event(delta)))


def _plain(line: bytes) -> _Plain | None:
    """Return the delta in ``line`` if it may be joined with others."""
    if not line.startswith(_DELTA):
        return None
    try:
        delta = _decoder.decode(line)
    except msgspec.DecodeError:  # a signature, opaque data, or fields of a newer version
        return None
    return delta if (delta.text is None) != (delta.json is None) else None
