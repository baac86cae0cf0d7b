"""The worker's heartbeat: renews its leases, takes over what others have lost, and looks after its quiet streams.

Two loops, four ticks a lease each, whose cost does not grow with the number of streams except in what one round trip
carries. Renewing is alone in one of them: it asks the queue Redis only, and must not wait for the streams' Redis.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.leases import TakenReason
from shared.tasks import end_tasks
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
        self._renewed_s = time.monotonic()
        self._linger_look_s = 0.0
        """When the ended streams are looked at next: at once after a restart of Redis, or else once a lease."""
        self._patient_until_s = self._renewed_s + parts.settings.lease_s
        """Until then nothing is taken over: after an outage everybody first gets a full lease to show it is alive."""
        self._unseen: dict[StreamWriter, float] = {}
        """Since when the server of a stream cannot be asked, while others of its cluster can."""

    async def run(self) -> None:
        """Tick until cancelled."""
        steps = (self._renew, self._look)
        tasks = [asyncio.create_task(self._repeat(step), name="worker.keeper") for step in steps]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end_tasks(tasks)

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step at every tick; when it cannot reach Redis, be patient, and after ``detached_s`` give up."""
        reached_s = time.monotonic()
        while True:
            if not self._at_rest() or time.monotonic() - reached_s > self._parts.settings.lease_s:
                try:
                    await step()
                    reached_s = time.monotonic()
                except (RedisError, OSError) as error:
                    self._lost(error, time.monotonic() - reached_s)
            await asyncio.sleep(self._tick_s)

    def _at_rest(self) -> bool:
        """Tell whether no stream runs anywhere, as far as is known: the first lease to run out is that long away."""
        supervisor = self._supervisor
        return self._parts.leases.nobody_has_any and not supervisor.running and not supervisor.lingering

    async def look_after(self, writers: list[StreamWriter]) -> None:
        """Learn how streams that did not write lately stand: cancelled, taken by another, or shortened by Redis.

        Raises ``RedisError``.
        """
        for at in range(0, len(writers), _BATCH):
            batch = writers[at : at + _BATCH]
            outlooks = await self._parts.log.outlook([(one.stream_id, one.record) for one in batch])
            for writer, outlook in zip(batch, outlooks, strict=True):
                if outlook.status == "error":
                    self._unseen.setdefault(writer, time.monotonic())
                    continue
                self._unseen.pop(writer, None)
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

    async def _renew(self) -> None:
        """Keep others away from the streams that run here."""
        began_s = time.monotonic()
        renewed = list(self._supervisor.running)
        await self._parts.leases.renew_all(renewed)
        await self._supervisor.release_ended(renewed)
        await self._note_server()
        self._note_delay(began_s)
        self._renewed_s = time.monotonic()

    async def _look(self) -> None:
        """Take over what others have lost, and look after what is here."""
        running = self._supervisor.running
        if not running and self._is_late():
            await self._renew()  # as its own loop does, which may be at rest
        room = self._supervisor.room()
        if room and not self._is_late():
            # The patient look as well: patience begins anew for as long as Redis refuses what others must write.
            patient = time.monotonic() <= self._patient_until_s
            await self._take_over(0 if patient else min(room, _MOST_TAKEN))
        now_s = time.monotonic()
        quiet_s = now_s - self._tick_s
        quiet = [one.writer for one in running.values() if one.writer.entries and one.writer.settled_s < quiet_s]
        lingering = [writer for writer, _ in self._supervisor.lingering.values()] if now_s > self._linger_look_s else []
        await self.look_after(quiet + lingering)
        self._note_unseen()
        if lingering:
            self._linger_look_s = now_s + self._parts.settings.lease_s
            self._let_go(now_s)
        await self._end_abandoned()
        self._note_delay(now_s)

    def _is_late(self) -> bool:
        """Tell whether it is long since what is ours was renewed: nobody takes over before that, so that all renew."""
        return time.monotonic() - self._renewed_s > self._parts.settings.lease_s / 2

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
        self._parts.leases.known_run = server_run
        if self._server_run:
            log.warning("worker.redis_restarted")
            await self._restore_book()
            self._linger_look_s = 0.0
        self._server_run = server_run

    async def _restore_book(self) -> None:
        """Put back what Redis may have lost of the streams held here, so that repeats and chats find them."""
        supervisor, restore = self._supervisor, self._parts.admission.restore
        running = [(one.stream_id, one.record) for one in supervisor.running.values()]
        await restore(running, ended=False)
        await restore([(one.stream_id, one.record) for one, _ in supervisor.lingering.values()], ended=True)
        await self._parts.chats.restore(running)

    def _note_delay(self, since_s: float) -> None:
        """Be patient after a Redis that stood still: it has kept others from renewing, as it has kept us."""
        now_s = time.monotonic()
        if now_s - since_s > self._parts.settings.lease_s / 2:
            self._patient_until_s = now_s + self._parts.settings.lease_s

    def _lost(self, error: Exception, away_s: float) -> None:
        """Take in that Redis cannot be reached: be patient when it is back, and give up when it is away too long."""
        log.warning("worker.redis_lost", error=type(error).__name__, away_s=round(away_s, 1))
        self._patient_until_s = time.monotonic() + self._tick_s + self._parts.settings.lease_s
        if away_s > self._parts.settings.detached_s:
            self._supervisor.interrupt_all("detached")

    def _note_unseen(self) -> None:
        """Give up the streams whose server has been away too long: another worker may reach it."""
        running = self._supervisor.running.values()
        held = {one.writer for one in running} | {writer for writer, _ in self._supervisor.lingering.values()}
        for writer, since_s in list(self._unseen.items()):
            if writer not in held or writer.settled_s > since_s:  # an append has got through in the meantime
                del self._unseen[writer]
        long_ago_s = time.monotonic() - self._parts.settings.detached_s
        for production in running:
            if self._unseen.get(production.writer, math.inf) < long_ago_s:
                production.interrupt("detached")

    def _let_go(self, looked_s: float) -> None:
        """Let go of the ended streams that were found whole when their time to linger was over, or are another's."""
        for stream_id, (writer, until_s) in list(self._supervisor.lingering.items()):
            unproven = writer.pending or writer in self._unseen
            if writer.lost is not None or (until_s <= looked_s and not unproven):
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
