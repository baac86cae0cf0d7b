"""Whether Redis answers: asked once a second, so that readiness outlasts a short outage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog
from redis.exceptions import RedisError

from shared.cluster import Streams
from shared.settings import Settings

log = structlog.get_logger()

_PING_S = 1.0


class RedisHealth:
    """Knows for how long Redis has been away.

    An outage shorter than ``ready_grace_s`` does not make a relay unready: all relays share one Redis, so that its
    absence would empty the load balancer and help nobody.
    """

    def __init__(self, servers: Sequence[Streams], settings: Settings) -> None:
        """Watch all of ``servers``."""
        self._servers = servers
        self._grace_s = settings.ready_grace_s
        self._answered_s = time.monotonic()
        self._away = False

    @property
    def ready(self) -> bool:
        """Whether Redis has answered lately."""
        return time.monotonic() - self._answered_s < self._grace_s

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            try:
                for server in self._servers:
                    await server.execute_command("PING")
            except (RedisError, OSError) as error:
                if not self._away:
                    log.warning("relay.redis_lost", error=type(error).__name__)
                self._away = True
            else:
                if self._away:
                    log.info("relay.redis_back")
                self._away = False
                self._answered_s = time.monotonic()
            await asyncio.sleep(_PING_S)
