"""Viewer leases: which streams are being watched through this relay, for those that care."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import structlog
from redis.exceptions import RedisError

from shared.record import Record
from shared.settings import Settings
from shared.stream_log import StreamLog

log = structlog.get_logger()

_NOBODY_CARES: AbstractAsyncContextManager[None] = nullcontext()
"""One for all viewers of streams that go on by themselves: most readers, of whom each should cost little."""


class Viewers:
    """Keeps one lease per watched stream and relay. Only streams that end when abandoned are told of."""

    def __init__(self, relay_id: str, stream_log: StreamLog, settings: Settings) -> None:
        """Hold leases in the name of ``relay_id``."""
        self._relay_id = relay_id
        self._log = stream_log
        self._lease_ms = round(settings.viewer_lease_s * 1000)
        self._renew_s = settings.viewer_lease_s / 3
        self._watched: dict[str, Counter[str]] = {relay_id: Counter(), f"{relay_id}:poll": Counter()}
        """Viewers of each stream, by the lease that stands for them."""
        self._draining = False

    def watching(self, stream_id: str, record: Record, *, lasting: bool = True) -> AbstractAsyncContextManager[None]:
        """Count a viewer while the block runs.

        One that is not ``lasting`` (a long-poll) has a lease of its own, which stays until it expires, since it will be
        back: neither its leaving nor another viewer's ends it.
        """
        return _NOBODY_CARES if record.when_abandoned_s is None else self._watching(stream_id, lasting=lasting)

    @asynccontextmanager
    async def _watching(self, stream_id: str, *, lasting: bool) -> AsyncIterator[None]:
        """Count a viewer of a stream that ends when abandoned."""
        holder = self._relay_id if lasting else f"{self._relay_id}:poll"
        self._watched[holder][stream_id] += 1
        try:
            await self._tell(holder, [(stream_id, self._lease_ms)])
            yield
        finally:
            self._watched[holder][stream_id] -= 1
            if not self._watched[holder][stream_id]:
                del self._watched[holder][stream_id]
                if lasting and not self._draining:
                    await asyncio.shield(self._tell(holder, [(stream_id, 0)]))

    def drain(self) -> None:
        """Leave the leases of viewers that end from now on to expiry: they are sent to other relays, not away."""
        self._draining = True

    async def run(self) -> None:
        """Renew the leases until cancelled."""
        while True:
            await asyncio.sleep(self._renew_s)
            for holder, streams in self._watched.items():
                if streams:
                    await self._tell(holder, [(stream_id, self._lease_ms) for stream_id in streams])

    async def _tell(self, holder: str, leases_ms: list[tuple[str, int]]) -> None:
        """Write leases; a failure is left to expiry, which errs on the side of ending later."""
        try:
            await self._log.view(holder, leases_ms)
        except (RedisError, OSError) as error:
            log.info("viewers.not_told", error=type(error).__name__, streams=len(leases_ms))
