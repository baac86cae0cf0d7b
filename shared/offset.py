"""A client's place in a stream: which entry, and how far inside it, in a text form clients treat as opaque."""

from __future__ import annotations

import re
import secrets
from base64 import b32encode
from typing import NamedTuple

_STREAM_ID = re.compile(r"[a-z2-7]{26}")
_ENTRY_ID = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")
_ENTRY_ID_BYTES = re.compile(_ENTRY_ID.pattern.encode())
_OFFSET = re.compile(r"([a-z2-7]{4})-([0-9]{8})-([0-9]{8})-([0-9]{3})")
MAX_ATTEMPT = 99_999_999
MAX_SEQ = 99_999_999
MAX_EVENTS_PER_ENTRY = 1000


class MalformedOffsetError(ValueError):
    """The text is not an offset of this stream; the message says why."""


def new_stream_id() -> str:
    """Return a fresh stream id: 128 random bits as 26 lower-case base-32 characters."""
    return b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


def is_stream_id(text: str) -> bool:
    """Tell whether ``text`` has the form of a stream id."""
    return _STREAM_ID.fullmatch(text) is not None


class EntryId(NamedTuple):
    """An entry's id: the attempt that wrote it and its place in the stream, both from the log protocol."""

    attempt: int
    seq: int

    def __str__(self) -> str:
        """Return the form Redis Streams uses."""
        return f"{self.attempt}-{self.seq}"

    @classmethod
    def parse(cls, text: str | bytes) -> EntryId:
        """Return the id in ``attempt-seq`` form. Raises ``ValueError`` for anything else."""
        found = _ENTRY_ID_BYTES.fullmatch(text) if isinstance(text, bytes) else _ENTRY_ID.fullmatch(text)
        if found is None:
            message = f"not an entry id: {text!r}"
            raise ValueError(message)
        return cls(int(found[1]), int(found[2]))


NO_ENTRY = EntryId(0, 0)
FIRST_ENTRY = EntryId(0, 1)
"""The relay's, in every log: the start event."""


class Offset(NamedTuple):
    """The last event a reader has: ``sub`` counts the events inside the entry from 0. Compares in stream order."""

    entry: EntryId
    sub: int

    def text(self, stream_id: str) -> str:
        """Return the opaque form: fixed width, sorts as text, bound to its stream."""
        return f"{stream_id[:4]}-{self.entry.attempt:08d}-{self.entry.seq:08d}-{self.sub:03d}"

    @classmethod
    def parse(cls, text: str, stream_id: str) -> Offset:
        """Return the offset in ``text``. Raises ``MalformedOffsetError`` if malformed or another stream's."""
        found = _OFFSET.fullmatch(text)
        if found is None:
            message = "the offset is not one that this service gave out"
            raise MalformedOffsetError(message)
        if found[1] != stream_id[:4]:
            message = "the offset belongs to another stream"
            raise MalformedOffsetError(message)
        return cls(EntryId(int(found[2]), int(found[3])), int(found[4]))


START = Offset(NO_ENTRY, 0)
