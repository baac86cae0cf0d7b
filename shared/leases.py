"""Leases on the queue Redis: who is alive, and what may be taken over. They say when to try; the log decides who."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Literal, cast

from redis.asyncio import Redis

from shared import keys
from shared.scripts import Call, run_script
from shared.settings import Settings

TakenReason = Literal["lease_expired", "handed_over"]


class Leases:
    """The lease set. One write renews all streams of a worker, however many. Raises ``RedisError``."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        """Use the queue Redis and the lease times of ``settings``."""
        self._redis = redis
        self._lease_s = settings.lease_s
        self._lease_ms = round(settings.lease_s * 1000)
        self._ttl_ms = round(settings.running_ttl_s * 1000)
        self._clock_ahead_ms = -math.inf
        """How far Redis's time is ahead of our monotonic clock, or less."""
        self._clock_most_ahead_ms = math.inf
        """The same, or more."""
        self.known_run = ""
        """The run of the server that is known: in another one nothing is taken. Empty: in any."""
        self.nobody_has_any = False
        """Whether the last ``take_expired`` found the whole system without a stream."""
        self.renewed_s = time.monotonic()
        """When the last ``renew_all`` was answered, on the monotonic clock."""
        self._silent_until_s = 0.0

    async def renew(self, stream_ids: Sequence[str]) -> None:
        """Extend the leases by ``lease_s`` from now, re-creating those that Redis has lost."""
        if stream_ids:
            await run_script(self._redis, *self.renewal(stream_ids))

    def renewal(self, stream_ids: Sequence[str]) -> Call:
        """Return the call that does it."""
        return Call("renew", (keys.LEASES,), (self._lease_ms, self._ttl_ms, *stream_ids))

    async def renew_all(self, stream_ids: Sequence[str]) -> None:
        """Extend the leases of all streams of this worker: the heartbeat that ``silent_since`` looks at."""
        await self.renew(stream_ids)
        now_s = time.monotonic()
        if now_s - self.renewed_s > self._lease_s:
            self._silent_until_s = now_s
        self.renewed_s = now_s

    def silent_since(self, since_s: float) -> bool:
        """Tell whether after ``since_s`` (monotonic) a lease could run out between two heartbeats, or has by now."""
        return self._silent_until_s > since_s or time.monotonic() - self.renewed_s > self._lease_s

    async def take_expired(self, most: int) -> list[tuple[str, TakenReason]]:
        """Take up to ``most`` streams nobody holds, each for one lease, so that one worker at a time tries.

        None when Redis gets to it late: it has stood still, and those who are alive have not been able to renew. Nor
        after a restart that is not known yet, by which Redis may have lost what was renewed. The first call takes
        nothing either, since it is what tells Redis's time. Raises ``RedisError`` wherever a renewal is refused, also
        where there is nothing to take, or 0 were asked for.
        """
        until_ms = round(max(time.monotonic() * 1000 + self._clock_ahead_ms + self._lease_ms / 4, 0))
        arguments = (self._lease_ms, self._ttl_ms, most, until_ms, self.known_run)
        asked_s = time.monotonic()
        now_ms, *found = await run_script(self._redis, "take_expired", (keys.LEASES,), arguments)
        self._clock_ahead_ms = now_ms - time.monotonic() * 1000
        self._clock_most_ahead_ms = now_ms + 1 - asked_s * 1000
        self.nobody_has_any = found == [b"none"]
        pairs = zip(found[::2], found[1::2], strict=False)
        return [(stream_id.decode(), cast(TakenReason, reason.decode())) for stream_id, reason in pairs]

    def earliest_s(self, redis_ms: float) -> float:
        """Return what our monotonic clock showed at a time of Redis's, or less; ``-inf`` before Redis has told its."""
        return (redis_ms - self._clock_most_ahead_ms) / 1000

    async def held(self, stream_ids: Sequence[str]) -> list[bool]:
        """Tell of each stream whether it is in the lease set, run out or not."""
        if not stream_ids:
            return []
        found = await self._redis.zmscore(keys.LEASES, list(stream_ids))
        return [deadline is not None for deadline in found]

    async def offer(self, stream_ids: Sequence[str]) -> None:
        """Offer streams that nobody holds to every worker, as if their lease had run out long ago."""
        if stream_ids:
            pipe = self._redis.pipeline(transaction=True)
            pipe.zadd(keys.LEASES, dict.fromkeys(stream_ids, 1), nx=True)
            pipe.pexpire(keys.LEASES, self._ttl_ms)
            await pipe.execute()

    async def hand_over(self, stream_ids: Sequence[str]) -> None:
        """Offer the streams to every other worker at once, without waiting for expiry."""
        if stream_ids:
            pipe = self._redis.pipeline(transaction=True)
            pipe.zadd(keys.LEASES, dict.fromkeys(stream_ids, 0))
            pipe.pexpire(keys.LEASES, self._ttl_ms)
            await pipe.execute()
