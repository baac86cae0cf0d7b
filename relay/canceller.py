"""Cancelling and deleting streams: ask the worker first, and end the stream ourselves where none answers."""

from __future__ import annotations

import asyncio
import time

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from relay.live.hub import Hub
from relay.reading.subscription import Subscription
from relay.state import fold_log
from relay.unreadable import UnreadableError, reads_log
from shared import keys
from shared.admission import Admission
from shared.claims import fresh_token
from shared.errors import GoneError
from shared.events import EndEvent, Event, Usage
from shared.metrics import STREAMS_ENDED
from shared.offset import START
from shared.record import Record
from shared.settings import Settings
from shared.stream_log import StreamLog

log = structlog.get_logger()


class Canceller:
    """Ends streams at a client's wish. The first end wins: a stream that had ended keeps how it did."""

    def __init__(self, settings: Settings, admission: Admission, stream_log: StreamLog, hub: Hub, queue: Redis) -> None:
        """Use the log, the live delivery, and the queue Redis to reach workers."""
        self._settings = settings
        self._admission = admission
        self._log = stream_log
        self._hub = hub
        self._queue = queue

    async def cancel(self, stream_id: str, record: Record) -> None:
        """Return once the stream has ended. Raises ``RedisError`` when Redis is away, with the wish noted or not."""
        async with Subscription(self._hub, self._log, stream_id, START, self._settings.page_entries) as subscription:
            await subscription.skip_to_now()
            outcome, worker = await self._log.ask_cancel(stream_id, round(time.time() * 1000))
            if outcome != "asked":
                return
            log.info("stream.cancel_asked", stream=stream_id, worker=worker or None)
            if worker:
                await self._hurry(worker, stream_id)
                try:
                    async with asyncio.timeout(self._settings.cancel_answer_s):
                        while not subscription.ended:
                            with reads_log(stream_id):
                                await subscription.read()
                except (TimeoutError, UnreadableError):
                    log.info("stream.cancel_unanswered", stream=stream_id, worker=worker)
                except GoneError:
                    return
            if not subscription.ended:
                await self._end(stream_id, record)

    async def delete(self, stream_id: str, record: Record) -> None:
        """End the stream if need be, erase its log, and leave a tombstone."""
        if await self._log.erase(stream_id) == "running":
            await self.cancel(stream_id, record)
            await self._log.erase(stream_id)
        await self._admission.release(stream_id, record)
        await self._admission.forget(stream_id, record.tenant)
        log.info("stream.deleted", stream=stream_id)

    async def _hurry(self, worker: str, stream_id: str) -> None:
        """Tell the worker now what it would see at its next append; only a shortcut, so a failure is no matter."""
        try:
            await self._queue.publish(keys.worker_control(worker), stream_id)
        except (RedisError, OSError) as error:
            log.info("stream.cancel_not_hurried", stream=stream_id, error=type(error).__name__)

    async def _end(self, stream_id: str, record: Record) -> None:
        """Append the end in the worker's place, with what had been used so far."""
        try:
            usage = (await fold_log(self._log, stream_id)).usage
        except UnreadableError:
            usage = Usage()  # it must be ended all the same
        events: list[Event] = [EndEvent("cancelled", stop_reason="cancelled", usage=usage)]
        now_ms = round(time.time() * 1000)
        outcome = await self._log.close(stream_id, events, fresh_token(), now_ms)
        await self._admission.release(stream_id, record)
        if record.kept:
            await self._log.kept.settle(stream_id)
        if outcome == "done":
            STREAMS_ENDED.labels("cancelled").inc()
        log.info("stream.ended_by_relay", stream=stream_id, outcome=outcome, status="cancelled")
