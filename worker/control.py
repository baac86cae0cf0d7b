"""The worker's ear: told on channels of its own which streams have been claimed for it, and which a client wants ended.

Only a shortcut. A wish to cancel that it misses the keeper finds; an appointment that it misses, whoever takes over the
stream when its lease has run out.
"""

from __future__ import annotations

import asyncio
import math
import time

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared import keys
from shared.appointments import told
from shared.backoff import Backoff
from shared.offset import is_stream_id
from worker.keeper import Keeper
from worker.parts import Parts
from worker.supervisor import Supervisor

log = structlog.get_logger()

_PING_S = 3.0
_DEAD_S = 10.0
"""A connection that brought nothing for this long, not even answers to pings, leads to no Redis any more."""
_LOOK_S = 1.0
"""How often it is seen whether what Redis knows of the vacancies is still true."""
_TELL_S = 5.0
"""How often they are told even so: Redis, or who believed this worker dead, may have dropped them."""
_SPARED = 8
"""One in so many free slots, and one more, is no vacancy: jobs may take some before Redis is told again."""
_MOST = 16
"""Vacancies told at a time: a burst goes by jobs, which a worker takes as it can, while the leases of streams that are
its own already run."""


class Control:
    """Listens, and tells how many streams may still be claimed for this worker. ``run`` it until the worker stops.

    It rides out any absence of Redis.
    """

    def __init__(self, parts: Parts, queue: Redis, supervisor: Supervisor, keeper: Keeper) -> None:
        """Listen on the channels of the worker, by a connection of ``queue``."""
        self._parts = parts
        self._cancels = keys.worker_control(parts.worker_id).encode()
        self._appointments = keys.worker_appointments(parts.worker_id).encode()
        self._queue = queue
        self._supervisor = supervisor
        self._keeper = keeper
        self._told: int | None = None
        """How many vacancies Redis knows of, as far as we know."""
        self._told_s = self._looked_s = -math.inf
        self._open = parts.one_redis
        """Whether streams may be claimed for this worker."""

    async def run(self) -> None:
        """Listen until cancelled."""
        backoff = Backoff(0.05, 1.0)
        while True:
            try:
                await self._listen(backoff)
            except (RedisError, OSError) as error:
                log.info("control.redis_lost", error=type(error).__name__)
            await asyncio.sleep(backoff.next_s())

    async def stop(self) -> None:
        """Have no more streams claimed for this worker; what was claimed a moment ago is still heard."""
        if not self._open:
            return
        self._open = False
        try:
            await self._parts.vacancies.withdraw(self._parts.worker_id)
        except (RedisError, OSError) as error:  # then nobody is appointed either
            log.info("control.not_withdrawn", error=type(error).__name__)

    async def _listen(self, backoff: Backoff) -> None:
        """Do what is told, until the connection is lost or silent."""
        async with self._queue.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(self._cancels, self._appointments)
            self._told = None
            heard_s = pinged_s = time.monotonic()
            while (now_s := time.monotonic()) - heard_s < _DEAD_S:
                message = await pubsub.get_message(timeout=_LOOK_S)
                if message is not None:
                    heard_s = time.monotonic()
                    backoff.reset()
                    if message["type"] == "message":
                        await self._hear(message["channel"], message["data"])
                elif now_s - max(heard_s, pinged_s) >= _PING_S - _LOOK_S:
                    pinged_s = now_s
                    await pubsub.ping()
                await self._tell_vacancies()

    async def _hear(self, channel: bytes, message: bytes) -> None:
        """Run the stream that has been claimed, or look up what is wished of one that runs here."""
        if channel == self._appointments:
            await self._be_appointed(message)
            return
        stream_id = message.decode(errors="replace")
        production = self._supervisor.running.get(stream_id) if is_stream_id(stream_id) else None
        if production is not None:
            await self._keeper.look_after([production.writer])

    async def _be_appointed(self, message: bytes) -> None:
        """Take the stream that has been claimed for this worker."""
        if self._told is not None:
            self._told -= 1
        try:
            appointment, made_ms = told(message)
        except ValueError as error:
            log.warning("control.unreadable", error=type(error).__name__)
            return
        await self._supervisor.appoint(appointment, made_ms)

    async def _tell_vacancies(self) -> None:
        """Tell Redis how many there are, now and then, where it may know another number."""
        now_s = time.monotonic()
        if not self._open or (now_s - self._looked_s < _LOOK_S and self._told is not None):
            return
        self._looked_s = now_s
        room = self._supervisor.room()
        count = min(max(room - room // _SPARED - 1, 0), _MOST)
        if count != self._told or now_s - self._told_s >= _TELL_S:
            self._told, self._told_s = count, now_s
            await self._parts.vacancies.tell(self._parts.worker_id, count)
