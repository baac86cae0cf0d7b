"""The reaper: finds streams that nobody will end, and offers them to every worker.

A stream that has not ended is in the lease set from the moment it is admitted. Should the queue Redis lose it there
(it may be another server than the one of the streams, and lose its last second alone) while no worker holds it, no
lease would ever run out, and a reader would wait for ever. So records are scanned, a bounded number at a time, and a
stream without a lease is given one that has run out: whoever takes it continues it, or ends it when its attempts are
used up.
"""

from __future__ import annotations

import time
from typing import Any, cast

import structlog
from arq.cron import CronJob, cron
from arq.typing import WorkerCoroutine
from redis.exceptions import RedisError, ResponseError

from shared.metrics import REAPED
from shared.stream_log import Place
from worker.parts import Parts

log = structlog.get_logger()

_MOST_SCANNED = 5_000
_SCANNED_AT_ONCE = 500


class Reaper:
    """One pass a minute over a part of the records, by whichever worker arq's cron picks."""

    def __init__(self, parts: Parts) -> None:
        """Scan the records of ``parts.log``."""
        self._parts = parts
        self._place = Place()

    def cron_job(self) -> CronJob:
        """Return the arq cron job; of all workers' only one runs at a time."""
        return cron(cast(WorkerCoroutine, self._run), name="reap", second=30, unique=True, keep_result=0)

    async def reap(self) -> int:
        """Offer the orphans among the next records; return how many there were.

        Raises ``RedisError`` where one cannot be reached, and goes on from there the next time.
        """
        found = 0
        for _ in range(_MOST_SCANNED // _SCANNED_AT_ONCE):
            place, stream_ids = await self._parts.log.scan(self._place, _SCANNED_AT_ONCE)
            try:
                found += await self._offer_orphans(stream_ids)
            except (ResponseError, LookupError, ValueError) as error:
                # A record of no writer of ours among them: it must not hide for ever those that come after them.
                log.warning("reaper.unreadable", error=type(error).__name__)
            self._place = place
            if self._place == Place():
                break
        return found

    async def _run(self, _ctx: dict[Any, Any]) -> None:
        """Be the body of the cron job. Where a Redis that is away has ended a pass, the next one goes on."""
        try:
            await self.reap()
        except (RedisError, OSError) as error:
            log.warning("reaper.redis_lost", error=type(error).__name__)

    async def _offer_orphans(self, stream_ids: list[str]) -> int:
        """Give those of the streams that need one a lease that has run out."""
        leased = await self._parts.leases.held(stream_ids)
        unleased = [stream_id for stream_id, held in zip(stream_ids, leased, strict=True) if not held]
        records = await self._parts.log.records(unleased)
        oldest_ms = time.time() * 1000 - self._parts.settings.start_grace_s * 1000
        orphans = [
            stream_id
            for stream_id, record in zip(unleased, records, strict=True)
            if record is not None and not record.ended_ms and record.created_ms < oldest_ms
        ]
        await self._parts.leases.offer(orphans)
        for stream_id in orphans:
            REAPED.inc()
            log.warning("stream.reaped", stream=stream_id)
        return len(orphans)
