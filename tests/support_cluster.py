"""A Redis Cluster of real servers, whose slots can be moved and whose primaries can be killed."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.support import eventually, free_port
from tests.support_redis import RedisProcess, keys_without_expiry

SLOTS = 16_384
_NODE_TIMEOUT_MS = 1_000
_PATIENT_MS = 5_000
"""A server that is only paused is not yet taken as dead."""
_KEYS_AT_ONCE = 3
"""Few, so that a stream's record and log do part on their way."""
_MIGRATE_MS = 5_000


class ClusterSet:
    """``async with ClusterSet(directory) as cluster``, then ``cluster.url``; ``primaries`` share the slots evenly."""

    def __init__(self, directory: Path, *, primaries: int = 3, replicas: int = 0, lasting: bool = False) -> None:
        """Take an existing directory for everything, how many servers, and whether they outlive the test.

        The replicas follow the first primaries.
        """
        self._directory = directory
        self._lasting = lasting
        self._has_replicas = replicas > 0
        self.primaries = [self._server(f"primary-{number}") for number in range(primaries)]
        self.replicas = [self._server(f"replica-{number}") for number in range(replicas)]
        self._ids: dict[RedisProcess, str] = {}

    async def __aenter__(self) -> Self:
        """Start all."""
        try:
            await self.start()
        except BaseException:
            self.end()
            raise
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """End all. Raises ``AssertionError`` when a key has been left that would stay for ever."""
        try:
            assert await self.keys_without_expiry() == []
        finally:
            self.end()

    async def start(self) -> None:
        """Start all, and return when every server sees the whole cluster and the replicas are in step."""
        for server in self.servers:
            server.start()
        await asyncio.gather(*(self._introduce(server, epoch) for epoch, server in enumerate(self.servers, 1)))
        for number, server in enumerate(self.primaries):
            first, after = number * SLOTS // len(self.primaries), (number + 1) * SLOTS // len(self.primaries)
            await self.ask(server, "CLUSTER ADDSLOTSRANGE", first, after - 1)
        for replica, primary in zip(self.replicas, self.primaries, strict=False):
            await eventually(partial(self._follow, replica, primary), 20, "a replica follows")
        await eventually(self.settled, 20, "all servers see the whole cluster")

    def end(self) -> None:
        """End all. Idempotent."""
        for server in self.servers:
            server.end()

    async def clear(self) -> None:
        """Empty the cluster and its script caches."""
        for server in self.servers:
            if await self._leads(server):
                await self.ask(server, "FLUSHALL")
            await self.ask(server, "SCRIPT FLUSH")

    async def keys_without_expiry(self) -> list[str]:
        """Return the keys that would stay for ever."""
        leading = [server for server in self.servers if await self._leads(server)]
        return [key for server in leading for key in keys_without_expiry(server.url)]

    @property
    def servers(self) -> list[RedisProcess]:
        """All servers."""
        return [*self.primaries, *self.replicas]

    @property
    def url(self) -> str:
        """The address of the cluster, as settings have it."""
        return f"cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.servers[:2])}"

    async def ask(self, server: RedisProcess, *command: str | int | bytes) -> Any:
        """Return one server's answer. Raises ``RedisError``."""
        async with Redis(port=server.port, socket_timeout=5) as client:
            return await client.execute_command(*command)

    async def owner(self, slot: int) -> RedisProcess:
        """Return the primary that says itself that it has the slot, once there is one."""

        async def found() -> RedisProcess | None:
            for server in self.servers:
                if server.running and any(slot in slots for slots in await self._own_slots(server)):
                    return server
            return None

        server = await eventually(found, 20, f"an owner of slot {slot}")
        assert server is not None
        return server

    async def move(self, slot: int, target: RedisProcess) -> None:
        """Move a slot and what is in it, key by key, as an operator's tool does."""
        source = await self.owner(slot)
        await self.begin_move(slot, target)
        while names := await self.ask(source, "CLUSTER GETKEYSINSLOT", slot, _KEYS_AT_ONCE):
            await self.migrate(source, target, names)
        await self.finish_move(slot, target)

    async def begin_move(self, slot: int, target: RedisProcess) -> None:
        """Open the slot at both ends."""
        source = await self.owner(slot)
        await self.ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", self._ids[source])
        await self.ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", self._ids[target])

    async def migrate(self, source: RedisProcess, target: RedisProcess, names: list[bytes]) -> None:
        """Move some keys of an open slot."""
        await self.ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, _MIGRATE_MS, "KEYS", *names)

    async def finish_move(self, slot: int, target: RedisProcess) -> None:
        """Give the open slot to its new owner, and tell all."""
        for server in sorted(self.primaries, key=lambda one: one is not target):
            await self.ask(server, "CLUSTER SETSLOT", slot, "NODE", self._ids[target])

    async def _introduce(self, server: RedisProcess, epoch: int) -> None:
        self._ids[server] = (await self.ask(server, "CLUSTER MYID")).decode()
        await self.ask(server, "CLUSTER SET-CONFIG-EPOCH", epoch)
        first = self.primaries[0]
        if server is not first:
            await self.ask(server, "CLUSTER MEET", "127.0.0.1", first.port, first.options["cluster-port"])

    async def _follow(self, replica: RedisProcess, primary: RedisProcess) -> bool:
        try:
            await self.ask(replica, "CLUSTER REPLICATE", self._ids[primary])
        except RedisError as error:
            raise AssertionError(str(error)) from None  # it has not heard of the primary yet
        return True

    async def settled(self) -> bool:
        """Tell whether every server sees the whole cluster, working, and the replicas are in step."""
        for server in self.servers:
            state = await self.ask(server, "CLUSTER INFO")
            if state["cluster_state"] != "ok" or int(state["cluster_known_nodes"]) != len(self.servers):
                return False
        for primary in self.primaries[: len(self.replicas)]:
            if await self.ask(primary, "WAIT", 1, 100) != 1:
                return False
        return True

    async def _leads(self, server: RedisProcess) -> bool:
        return server.running and bool((await self.ask(server, "ROLE"))[0] == b"master")

    async def _own_slots(self, server: RedisProcess) -> list[range]:
        rows = await self.ask(server, "CLUSTER SLOTS")
        return [range(first, last + 1) for first, last, primary, *_ in rows if int(primary[1]) == server.port]

    def _server(self, name: str) -> RedisProcess:
        place = self._directory / name
        place.mkdir()
        options = {
            "cluster-enabled": "yes",
            "cluster-port": str(free_port()),
            "cluster-node-timeout": str(_NODE_TIMEOUT_MS if self._has_replicas else _PATIENT_MS),
            "cluster-replica-validity-factor": "0",
            "repl-diskless-sync-delay": "0",
        }
        return RedisProcess(place, options, lasting=self._lasting)
