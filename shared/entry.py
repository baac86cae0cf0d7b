"""One entry of a stream's log: its id, when it was written, and its events as encoded lines.

The blob is a header line, ``<version> <t_ms>``, and then one line of JSON per event. The same bytes are the
stream entry's only field in Redis and, after the id, the live message, so that neither is ever encoded twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from shared.events import AttemptEvent, Event, decode_event, encode_event, encoded_type
from shared.offset import EntryId, Offset

FORMAT = 1
_HEADER = re.compile(rb"\d+ \d+\n")
_LIVE = re.compile(rb"(\d{1,10})-(\d{1,10})\n")
_OBJECT_BYTES = 400
"""What an entry takes in memory beside its blob, about."""
FRAME_BYTES = 64
"""What a dialect adds to an event, about."""


class Entry:
    """An immutable entry of a log."""

    __slots__ = ("_frames", "_last", "_lines", "_types", "blob", "id")

    def __init__(self, entry_id: EntryId, blob: bytes) -> None:
        """Take an entry as it stands in the log. Raises ``ValueError`` when its header is not ours."""
        if not _HEADER.match(blob):
            message = "not an entry: its first line is not a format and a time"
            raise ValueError(message)
        self.id = entry_id
        self.blob = blob
        self._lines: list[bytes] | None = None
        self._frames: dict[str, bytes] | None = None
        self._last: Offset | None = None
        self._types: list[bytes] | None = None

    @property
    def t_ms(self) -> int:
        """When it was written, in Unix milliseconds."""
        return int(self.blob[: self.blob.index(b"\n")].split(b" ", 1)[1])

    @property
    def lines(self) -> list[bytes]:
        """The encoded events; split on first use, since a writer never asks."""
        if self._lines is None:
            self._lines = self.blob.split(b"\n")[1:]
        return self._lines

    @property
    def types(self) -> list[bytes]:
        """The type of each event; looked for once. Raises ``ValueError`` where a line is no event."""
        if self._types is None:
            self._types = [encoded_type(line) for line in self.lines]
        return self._types

    @property
    def ends(self) -> bool:
        """Whether it holds the end event, which is always its last."""
        return self.types[-1] == b"end"

    @property
    def follows(self) -> EntryId | None:
        """The entry after which its attempt begins, where it is an attempt's first; None where it does not say."""
        if self.types[0] != b"attempt":
            return None
        try:
            event = decode_event(self.lines[0])
            return EntryId.parse(event.follows) if isinstance(event, AttemptEvent) else None
        except ValueError:
            return None

    def continues(self, here: EntryId) -> bool:
        """Tell whether it is the very next one after ``here``: of the same attempt, or a new one's first."""
        return self.id.seq == here.seq + 1 and (self.id.attempt == here.attempt or self.follows == here)

    @property
    def held_bytes(self) -> int:
        """The memory that holding the entry takes, about."""
        return len(self.blob) + _OBJECT_BYTES

    @property
    def told_bytes(self) -> int:
        """What the entry comes to in a dialect, about."""
        return len(self.blob) + FRAME_BYTES * len(self.lines)

    def events(self) -> list[Event]:
        """Return the decoded events, in order."""
        return [decode_event(line) for line in self.lines]

    def last_offset(self) -> Offset:
        """Return the offset of a reader who has the whole entry; made once for all of them."""
        if self._last is None:
            self._last = Offset(self.id, max(len(self.lines) - 1, 0))
        return self._last

    def frames(self, dialect: str) -> bytes | None:
        """Return the cached wire form for ``dialect``, so that many readers of one stream share one rendering."""
        return None if self._frames is None else self._frames.get(dialect)

    def keep_frames(self, dialect: str, frames: bytes) -> bytes:
        """Cache and return the wire form of the whole entry for ``dialect``."""
        if self._frames is None:
            self._frames = {}
        self._frames[dialect] = frames
        return frames


def encode_blob(events: Iterable[Event], t_ms: int) -> bytes:
    """Return the blob of an entry that holds ``events``, written at ``t_ms`` (Unix milliseconds)."""
    return blob_of_lines([encode_event(event) for event in events], t_ms)


def blob_of_lines(lines: Sequence[bytes], t_ms: int) -> bytes:
    """Return the blob of an entry whose events are already encoded."""
    return b"\n".join((b"%d %d" % (FORMAT, t_ms), *lines))


def decode_live(payload: bytes) -> Entry:
    """Return the entry in a live message: its id on the first line, then the blob.

    Raises ``ValueError`` when it is none: anybody may publish.
    """
    found = _LIVE.match(payload)
    if found is None:
        message = "not an entry: it does not begin with an id and a header"
        raise ValueError(message)
    entry = Entry(EntryId(int(found[1]), int(found[2])), payload[found.end() :])
    _ = entry.types  # raises where a line is no event: here, and not later to every reader
    return entry
