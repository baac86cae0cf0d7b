"""The two sides of the system inside a test's own process: streams that were started, and workers to produce them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from relay.at_once import AtOnce
from relay.live.hub import Hub
from relay.start import Started, Starter
from relay.start_order import StartOrder
from shared import keys
from shared.admission import Admission, Applicant
from shared.cluster import Streams
from shared.entry import Entry, encode_blob
from shared.events import Event, StartEvent
from shared.jobs import JobQueue
from shared.leases import Leases
from shared.offset import FIRST_ENTRY, NO_ENTRY, new_stream_id
from shared.record import Record
from shared.request import StreamRequest
from shared.settings import Settings
from shared.stream_log import StreamLog
from tests.support import eventually
from worker.app import WorkerService

TENANT = "acme"


def request(**script: Any) -> StreamRequest:
    """Return a request that the simulated model answers as ``script`` says."""
    return StreamRequest.model_validate({"model": "sim", "messages": [{"role": "user", "content": json.dumps(script)}]})


class System:
    """One Redis, or two, seen as a relay and an operator see it."""

    def __init__(self, queue: Redis, settings: Settings, streams: Streams | None = None) -> None:
        """Use ``queue`` for everything, or ``streams`` for the logs."""
        self.queue = queue
        self.settings = settings
        self.log = StreamLog(streams or queue, settings)
        self.admission = Admission(queue, settings)
        self.leases = Leases(queue, settings)
        jobs = JobQueue(queue, settings)
        at_once = AtOnce(queue, self.admission, self.log, jobs, self.leases) if streams is None else None
        order = StartOrder(self.admission, self.log, jobs, Hub(streams or queue, self.log, settings), at_once)
        self.starter = Starter(settings, order, self.log)

    async def start(self, tenant: str = TENANT, **script: Any) -> str:
        """Start a stream as a relay does and return its id."""
        started: Started = await self.starter.start(tenant, request(**script), None)
        return started.stream_id

    async def lose_job(self, model: str = "sim", **script: Any) -> str:
        """Start a stream whose job is lost: only its lease, which has run out, leads a worker to it."""
        stream_id = new_stream_id()
        now_ms = round(time.time() * 1000)
        body = request(**script).model_dump_json(exclude_none=True).encode()
        record = Record(TENANT, model, "sim", now_ms, 100, {}, body)
        await self.admission.admit(Applicant(stream_id, TENANT, None, "hash", now_ms))
        start = StartEvent(stream_id, "sim", model, now_ms, 100)
        await self.log.create(stream_id, record, Entry(FIRST_ENTRY, encode_blob([start], now_ms)))
        await self.expire_lease(stream_id)
        return stream_id

    async def expire_lease(self, stream_id: str) -> None:
        """Let the stream's lease have run out a moment ago."""
        seconds, microseconds = await self.queue.time()
        await self.queue.zadd(keys.LEASES, {stream_id: seconds * 1000 + microseconds // 1000 - 1})
        await self.queue.pexpire(keys.LEASES, 60_000)

    async def events(self, stream_id: str) -> list[Event]:
        """Return all events of a stream."""
        return [event for entry in await self.log.read(stream_id, NO_ENTRY, 10_000) for event in entry.events()]

    async def record(self, stream_id: str) -> Record:
        """Return a stream's record."""
        found = await self.log.record(stream_id)
        assert found is not None
        return replace(found, request=b"")

    async def ended(self, stream_id: str, deadline_s: float = 10.0) -> Record:
        """Return the record of a stream once it has ended."""

        async def look() -> Record | None:
            record = await self.record(stream_id)
            return record if record.ended_ms else None

        found = await eventually(look, deadline_s, "the stream ends")
        assert found is not None
        return found


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[WorkerService]:
    """Run a worker around a block; whatever kills the worker is raised."""
    service = WorkerService(settings)
    async with service.running():
        yield service
