"""One worker process: starts in order, produces streams, and shuts down in order within its drain budget."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from shared.admission import Admission
from shared.appointments import Vacancies
from shared.chats import Chats
from shared.collector import tune_collector
from shared.errors import ConfigurationError
from shared.leases import Leases
from shared.processes.seat import Seat
from shared.redis_check import check_redis
from shared.redis_client import is_one_redis, queue_redis, streams_redis
from shared.settings import Settings
from shared.stream_log import StreamLog
from shared.tasks import end_tasks
from worker.control import Control
from worker.dispatch import Dispatcher
from worker.keeper import Keeper
from worker.monitor import make_monitor
from worker.parts import Parts
from worker.providers.registry import Providers
from worker.publisher import Publisher
from worker.reaper import Reaper
from worker.supervisor import Supervisor

log = structlog.get_logger()

_JOBS_S = 5.0
"""What the short jobs in flight may take at shutdown."""


class WorkerService:
    """A running worker. ``serve`` until a signal, or ``running`` as a context."""

    def __init__(self, settings: Settings, seat: Seat | None = None) -> None:
        """Make the parts; opens nothing yet. One of several processes has a ``seat``. Raises ``ConfigurationError``."""
        self.settings = settings
        self._seat = seat
        self._queue, self._streams = queue_redis(settings), streams_redis(settings)
        stream_log = StreamLog(self._streams, settings)
        self.parts = Parts(
            worker_id=f"worker-{secrets.token_hex(4)}",
            settings=settings,
            log=stream_log,
            admission=Admission(self._queue, settings),
            chats=Chats(self._queue, settings),
            leases=Leases(self._queue, settings),
            vacancies=Vacancies(self._queue),
            publisher=Publisher(stream_log, settings.commit_every_s),
            providers=Providers(settings),
            one_redis=is_one_redis(settings),
        )
        self.supervisor = Supervisor(self.parts, self._on_room)
        self._keeper = Keeper(self.parts, self.supervisor, self._queue)
        self._control = Control(self.parts, self._queue, self.supervisor, self._keeper)
        self.reaper = Reaper(self.parts)
        crons = [self.reaper.cron_job()]
        self._dispatcher = Dispatcher(self._queue, settings, self.supervisor, crons)

    def _on_room(self) -> None:
        """Let a dispatcher that was waiting for a slot look at the queue."""
        self._dispatcher.nudge()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.TaskGroup]:
        """Run the worker around a block; at its end, drain. Raises ``ConfigurationError`` when Redis is not there."""
        for server in (self._queue, self._streams):
            warning = await check_redis(server)
            if warning:
                log.warning("worker.redis_settings", warning=warning)
        try:
            async with asyncio.TaskGroup() as group:
                supervising = group.create_task(self.supervisor.run(), name="worker.supervisor")
                lasting = [
                    group.create_task(self.parts.publisher.run(), name="worker.publisher"),
                    group.create_task(self._keeper.run(), name="worker.keeper"),
                    group.create_task(self._control.run(), name="worker.control"),
                ]
                dispatching = group.create_task(self._dispatcher.run(), name="worker.dispatcher")
                log.info("worker.ready", worker=self.parts.worker_id, slots=self.settings.worker_slots)
                try:
                    yield group
                    await self._control.stop()
                    await self._dispatcher.stop(_JOBS_S)
                    await self.supervisor.drain(self.settings.worker_drain_s)
                    await supervising
                finally:  # also when a part has failed: the group would cancel the others only once
                    await end_tasks([dispatching])
                    await self.supervisor.end()
                    await end_tasks([supervising, *lasting])
        finally:
            await self.parts.providers.aclose()
            await self._queue.aclose()
            await self._streams.aclose()
            log.info("worker.stopped", worker=self.parts.worker_id)

    async def serve(self) -> None:
        """Work until SIGTERM or SIGINT; a part that fails for good ends the process with its error."""
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, stopped.set)
        monitor = await self._start_monitor()
        try:
            async with self.running():
                tune_collector()
                if self._seat is not None:
                    self._seat.ready()
                await stopped.wait()
        finally:
            if monitor is not None:
                await monitor.cleanup()

    async def _start_monitor(self) -> web.AppRunner | None:
        """Listen for probes and scrapes, if a port is configured. Raises ``ConfigurationError``."""
        if not self.settings.worker_metrics_port:
            return None
        runner = web.AppRunner(make_monitor(self.supervisor, self._seat), access_log=None)
        await runner.setup()
        host, port = self.settings.worker_metrics_host, self.settings.worker_metrics_port
        try:
            await web.TCPSite(runner, host, port, reuse_port=self._seat is not None).start()
        except OSError as error:
            await runner.cleanup()
            message = f"port {port} on {host} cannot be listened on: {error.strerror}"
            raise ConfigurationError(message) from None
        return runner
