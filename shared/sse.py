"""Server-sent events read from bytes as they arrive, however the network has cut them."""

from __future__ import annotations

import re
from typing import NamedTuple

DEFAULT_MAX_EVENT_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_USUAL = re.compile(rb"event: ([^\r\n]+)\ndata: ([^\r\n]*)\n\n")
"""One whole event, which is what one read mostly brings."""


class SseLimitError(ValueError):
    """One event is larger than the reader allows; the stream cannot be read on."""


class SseEvent(NamedTuple):
    """One event. A browser would dispatch it only if ``data`` is not None; ``id`` and ``retry`` count in any case."""

    event: str
    data: bytes | None
    id: str | None
    retry: int | None
    """Milliseconds."""


class SseParser:
    """Turns chunks of bytes into events, as the HTML standard reads an event stream.

    Lines end with LF, CR or CRLF, also when a chunk ends between the two. Memory is bounded by
    ``max_event_bytes`` of unfinished event; an event without its closing blank line is never given out.
    """

    def __init__(self, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        """Take the size over which one event is refused."""
        self._max_event_bytes = max_event_bytes
        self._line: list[bytes] = []
        """The pieces of the unfinished line. Joined once its end arrives, so that a long line costs linear time."""
        self._line_bytes = 0
        self._at_start = True
        self._skip_lf = False
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = ""
        self._id: str | None = None
        self._retry: int | None = None
        self.between = True
        """Whether the last chunk ended with an event, or there was none."""

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Return the events that ``chunk`` completes, in order. Raises ``SseLimitError`` for one that is too large."""
        if self.between and (usual := _USUAL.fullmatch(chunk)) is not None:
            self._at_start = False
            self._check(len(usual[2]) + 1)
            return [SseEvent(usual[1].decode("utf-8", "replace"), usual[2], None, None)]
        events = self._read(chunk)
        begun = self._line or self._data or self._event or self._id is not None or self._retry is not None
        self.between = not begun and not self._skip_lf
        return events

    def _read(self, chunk: bytes) -> list[SseEvent]:
        """Take in ``chunk`` line by line."""
        if self._skip_lf and chunk:
            self._skip_lf = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._skip_lf = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        tail = lines.pop()
        events: list[SseEvent] = []
        if lines:
            if self._line or self._at_start:
                lines[0] = self._finished_line(lines[0])
            for line in lines:
                if not line:
                    self._dispatch(events)
                elif line.startswith(b"data: "):
                    self._add_data(line[6:])
                elif line.startswith(b"event: "):
                    self._event = line[7:].decode("utf-8", "replace")
                else:
                    self._field(line)
        if tail:
            self._keep(tail)
        return events

    def _keep(self, piece: bytes) -> None:
        """Hold a piece of the unfinished line."""
        self._line.append(piece)
        self._line_bytes += len(piece)
        self._check(self._data_bytes + self._line_bytes)

    def _finished_line(self, end: bytes) -> bytes:
        """Return the held line with its ``end``."""
        line = b"".join((*self._line, end))
        self._line.clear()
        self._line_bytes = 0
        if self._at_start:
            self._at_start = False
            return line.removeprefix(_BOM)
        return line

    def _add_data(self, value: bytes) -> None:
        self._data.append(value)
        self._data_bytes += len(value) + 1
        self._check(self._data_bytes)

    def _check(self, size: int) -> None:
        if size > self._max_event_bytes:
            message = f"an event is larger than {self._max_event_bytes} bytes"
            raise SseLimitError(message)

    def _field(self, line: bytes) -> None:
        """Take in a line that is not in one of the two usual forms; comments and unknown fields change nothing."""
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._add_data(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            self._retry = int(value)

    def _dispatch(self, events: list[SseEvent]) -> None:
        """End the event that the lines so far have described, if they have."""
        if self._data or self._id is not None or self._retry is not None:
            data = b"\n".join(self._data) if self._data else None
            events.append(SseEvent(self._event or "message", data, self._id, self._retry))
            self._data.clear()
            self._data_bytes = 0
            self._id = self._retry = None
        self._event = ""
