"""What a worker that finds its stream taken by another makes of it: a count, and whether it should have been."""

from __future__ import annotations

import structlog
from redis.exceptions import RedisError

from shared.events import AttemptEvent
from shared.metrics import FALSE_TAKEOVERS, FENCED
from shared.offset import EntryId
from worker.claiming import Grant
from worker.parts import Parts

log = structlog.get_logger()


async def note_fenced(parts: Parts, grant: Grant) -> None:
    """Count a fence, and a false takeover where the lease was taken as run out while this worker lived.

    Only the one that was replaced can know, and only once it is back: a worker that stays away counts nothing. Whether
    it had been silent for a lease (stopped, starved or cut off), which is what leases are for, or had renewed in time,
    which only a clock that jumped or a defect explains, is the label.
    """
    FENCED.inc()
    try:
        after = await parts.log.read(grant.stream_id, EntryId(grant.record.attempt + 1, 0), 1)
    except (RedisError, OSError) as error:
        log.info("attempt.taken_by_unknown", stream=grant.stream_id, error=type(error).__name__)
        return
    first = after[0].events()[0] if after else None
    if isinstance(first, AttemptEvent) and first.reason == "lease_expired":
        owner = "silent" if parts.leases.silent_since(grant.granted_s) else "renewing"
        FALSE_TAKEOVERS.labels(owner).inc()
        log.warning("attempt.taken_alive", stream=grant.stream_id, attempt=grant.record.attempt, owner=owner)
