"""The stand: Redis, relays and workers as real processes, a provider, and a breakable wire between every two."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.faults.links import Link
from tests.messages_server import MessagesServer
from tests.support import ROOT, eventually
from tests.support_redis import RedisProcess, keys_without_expiry
from tests.support_services import Service

RELAYS = 2
WORKERS = 2
LEASE_S = 1.5
_READY_S = 40.0
_SETTINGS = {
    "TAILRACE_PORT": "0",
    "TAILRACE_LEASE_S": str(LEASE_S),
    # Small, so that waits are short and seams are many; all else is as by default.
    "TAILRACE_HEARTBEAT_S": "1",
    "TAILRACE_RETRY_MS": "100",
    "TAILRACE_REDIS_TIMEOUT_S": "2",
    "TAILRACE_RELAY_DRAIN_S": "1",
    "TAILRACE_WORKER_DRAIN_S": "0.2",
    "TAILRACE_SEND_TIMEOUT_S": "3",
    "TAILRACE_FEED_ENTRIES": "16",
    "TAILRACE_PAGE_ENTRIES": "8",
    "TAILRACE_IDLE_TIMEOUT_S": "1.5",
    "TAILRACE_FIRST_TOKEN_TIMEOUT_S": "3",
    "TAILRACE_RETRY_DELAY_S": "0.1",
}
_DEFECTS = (
    "Traceback (most recent call last)",
    '"stream.defect"',
    '"request.failed"',
    '"dispatch.job_broken"',
    "was never retrieved",
    "was destroyed but it is pending",
    "Unclosed ",
)


@dataclass
class Node:
    """One relay or worker, with its wires."""

    name: str
    service: Service
    redis: Link
    """To Redis."""
    outer: Link
    """From the clients, of a relay; to the provider, of a worker."""
    log: Path
    read_to: int = 0
    unready: bool = True
    """Started, and not seen to be ready yet."""

    def kill(self) -> None:
        """SIGKILL it."""
        self.unready = True
        self.service.kill()

    def start(self) -> None:
        """Start it again and return at once."""
        self.service.start()


class Stand:
    """All parts, while ``running``."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self.directory = Path(tempfile.mkdtemp(prefix="tailrace-faults-"))
        self.redis_directory = self.directory / "redis"
        self.redis_directory.mkdir()
        self.redis = RedisProcess(self.redis_directory)
        self.provider = MessagesServer()
        self.relays: list[Node] = []
        self.workers: list[Node] = []
        self.front: Link
        """Leads to whichever relay lives."""
        self.keep_logs = False
        self._turn = 0

    @property
    def nodes(self) -> list[Node]:
        """Every relay and worker."""
        return self.relays + self.workers

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Start everything; at the end of the block everything is ended for certain."""
        async with AsyncExitStack() as stack:
            stack.callback(self._end)
            self.redis.start()
            await stack.enter_async_context(self.provider)
            for number in range(RELAYS):
                self.relays.append(await self._relay(f"relay-{number}", stack))
            for number in range(WORKERS):
                self.workers.append(await self._worker(f"worker-{number}", stack))
            self.front = await stack.enter_async_context(Link(self._live_ports))
            await self.heal()
            yield self

    async def heal(self) -> None:
        """Bring everything back: processes, wires, Redis."""
        if not self.redis.running:
            self.redis.start()
        self.redis.resume()
        for node in self.nodes:
            node.redis.heal()
            node.outer.heal()
            if node.service.running:
                node.service.resume()
            else:
                node.unready = True
                node.start()
        async with asyncio.timeout(_READY_S):
            await asyncio.gather(*(self._ready(node) for node in self.nodes if node.unready))

    def dead(self) -> list[str]:
        """Return the parts that have ended by themselves."""
        return [node.name for node in self.nodes if not node.service.running]

    async def stop(self, node: Node) -> int:
        """SIGTERM a node and return its exit code."""
        node.unready = True
        node.service.terminate()
        return await node.service.ended(20)

    async def idle(self) -> None:
        """Wait until nothing is under way: no client's connection, no provider call. Raises ``AssertionError``."""
        await eventually(lambda: not any(map(len, self._client_links())), 10, "every client's connection is closed")
        await eventually(lambda: self.provider._at_once == 0, 10, "every provider call is over")

    def defects(self) -> list[str]:
        """Return the lines of the logs, since the last look, that tell of a defect."""
        found = []
        for node in self.nodes:
            with node.log.open("rb") as log:
                log.seek(node.read_to)
                lines = log.read().decode(errors="replace").splitlines()
                node.read_to = log.tell()
            bad = [line.strip() for line in lines if any(sign in line for sign in _DEFECTS)]
            found += [f"{node.name} logged: {line[:300]}" for line in bad]
        return found

    def lasting_keys(self) -> list[str]:
        """Return the keys of Redis that have no expiry."""
        return keys_without_expiry(self.redis.url)

    def calls_by(self, worker: Node) -> set[str]:
        """Return the prompts of the answers whose latest provider call is this worker's."""
        latest: dict[str, int] = {}
        for call in self.provider.calls:
            first = call.body["messages"][0]["content"]
            latest[first if isinstance(first, str) else first[0]["text"]] = call.peer[1]
        ports = worker.outer.far_ports()
        return {prompt for prompt, port in latest.items() if port in ports}

    def _client_links(self) -> list[Link]:
        return [self.front, *(relay.outer for relay in self.relays)]

    def _live_ports(self) -> list[int]:
        """Return the wires to the relays that live, one after the other first."""
        self._turn = (self._turn + 1) % RELAYS
        turned = self.relays[self._turn :] + self.relays[: self._turn]
        return [relay.outer.port for relay in turned if relay.service.running and not relay.unready]

    async def _relay(self, name: str, stack: AsyncExitStack) -> Node:
        redis = await stack.enter_async_context(Link(lambda: [self.redis.port]))
        models = self._models("http://127.0.0.1:9")  # a relay calls no provider
        service = self._service("relay", "relay.listening", name, redis, models)
        outer = Link(lambda: [int(service.url.rpartition(":")[2])] if service.running else [])
        await stack.enter_async_context(outer)
        return Node(name, service, redis, outer, self.directory / f"{name}.log")

    async def _worker(self, name: str, stack: AsyncExitStack) -> Node:
        redis = await stack.enter_async_context(Link(lambda: [self.redis.port]))
        provider_port = int(self.provider.base_url.rpartition(":")[2])
        outer = await stack.enter_async_context(Link(lambda: [provider_port]))
        models = self._models(f"http://127.0.0.1:{outer.port}")
        service = self._service("worker", "worker.ready", name, redis, models)
        return Node(name, service, redis, outer, self.directory / f"{name}.log")

    def _models(self, base_url: str) -> str:
        model = {"provider": "anthropic", "base_url": base_url, "max_tokens": 32_000}
        return json.dumps(
            {"prefills": model | {"continuation": "prefill"}, "claude-turns": model | {"continuation": "user_turn"}}
        )

    def _service(self, module: str, ready: str, name: str, redis: Link, models: str) -> Service:
        env = _SETTINGS | {
            "TAILRACE_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
            "TAILRACE_MODELS": models,
            "ANTHROPIC_API_KEY": "faults",
            "PYTHONPATH": str(ROOT / "tests/faults/jumping"),
        }
        return Service(module, ready, self.directory / f"{name}.log", env)

    async def _ready(self, node: Node) -> None:
        await node.service.ready(_READY_S)
        node.unready = False

    def _end(self) -> None:
        for node in self.nodes:
            node.service.end()
        self.redis.end()
        if not self.keep_logs:
            shutil.rmtree(self.directory, ignore_errors=True)
