"""Which streams may start and which have ended: limits, idempotency keys and the tenants' indexes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from shared import keys
from shared.record import Record
from shared.scripts import Call, run_script
from shared.settings import Settings

_KEYLESS_MS = 60_000
"""How long a request without an idempotency key can be retried as the same; the SDKs are done within seconds."""


@dataclass(frozen=True)
class Applicant:
    """A stream that asks to start. ``body_hash`` tells whether a repeated key came with the same request."""

    stream_id: str
    tenant: str
    idempotency_key: str | None
    body_hash: str
    created_ms: int

    @property
    def remembered(self) -> str:
        """The Redis key that remembers the idempotency key, empty if there is none."""
        return "" if self.idempotency_key is None else keys.idempotency(self.tenant, self.idempotency_key)


@dataclass(frozen=True)
class Admitted:
    """``repeated`` names the stream that the idempotency key started before, its body's hash, and when that was.

    ``unsettled``: Redis may just have lost the key, and the stream's worker is about to restore it: ask again.
    """

    status: Literal["admitted", "repeated", "unsettled", "tenant full", "full"]
    stream_id: str = ""
    body_hash: str = ""
    created_ms: int = 0


class Admission:
    """The book of active streams, on the queue Redis. Raises ``RedisError``."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        """Use the queue Redis and the limits of ``settings``."""
        self._redis = redis
        self._settings = settings
        self._running_ms = round(settings.running_ttl_s * 1000)
        self._ended_ms = round(settings.ttl_s * 1000)
        self._index_ms = round((settings.running_ttl_s + settings.tombstone_s) * 1000)

    async def admit(self, applicant: Applicant) -> Admitted:
        """Admit the stream, say which one its key started before, or say what is full. One atomic step.

        An admitted stream is offered to every worker after ``start_grace_s`` even if its job is lost.
        """
        return admitted(applicant, await run_script(self._redis, *self.admission(applicant)))

    def admission(self, applicant: Applicant) -> Call:
        """Return the call that admits the stream; ``admitted`` reads its answer."""
        index = keys.tenant_streams(applicant.tenant)
        remembered = applicant.remembered or index
        return Call(
            "admit",
            (keys.LEASES, keys.tenant_active(applicant.tenant), index, remembered, keys.APPLICANTS, keys.HISTORY),
            (
                applicant.stream_id,
                _remembered(applicant.stream_id, applicant.body_hash, applicant.created_ms),
                round(self._settings.start_grace_s * 1000),
                self._running_ms,
                self._index_ms,
                self._settings.max_active_per_tenant,
                self._settings.max_active,
                applicant.tenant,
                round(self._settings.lease_s * 1000),
            ),
        )

    async def stand_in(self, tenant: str, body: bytes, fresh: str, *, retried: bool) -> str:
        """Return the idempotency key that stands for a request without one: ``fresh``, which is remembered for 60 s.

        For a ``retried`` request the one that the last request with this body left, if any; the same for all retries.
        """
        name = keys.keyless(tenant, hashlib.sha256(body).hexdigest()[:32])
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(name, fresh, px=_KEYLESS_MS, nx=retried)
        if retried:
            pipe.get(name)
        kept = (await pipe.execute())[-1]
        return kept.decode() if retried and kept else fresh

    async def restore(self, streams: Iterable[tuple[str, Record]], *, ended: bool) -> None:
        """Put back what Redis may have lost of streams that are being written, or have ended a moment ago.

        Their idempotency keys, so that a repeated request does not start another stream, and the tenants' indexes.
        """
        kept_ms = self._ended_ms if ended else self._running_ms
        pipe = self._redis.pipeline(transaction=False)
        for stream_id, record in streams:
            if record.idempotency:
                kept = _remembered(stream_id, record.body_hash, record.created_ms)
                pipe.set(record.idempotency, kept, nx=True, px=kept_ms)
            index = keys.tenant_streams(record.tenant)
            pipe.zadd(index, {stream_id: record.created_ms}, nx=True)
            pipe.pexpire(index, self._index_ms)
        await pipe.execute()

    async def release(self, stream_id: str, record: Record) -> None:
        """Take an ended stream out of the book; its idempotency key now lives as long as its log. Idempotent."""
        await run_script(self._redis, *self.releasing(stream_id, record))

    def releasing(self, stream_id: str, record: Record) -> Call:
        """Return the call that does it."""
        names = (keys.LEASES, keys.APPLICANTS, keys.tenant_active(record.tenant), record.idempotency)
        return Call("release", names if record.idempotency else names[:3], (stream_id, self._ended_ms))

    async def withdraw(self, stream_id: str) -> None:
        """Take a stream that was admitted and never made out of the book. Idempotent."""
        tenant = await self._redis.execute_command("HGET", keys.APPLICANTS, stream_id)
        pipe = self._redis.pipeline(transaction=False)
        pipe.zrem(keys.LEASES, stream_id)
        if tenant is not None:
            pipe.zrem(keys.tenant_active(tenant.decode()), stream_id)
            pipe.hdel(keys.APPLICANTS, stream_id)
        await pipe.execute()

    async def listed(self, tenant: str, newest_ms: float, skip: int, count: int) -> list[tuple[str, int]]:
        """Return the tenant's streams from ``newest_ms`` back, newest first: ``count`` after the first ``skip``."""
        found = await self._redis.zrevrangebyscore(
            keys.tenant_streams(tenant), newest_ms, "-inf", start=skip, num=count, withscores=True
        )
        return [(stream_id.decode(), int(score)) for stream_id, score in found]

    async def forget(self, stream_id: str, tenant: str) -> None:
        """Take a deleted stream out of the tenant's index."""
        await self._redis.zrem(keys.tenant_streams(tenant), stream_id)

    async def active(self) -> int:
        """Return how many streams are queued or running."""
        return int(await self._redis.zcard(keys.LEASES))


def admitted(applicant: Applicant, answer: Any) -> Admitted:
    """Return what the answer to an admission says."""
    status = answer[0].decode()
    if status == "repeated":
        stream_id, body_hash, created_ms = answer[1].decode().split(" ")
        return Admitted("repeated", stream_id, body_hash, int(created_ms))
    return Admitted(status, applicant.stream_id, applicant.body_hash, applicant.created_ms)


def _remembered(stream_id: str, body_hash: str, created_ms: int) -> str:
    """Return what is kept under an idempotency key: all that a repeat needs to make the very same stream again."""
    return f"{stream_id} {body_hash} {created_ms}"
