"""Direct delivery: whoever hears a live entry tells it to the readers that keep up, without waking their tasks.

To wake a reader's task costs more than the write itself. So while the task of an SSE reader waits for the next entry,
and that is the very one that comes, its bytes go to the outbox, and to the socket once all that came together is heard.
Whatever is not that plain goes through the inbox to the task: a gap, a fork, the end, a large entry, the rest of a
burst, and all for a client that has not taken what was written before, or has gone. The task is also woken where it has
something to do beside: to wait for a client that takes no more, to give a sign of life, to end the answer, or to fail.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from relay.live.outbox import Outbox
from relay.reading.voice import Voice
from relay.unreadable import UNREADABLE
from shared.entry import Entry

_MOST_BYTES = 4096
"""Larger entries are written by the reader's task, piece by piece, as the client takes them."""


class Outlet(NamedTuple):
    """Where the bytes of one answer go: into the outbox, from there to its socket, in chunks of HTTP/1.1 or not."""

    outbox: Outbox
    transport: asyncio.Transport
    chunked: bool


class DirectWriter:
    """One SSE reader's socket, for whoever hears an entry while the reader's task waits for it."""

    __slots__ = ("_failure", "_outlet", "_silent_s", "_voice", "_wake", "wrote_s")

    def __init__(self, voice: Voice, outlet: Outlet, wake: Callable[[], None], *, silent_s: float) -> None:
        """Write to ``outlet`` what ``voice`` makes of each entry.

        ``wake`` is called when the reader's task has something to do: also after ``silent_s`` of entries that come to
        nothing in the dialect.
        """
        self._voice = voice
        self._outlet = outlet
        self._wake = wake
        self._silent_s = silent_s
        self._failure: Exception | None = None
        self.wrote_s = time.monotonic()
        """When anything was last written, on the monotonic clock."""

    def write(self, entry: Entry) -> bool:
        """Tell the entry when the outbox is flushed, if that can be done at once; else do nothing and return False.

        Never raises: it would fail whoever hears for all readers. What has failed is raised by ``check``.
        """
        outbox, transport, chunked = self._outlet
        if transport.is_closing() or transport.get_write_buffer_size() or len(entry.blob) > _MOST_BYTES:
            return False
        try:
            data = self._voice.directly(entry, chunked=chunked)
        except UNREADABLE as error:
            self._failure = error  # not the task's to try again: half of the entry may have been told
            self._wake()
            return True
        now_s = time.monotonic()
        if data:
            outbox.put(self._send, data)
            self.wrote_s = now_s
        if self._voice.ended or now_s - self.wrote_s >= self._silent_s:
            self._wake()
        return True

    def _send(self, data: bytes) -> None:
        """Write; who must wait until the client takes it is the task."""
        transport = self._outlet.transport
        if not transport.is_closing():
            transport.write(data)
        if transport.get_write_buffer_size():
            self._wake()

    def check(self) -> None:
        """Raise what a ``write`` has failed by."""
        if self._failure is not None:
            raise self._failure
