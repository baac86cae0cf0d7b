"""The worker's ear: told on a channel of its own which streams a client wants ended, without waiting for the next tick.

Only a shortcut: what it hears is looked up in the record, and what it misses the keeper finds.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared import keys
from shared.backoff import Backoff
from shared.offset import is_stream_id
from worker.keeper import Keeper
from worker.supervisor import Supervisor

log = structlog.get_logger()

_PING_S = 3.0
_DEAD_S = 10.0
"""A connection that brought nothing for this long, not even answers to pings, leads to no Redis any more."""


class Control:
    """Listens for cancels. ``run`` it until the worker stops; it rides out any absence of Redis."""

    def __init__(self, worker_id: str, queue: Redis, supervisor: Supervisor, keeper: Keeper) -> None:
        """Listen on the channel of ``worker_id``."""
        self._channel = keys.worker_control(worker_id)
        self._queue = queue
        self._supervisor = supervisor
        self._keeper = keeper

    async def run(self) -> None:
        """Listen until cancelled."""
        backoff = Backoff(0.05, 1.0)
        while True:
            try:
                await self._listen(backoff)
            except (RedisError, OSError) as error:
                log.info("control.redis_lost", error=type(error).__name__)
            await asyncio.sleep(backoff.next_s())

    async def _listen(self, backoff: Backoff) -> None:
        """Look after each stream that is named, until the connection is lost or silent."""
        async with self._queue.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(self._channel)
            heard_s = time.monotonic()
            while time.monotonic() - heard_s < _DEAD_S:
                message = await pubsub.get_message(timeout=_PING_S)
                if message is None:
                    await pubsub.ping()
                    continue
                heard_s = time.monotonic()
                backoff.reset()
                if message["type"] == "message":
                    await self._hear(message["data"].decode(errors="replace"))

    async def _hear(self, stream_id: str) -> None:
        """Look up what is wished of a stream, if it runs here."""
        production = self._supervisor.running.get(stream_id) if is_stream_id(stream_id) else None
        if production is not None:
            await self._keeper.look_after([production.writer])
