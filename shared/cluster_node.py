"""One server of a cluster: commands in one write, and little patience with one that does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, RedisError  # noqa: A004 - redis-py's

from shared.address import Address
from shared.cluster_map import Command

_PROBE_EVERY_S = 0.5
_PROBE_S = 0.2


class NodeAwayError(ConnectionError):
    """The server has not answered lately; it was not asked."""


class Node:
    """A server and the connections to it.

    One that is away is asked again with a PING, seldom and briefly, and until it has answered everything else fails at
    once: what is sent to several servers takes as long as the slowest, and must not wait for a dead one every time.
    """

    def __init__(self, address: Address, client: Redis, timeout_s: float) -> None:
        """Use ``client``, which connects to ``address``; no answer is waited for longer than ``timeout_s``."""
        self.address = address
        self.client = client
        self._timeout_s = timeout_s
        self._away = False
        self._probed_s = 0.0

    async def run(self, commands: Sequence[Command], *, asking: bool = False) -> list[Any]:
        """Return an answer or ``RedisError`` to each command; with ``asking`` for keys that are on their way here."""
        try:
            if self._away:
                await self._probe()
            async with asyncio.timeout(self._timeout_s):
                return await self._run(commands, asking=asking)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._away = True
            failure = error if isinstance(error, RedisError) else ConnectionError(f"no answer from {self.address}")
            return [failure] * len(commands)

    async def _run(self, commands: Sequence[Command], *, asking: bool) -> list[Any]:
        """Send all in one write. Raises ``RedisError`` or ``OSError`` when the server cannot be reached."""
        pipe = self.client.pipeline(transaction=False)
        for command in commands:
            if asking:
                pipe.execute_command("ASKING")
            pipe.execute_command(*command)
        answers = await pipe.execute(raise_on_error=False)
        return list(answers[1::2] if asking else answers)

    async def _probe(self) -> None:
        """Make sure that the server is back. Raises ``NodeAwayError``, or what its connection raises."""
        now_s = time.monotonic()
        if now_s - self._probed_s < _PROBE_EVERY_S:
            message = f"{self.address} does not answer"
            raise NodeAwayError(message)
        self._probed_s = now_s
        async with asyncio.timeout(_PROBE_S):
            await self.client.execute_command("PING")
        self._away = False
