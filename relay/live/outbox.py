"""What is told directly, gathered and then sent in a row.

Each call to the kernel makes the Python after it slower, since the processor begins it with cold caches and without its
branch predictions. So all that has come together is heard and framed first, and sent afterwards: a quarter less of a
relay's work on a live entry.
"""

from __future__ import annotations

from collections.abc import Callable

_MOST = 256
"""What waits here is each reader's own memory in the dialects that share no rendering."""


class Outbox:
    """Bytes on their way to sockets. Whoever fills it flushes it before anybody else has a turn."""

    def __init__(self) -> None:
        """Begin empty."""
        self._ready: list[tuple[Callable[[bytes], None], bytes]] = []

    def put(self, send: Callable[[bytes], None], data: bytes) -> None:
        """Have ``send`` called with ``data`` at the next flush, which may be now. It must not raise."""
        self._ready.append((send, data))
        if len(self._ready) == _MOST:
            self.flush()

    def flush(self) -> None:
        """Send what has gathered."""
        ready, self._ready = self._ready, []
        for send, data in ready:
            send(data)
