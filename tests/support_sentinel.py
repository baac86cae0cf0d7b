"""A primary with replicas under three Sentinels, all real processes: what a failover needs."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.support import Process, clean_environment, eventually, free_port
from tests.support_redis import RedisProcess, answers, find_binary

NAME = "tailrace"
_SENTINELS = 3
_QUORUM = 2
_DOWN_AFTER_MS = 2000
"""Longer than a busy machine stands still: by less, Sentinels depose a primary that is alive."""
_FAILOVER_MS = 6000


class SentinelSet:
    """``async with SentinelSet(directory) as servers``, then ``servers.url`` and ``servers.primary``."""

    def __init__(self, directory: Path, *, replicas: int = 2, password: str = "") -> None:
        """Take an existing directory for everything, how many replicas there are, and what Redis asks for."""
        self._directory = directory
        self._password = password
        self._sentinels: list[tuple[Process, int]] = []
        self.servers = [self._server(number) for number in range(1 + replicas)]
        """The Redis servers; the first one begins as the primary."""

    async def __aenter__(self) -> Self:
        """Start all, and return when the Sentinels know each other and every replica is in step."""
        first = self.servers[0].start()
        for replica in self.servers[1:]:
            replica.options["replicaof"] = f"127.0.0.1 {first.port}"
            replica.start()
        await eventually(self._in_step, 20, "the replicas are in step")  # Sentinels look for new ones every 10 s only
        if self._password:
            await self._lock()
        for number in range(_SENTINELS):
            self._start_sentinel(number, first.port)
        await eventually(self._settled, 20, "the Sentinels see each other and the replicas")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """End all."""
        for process, _port in self._sentinels:
            process.end()
        for server in self.servers:
            server.end()

    @property
    def url(self) -> str:
        """The address of the whole set, as settings have it."""
        login = f":{self._password}@" if self._password else ""
        return f"sentinel://{login}{','.join(f'127.0.0.1:{port}' for port in self.ports)}/{NAME}"

    @property
    def ports(self) -> list[int]:
        """Where the Sentinels listen."""
        return [port for _process, port in self._sentinels]

    @property
    def sentinels(self) -> list[Process]:
        """The Sentinels' processes."""
        return [process for process, _port in self._sentinels]

    async def primary(self) -> RedisProcess:
        """Return the server that the Sentinels name and that says so itself, once there is one."""
        found = await eventually(self._agreed, 20, "one primary, by all who know")
        assert found is not None
        return found

    async def fail_over(self) -> RedisProcess:
        """Ask the Sentinels for a failover of a primary that works, as an operator does; return the new one."""
        old = await self.primary()
        async with Redis(port=self.ports[0]) as sentinel:
            await sentinel.execute_command("SENTINEL", "FAILOVER", NAME)

        async def moved() -> RedisProcess | None:
            new = await self._agreed()
            return new if new is not old else None

        found = await eventually(moved, 20, "another primary")
        assert found is not None
        return found

    def client(self, server: RedisProcess) -> Redis:
        """Return a client of one of the servers."""
        return Redis(port=server.port, password=self._password or None, socket_timeout=2)

    async def _lock(self) -> None:
        """Have the running servers ask for the password, each other as well."""
        for server in self.servers:
            async with Redis(port=server.port) as client:
                await client.config_set("masterauth", self._password)
                await client.config_set("requirepass", self._password)

    async def _agreed(self) -> RedisProcess | None:
        async with Redis(port=self.ports[-1], socket_timeout=2) as sentinel:
            _host, port = await sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        server = next(server for server in self.servers if server.port == int(port))
        if not server.running:
            return None
        try:
            async with self.client(server) as client:
                role = await client.execute_command("ROLE")
        except RedisError:
            return None
        return server if role[0] == b"master" else None

    async def _settled(self) -> bool:
        for port in self.ports:
            async with Redis(port=port) as sentinel:
                state = await sentinel.sentinel_master(NAME)
            if state["num-other-sentinels"] != _SENTINELS - 1 or state["num-slaves"] != len(self.servers) - 1:
                return False
        return True

    async def _in_step(self) -> bool:
        async with Redis(port=self.servers[0].port) as client:
            return bool(await client.execute_command("WAIT", len(self.servers) - 1, 100) == len(self.servers) - 1)

    def _server(self, number: int) -> RedisProcess:
        place = self._directory / f"redis-{number}"
        place.mkdir()
        options = {"repl-diskless-sync-delay": "0", "replica-read-only": "yes"}
        return RedisProcess(place, options)

    def _start_sentinel(self, number: int, primary_port: int) -> None:
        place = self._directory / f"sentinel-{number}"
        place.mkdir()
        port = free_port()
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"dir {place}",
            f"sentinel monitor {NAME} 127.0.0.1 {primary_port} {_QUORUM}",
            f"sentinel down-after-milliseconds {NAME} {_DOWN_AFTER_MS}",
            f"sentinel failover-timeout {NAME} {_FAILOVER_MS}",
            f"sentinel parallel-syncs {NAME} 2",
        ]
        if self._password:
            lines.append(f"sentinel auth-pass {NAME} {self._password}")
        config = place / "sentinel.conf"
        config.write_text("\n".join(lines) + "\n")
        command = [str(find_binary()[0]), str(config), "--sentinel"]
        process = Process(command, place / "sentinel.log", env=clean_environment()).start()
        assert answers(f"redis://127.0.0.1:{port}/0", process), process.tail()
        self._sentinels.append((process, port))
