"""Direct delivery: whoever hears a live entry writes it to the readers that keep up, without waking their tasks.

To wake a reader's task costs more than the write itself. So while the task of an SSE reader waits for the next entry,
and that is the very one that comes, its bytes go to the socket at once. Whatever is not that plain goes through the
inbox to the task: a gap, a fork, the end, a large entry, the rest of a burst, and all for a client that has not taken
what was written before, or has gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import structlog

from relay.reading.voice import Voice
from shared.entry import Entry

log = structlog.get_logger()

_MOST_BYTES = 4096
"""More is written by the reader's task, piece by piece, as the client takes it."""

_UNREADABLE = (AssertionError, LookupError, TypeError, ValueError, msgspec.MsgspecError)
"""What a dialect may raise at an entry that makes no sense."""


class DirectWriter:
    """One SSE reader's socket, for whoever hears an entry while the reader's task waits for it."""

    __slots__ = ("_chunked", "_transport", "_voice", "_wake", "wrote_s")

    def __init__(self, voice: Voice, transport: asyncio.Transport, wake: Callable[[], None], *, chunked: bool) -> None:
        """Write to ``transport`` what ``voice`` makes of each entry.

        ``wake`` is called when the kernel has not taken all of it, which must then be waited for, and when the answer
        has ended with it.
        """
        self._voice = voice
        self._transport = transport
        self._wake = wake
        self._chunked = chunked
        self.wrote_s = time.monotonic()
        """When it last wrote, on the monotonic clock."""

    def write(self, entry: Entry) -> bool:
        """Write the entry, if that can be done at once; else do nothing and return False."""
        transport = self._transport
        if transport.is_closing() or transport.get_write_buffer_size() or len(entry.blob) > _MOST_BYTES:
            return False
        try:
            data = self._voice.directly(entry, chunked=self._chunked)
        except _UNREADABLE:  # an entry of no writer of ours: it ends its reader's task, not whoever hears for all
            log.exception("connection.defect", entry=str(entry.id))
            return False
        if data:
            transport.write(data)
            self.wrote_s = time.monotonic()
        if self._voice.ended or transport.get_write_buffer_size():
            self._wake()
        return True
