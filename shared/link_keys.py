"""The keys that signed links are made with: one for each stream that has links, in its record, for all relays.

A key lives and dies with its record, so it needs no expiry of its own; and forgetting it revokes every link that was
made with it. It is the one field of a record that a worker never restores: after a loss of Redis links are refused
rather than a revoked one taken for good.
"""

from __future__ import annotations

import secrets
from typing import cast

from shared import keys
from shared.cluster import Streams
from shared.scripts import run_script


class LinkKeys:
    """The keys of all streams' links. Raises ``RedisError``."""

    def __init__(self, streams: Streams) -> None:
        """Keep them where the records are."""
        self._redis = streams

    async def of(self, stream_id: str) -> str:
        """Return the key of the stream's links, made now if it has none; empty when there is no such stream."""
        answer = await run_script(self._redis, "link", (keys.record(stream_id),), (secrets.token_urlsafe(32),))
        return cast(bytes, answer).decode()

    async def forget(self, stream_id: str) -> None:
        """Forget the key: the next link gets another one."""
        await self._redis.execute_command("HDEL", keys.record(stream_id), "link_key")
