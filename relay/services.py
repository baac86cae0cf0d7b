"""What a relay's routes work with, made once per process."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from aiohttp import web
from redis.asyncio import Redis

from relay.at_once import AtOnce
from relay.auth import Authenticator
from relay.canceller import Canceller
from relay.connections import Connections
from relay.health import RedisHealth
from relay.links import Links
from relay.live.hub import Hub
from relay.reading.kept_logs import KeptLogs
from relay.start import Starter
from relay.start_order import StartOrder
from relay.turnstile import Turnstile
from relay.viewers import Viewers
from relay.websocket.deflate import Deflate
from shared.admission import Admission
from shared.chats import Chats
from shared.cluster import Streams
from shared.jobs import JobQueue
from shared.leases import Leases
from shared.link_keys import LinkKeys
from shared.redis_client import is_one_redis, queue_redis, streams_redis
from shared.settings import Settings
from shared.stream_log import StreamLog


@dataclass(frozen=True)
class Services:
    """The parts of one relay."""

    settings: Settings
    queue: Redis
    streams: Streams
    log: StreamLog
    admission: Admission
    chats: Chats
    hub: Hub
    kept_logs: KeptLogs
    starter: Starter
    canceller: Canceller
    viewers: Viewers
    connections: Connections
    turnstile: Turnstile
    deflate: Deflate
    authenticator: Authenticator
    links: Links
    health: RedisHealth
    jobs: JobQueue

    @classmethod
    def make(cls, settings: Settings) -> Services:
        """Wire the parts together; opens no connection yet. Raises ``ConfigurationError``."""
        queue, streams = queue_redis(settings), streams_redis(settings)
        stream_log = StreamLog(streams, settings)
        admission = Admission(queue, settings)
        hub = Hub(streams, stream_log, settings)
        jobs = JobQueue(queue, settings)
        at_once = AtOnce(queue, admission, stream_log, jobs, Leases(queue, settings))
        order = StartOrder(admission, stream_log, jobs, hub, at_once if is_one_redis(settings) else None)
        authenticator = Authenticator(settings)
        return cls(
            settings=settings,
            queue=queue,
            streams=streams,
            log=stream_log,
            admission=admission,
            chats=Chats(queue, settings),
            hub=hub,
            kept_logs=KeptLogs(settings.kept_logs_bytes),
            starter=Starter(settings, order, stream_log),
            canceller=Canceller(settings, admission, stream_log, hub, queue),
            viewers=Viewers(f"relay-{secrets.token_hex(4)}", stream_log, settings),
            connections=Connections(settings),
            turnstile=Turnstile(settings.accept_per_s),
            deflate=Deflate(settings.socket_deflate),
            authenticator=authenticator,
            links=Links(settings, stream_log, LinkKeys(streams), authenticator),
            health=RedisHealth((queue, streams), settings),
            jobs=jobs,
        )

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        await self.queue.aclose()
        await self.streams.aclose()


SERVICES: web.AppKey[Services] = web.AppKey("services", Services)
