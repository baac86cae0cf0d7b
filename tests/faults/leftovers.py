"""What may be left when all is over: nothing. Connections, open files, ports, processes, keys that last for ever."""

from __future__ import annotations

import socket
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.faults.stand import Node, Stand
from tests.support import eventually

_POOL = 64 + 4
"""Connections of one process to Redis: its pool, and those that listen."""
_IDLE_CALLS = 128
"""Connections to the provider that are kept for the next call."""
_MORE_FILES = 12
"""Other files than connections that may be open after use and not at the start: what is loaded late."""
_IDLE_S = 15.0


class Leftovers:
    """Looks at a stand when nothing has been asked of it yet, and again in the end."""

    def __init__(self, stand: Stand) -> None:
        """Note what is open now."""
        self._stand = stand
        self._files = {node.name: len(_open_files(node)) for node in stand.nodes}
        self._ports: list[int] = []
        self._pids: list[int] = []

    async def found(self) -> list[str]:
        """Return what is open that should not be, then end every part as production does and say what would not."""
        stand, problems = self._stand, []
        try:
            await stand.idle()
            for node in stand.nodes:
                await eventually(partial(self._idle, node), _IDLE_S, f"{node.name} is idle again")
        except AssertionError as error:
            problems.append(f"{error}: {[self._too_much(node) for node in stand.nodes]}")
        problems += [f"no expiry: {key}" for key in stand.lasting_keys()]
        self._pids = [node.service.pid for node in stand.nodes]
        self._ports = [int(relay.service.url.rpartition(":")[2]) for relay in stand.relays] + [stand.redis.port]
        for node in stand.nodes:
            try:
                code = await stand.stop(node)
            except AssertionError as error:
                problems.append(str(error))
            else:
                problems += [f"{node.name} exited with {code} in the end"] if code else []
        return problems + stand.defects()

    def left_after_end(self) -> list[str]:
        """Return the processes that live and the ports that are listened on after everything has ended."""
        problems = [f"process {pid} lives" for pid in self._pids if Path(f"/proc/{pid}").exists()]
        for port in self._ports:
            with socket.socket() as probe, suppress(OSError):
                probe.connect(("127.0.0.1", port))
                problems.append(f"port {port} is still listened on")
        return problems

    def _idle(self, node: Node) -> bool:
        return not self._too_much(node)

    def _too_much(self, node: Node) -> str:
        """Return what a process has open beyond what is fair when idle, nothing if all is well."""
        stand = self._stand
        peers = Counter(_peers(node))
        redis, provider = peers.pop(node.redis.port, 0), 0
        if node in stand.workers:
            provider = peers.pop(node.outer.port, 0)
        files = len(_open_files(node)) - self._files[node.name]
        if redis > _POOL or provider > _IDLE_CALLS or peers or files > _MORE_FILES:
            return (
                f"{node.name}: {redis} to Redis, {provider} to the provider, others {dict(peers)}, {files} files more"
            )
        return ""


def _open_files(node: Node) -> list[str]:
    """Return what else than connections a process has open."""
    return [name for name in _descriptors(node) if not name.startswith("socket:")]


def _descriptors(node: Node) -> list[str]:
    found = []
    for entry in Path(f"/proc/{node.service.pid}/fd").iterdir():
        with suppress(OSError):  # closed in between
            found.append(str(entry.readlink()))
    return found


def _peers(node: Node) -> list[int]:
    """Return the remote ports of a process's TCP connections; those of clients are what they are."""
    inodes = {name[8:-1] for name in _descriptors(node) if name.startswith("socket:[")}
    ports = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        remote = int(fields[2].rpartition(":")[2], 16)
        if fields[9] in inodes and remote:
            ports.append(remote)
    return ports
