"""Which stream is a chat's newest: front ends come back with the id of a chat, not of a stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from redis.asyncio import Redis

from shared import keys
from shared.record import Record
from shared.scripts import run_script
from shared.settings import Settings

CHAT_ID = "chat_id"
"""In a stream's metadata: the chat that it answers in."""


@dataclass(frozen=True)
class Newest:
    """A chat's newest stream, as it was looked up; without a stream, the chat had none."""

    stream_id: str = ""
    held: str = ""
    """What Redis holds of it, to compare with."""


class Chats:
    """The chats of all tenants, on the queue Redis. A chat is forgotten with the longest that its stream may run.

    Raises ``RedisError``.
    """

    def __init__(self, redis: Redis, settings: Settings) -> None:
        """Use the queue Redis."""
        self._redis = redis
        self._kept_ms = round(settings.running_ttl_s * 1000)

    async def newest(self, tenant: str, chat_id: str) -> Newest:
        """Return the chat's newest stream."""
        held = await self._redis.get(keys.chat(tenant, chat_id))
        return Newest() if held is None else Newest(held.decode().split(" ")[0], held.decode())

    async def point(self, chat_id: str, stream_id: str, record: Record, before: Newest | None = None) -> bool:
        """Make a stream the chat's newest, and return whether it is.

        ``before`` is what was the newest when the stream was asked for. Without it only an older one gives way: so for
        a stream that had been started before.
        """
        held = "-" if before is None else before.held
        arguments = (held, stream_id, record.created_ms, self._kept_ms)
        return bool(await run_script(self._redis, "point", (keys.chat(record.tenant, chat_id),), arguments))

    async def forget(self, tenant: str, chat_id: str, stream_id: str) -> bool:
        """Have the chat point to nothing if it points to this stream, and return whether it did."""
        return bool(await run_script(self._redis, "unpoint", (keys.chat(tenant, chat_id),), (stream_id,)))

    async def restore(self, streams: Iterable[tuple[str, Record]]) -> None:
        """Put back the chats of streams, which Redis may have lost."""
        for stream_id, record in streams:
            if chat_id := record.metadata.get(CHAT_ID):
                await self.point(chat_id, stream_id, record)
