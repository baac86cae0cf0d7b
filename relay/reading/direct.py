"""Direct delivery: whoever hears a live entry writes it to the readers that keep up, without waking their tasks.

To wake a reader's task costs more than the write itself. So while the task of an SSE reader waits for the next entry,
and that is the very one that comes, its bytes go to the socket at once; they are made once for all readers. Whatever is
not that plain goes through the inbox to the task: a gap, a fork, the end, a large entry, the rest of a burst, and all
for a client that has not taken what was written before, or has gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from relay.reading import native
from relay.reading.subscription import Piece
from shared.entry import Entry

_MOST_BYTES = 4096
"""More is written by the reader's task, piece by piece, as the client takes it."""
_AS_IT_IS = "native, direct"
_AS_A_CHUNK = "native, direct, a chunk of HTTP/1.1"


class DirectWriter:
    """One native SSE reader's socket, for whoever hears an entry while the reader's task waits for it."""

    __slots__ = ("_kind", "_stalled", "_stream_id", "_transport", "wrote_s")

    def __init__(
        self, stream_id: str, transport: asyncio.Transport, stalled: Callable[[], None], *, chunked: bool
    ) -> None:
        """Write to ``transport``; call ``stalled`` when the kernel has not taken all, which must then be waited for."""
        self._stream_id = stream_id
        self._transport = transport
        self._stalled = stalled
        self._kind = _AS_A_CHUNK if chunked else _AS_IT_IS
        self.wrote_s = time.monotonic()
        """When it last wrote, on the monotonic clock."""

    def write(self, entry: Entry) -> bool:
        """Write the entry, if that can be done at once; else do nothing and return False."""
        transport = self._transport
        if transport.is_closing() or transport.get_write_buffer_size():
            return False
        data = entry.frames(self._kind)
        if data is None:
            data = entry.keep_frames(self._kind, self._render(entry))
        if not data:
            return False
        transport.write(data)
        self.wrote_s = time.monotonic()
        if transport.get_write_buffer_size():
            self._stalled()
        return True

    def _render(self, entry: Entry) -> bytes:
        """Return what is written of an entry; nothing where it is too much."""
        frames = native.sse_frames(self._stream_id, [Piece(entry)])
        if len(frames) > _MOST_BYTES:
            return b""
        return b"%x\r\n%b\r\n" % (len(frames), frames) if self._kind == _AS_A_CHUNK else frames
