"""The worker's heartbeat: renews its leases, takes over what others have lost, and looks after its quiet streams.

Everything here is one loop, four ticks a lease, whose cost does not grow with the number of streams except in what
one round trip carries.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.leases import TakenReason
from worker.parts import Parts
from worker.stream_writer import StreamWriter
from worker.supervisor import Supervisor

log = structlog.get_logger()

_TICKS_PER_LEASE = 4
_MOST_TAKEN = 32
"""Streams taken over in one tick, so that a dead worker's streams spread over all the others."""
_BATCH = 500


class Keeper:
    """Keeps a worker's streams alive. ``run`` it as long as the worker holds any."""

    def __init__(self, parts: Parts, supervisor: Supervisor, queue: Redis) -> None:
        """Watch over ``supervisor``'s streams; ``queue`` is where the leases are."""
        self._parts = parts
        self._supervisor = supervisor
        self._queue = queue
        self._tick_s = parts.settings.lease_s / _TICKS_PER_LEASE
        self._server_run = ""
        self._reached_s = time.monotonic()
        self._linger_look_s = 0.0
        """When the ended streams are looked at next: at once after a restart of Redis, or else once a lease."""
        self._patient_until_s = self._reached_s + parts.settings.lease_s
        """Until then nothing is taken over: after an outage everybody first gets a full lease to show it is alive."""

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            try:
                await self._tick()
                self._reached_s = time.monotonic()
            except (RedisError, OSError) as error:
                self._lost(error)
            await asyncio.sleep(self._tick_s)

    async def look_after(self, writers: list[StreamWriter]) -> None:
        """Learn how streams that did not write lately stand: cancelled, taken by another, or shortened by Redis.

        Raises ``RedisError``.
        """
        for at in range(0, len(writers), _BATCH):
            batch = writers[at : at + _BATCH]
            outlooks = await self._parts.log.outlook([(one.stream_id, one.record) for one in batch])
            for writer, outlook in zip(batch, outlooks, strict=True):
                if outlook.cancel_asked:
                    writer.on_signal("cancelled")
                if outlook.status == "fenced":
                    writer.settle(outlook)
                elif outlook.status == "gone" and writer.entries:
                    await self._parts.publisher.restore(writer)
                elif outlook.status == "tail" and outlook.tail < writer.tail:
                    log.warning("stream.shortened", stream=writer.stream_id, tail=str(outlook.tail))
                    writer.rewind(outlook.tail)
                    self._parts.publisher.touch(writer)

    async def _tick(self) -> None:
        """Renew, take over, look after: in this order, since renewing is what keeps others away."""
        began_s = time.monotonic()
        running = self._supervisor.running
        await self._parts.leases.renew_all(list(running))
        await self._note_server()
        self._note_delay(began_s)
        room = self._supervisor.room()
        if room and time.monotonic() > self._patient_until_s:
            await self._take_over(min(room, _MOST_TAKEN))
        now_s = time.monotonic()
        quiet_s = now_s - self._tick_s
        quiet = [one.writer for one in running.values() if one.writer.entries and one.writer.settled_s < quiet_s]
        lingering = [writer for writer, _ in self._supervisor.lingering.values()] if now_s > self._linger_look_s else []
        await self.look_after(quiet + lingering)
        if lingering:
            self._linger_look_s = now_s + self._parts.settings.lease_s
            self._let_go(now_s)
        await self._end_abandoned()
        self._note_delay(now_s)

    async def _take_over(self, most: int) -> None:
        """Take up to ``most`` streams whose lease has run out, all at once: our own leases must not wait for them."""
        taken = await self._parts.leases.take_expired(most)  # outside the group, which would wrap what it raises
        async with asyncio.TaskGroup() as group:
            for stream_id, reason in taken:
                group.create_task(self._take(stream_id, reason), name=f"take:{stream_id}")

    async def _take(self, stream_id: str, reason: TakenReason) -> None:
        """Take one stream over. What is wrong with it must not end the worker; its next lease is another try."""
        try:
            await self._supervisor.take(stream_id, reason)
        except (RedisError, OSError) as error:
            log.warning("stream.not_taken", stream=stream_id, error=type(error).__name__)
        except (KeyError, ValueError):
            log.exception("stream.unreadable", stream=stream_id)

    async def _note_server(self) -> None:
        """Notice a restarted or failed-over Redis, even if no command of ours failed, and repair its book."""
        server_run = (await self._queue.info("server"))["run_id"]
        if server_run == self._server_run:
            return
        self._patient_until_s = time.monotonic() + self._parts.settings.lease_s
        if self._server_run:
            log.warning("worker.redis_restarted")
            await self._restore_book()
            self._linger_look_s = 0.0
        self._server_run = server_run

    async def _restore_book(self) -> None:
        """Put back what Redis may have lost of the streams held here, so that a repeated request finds them."""
        supervisor, restore = self._supervisor, self._parts.admission.restore
        await restore([(one.stream_id, one.record) for one in supervisor.running.values()], ended=False)
        await restore([(one.stream_id, one.record) for one, _ in supervisor.lingering.values()], ended=True)

    def _note_delay(self, since_s: float) -> None:
        """Be patient after a Redis that stood still: it has kept others from renewing, as it has kept us."""
        now_s = time.monotonic()
        if now_s - since_s > self._parts.settings.lease_s / 2:
            self._patient_until_s = now_s + self._parts.settings.lease_s

    def _lost(self, error: Exception) -> None:
        """Take in that Redis cannot be reached: be patient when it is back, and give up when it is away too long."""
        now_s = time.monotonic()
        away_s = now_s - self._reached_s
        log.warning("worker.redis_lost", error=type(error).__name__, away_s=round(away_s, 1))
        self._patient_until_s = now_s + self._tick_s + self._parts.settings.lease_s
        if away_s > self._parts.settings.detached_s:
            self._supervisor.interrupt_all("detached")

    def _let_go(self, looked_s: float) -> None:
        """Let go of the ended streams that were found whole when their time to linger was over, or are another's."""
        for stream_id, (writer, until_s) in list(self._supervisor.lingering.items()):
            if writer.lost is not None or (until_s <= looked_s and not writer.pending):
                del self._supervisor.lingering[stream_id]

    async def _end_abandoned(self) -> None:
        """Cancel the streams whose last viewer has been gone for as long as their request allows."""
        caring = [one for one in self._supervisor.running.values() if one.record.when_abandoned_s is not None]
        if not caring:
            return
        unviewed = await self._parts.log.unviewed_ms([one.stream_id for one in caring])
        now_ms = time.time() * 1000
        first_viewer_ms = self._parts.settings.first_viewer_s * 1000
        for production, ms in zip(caring, unviewed, strict=True):
            gone_ms = now_ms - production.record.created_ms - first_viewer_ms if ms < 0 else ms
            if gone_ms > (production.record.when_abandoned_s or 0) * 1000 and gone_ms > 0:
                production.interrupt("abandoned")
