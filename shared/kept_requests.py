"""What is kept of a request beyond its stream's end, for dialects whose clients ask for it again.

The record's own copy is erased at the end, since nobody needs it any more. This one is kept for as long as the log and
erased with it, under a key of its own that is written before the stream's record: whoever ends the stream finds it.
"""

from __future__ import annotations

from typing import cast

from shared import keys
from shared.cluster import Streams


class KeptRequests:
    """The kept requests of all streams. Every method raises ``RedisError`` when Redis cannot be reached."""

    def __init__(self, streams: Streams, running_ms: int, ended_ms: int) -> None:
        """Use ``streams`` and the times to live of a running and of an ended stream's log."""
        self._redis = streams
        self._running_ms = running_ms
        self._ended_ms = ended_ms

    async def keep(self, stream_id: str, body: bytes) -> None:
        """Keep what a new stream was asked, unless it is kept already."""
        await self._redis.execute_command("SET", keys.kept(stream_id), body, "PX", self._running_ms, "NX")

    async def settle(self, stream_id: str) -> None:
        """Let what is kept of a stream that has just ended live as long as its log."""
        await self._redis.execute_command("PEXPIRE", keys.kept(stream_id), self._ended_ms)

    async def read(self, stream_id: str) -> bytes | None:
        """Return what is kept, None if nothing is."""
        return cast(bytes | None, await self._redis.execute_command("GET", keys.kept(stream_id)))
