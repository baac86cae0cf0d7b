"""The wires between the parts: TCP proxies whose connections can be cut at a byte, hung, slowed down and frozen."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from tests.faults.pace import pause

_RESET = struct.pack("ii", 1, 0)
_CONNECT_S = 2.0
_READ_BYTES = 65_536
_SLOW_BYTES = 512
_SMALL_WINDOW = 4096
_IDLE_S = 0.3


@dataclass(frozen=True)
class Fate:
    """What becomes of a connection when ``after_bytes`` more have passed, both directions counted.

    ``cut`` resets both ends; ``hang`` passes nothing any more and tells nobody; ``slow`` passes ``bytes_per_s`` for
    ``lasts_s``.
    """

    kind: Literal["cut", "hang", "slow"]
    after_bytes: int = 0
    bytes_per_s: float = 2048.0
    lasts_s: float = 2.0


class Link:
    """A listener on a port of its own whose connections lead to whichever of ``targets`` answers first."""

    def __init__(self, targets: Callable[[], Sequence[int]]) -> None:
        """Take what returns the loopback ports to try, in this order."""
        self.port = 0
        self.struck = 0
        """Connections whose fate has come over them."""
        self.draw: Callable[[], Fate | None] | None = None
        """Gives each new connection its fate."""
        self._targets = targets
        self._wires: set[_Wire] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Cut everything and stop listening."""
        assert self._server is not None
        self._server.close()
        self.heal()
        self.cut_all()
        async with asyncio.timeout(_CONNECT_S * 2):
            await self._server.wait_closed()
            while self._wires:
                await pause(0.01)

    def __len__(self) -> int:
        """Return how many connections there are."""
        return len(self._wires)

    def far_ports(self) -> set[int]:
        """Return the ports from which the open connections reach their targets."""
        return {wire.far_port for wire in self._wires}

    def freeze(self) -> None:
        """Let no byte pass, on old connections and new ones, and tell nobody."""
        self._open.clear()

    def thaw(self) -> None:
        """Undo ``freeze``: whatever waited passes now."""
        self._open.set()

    def strike(self, fate_of: Callable[[], Fate]) -> None:
        """Give every open connection a fate; one that has been idle meets it at once, or it would strike later."""
        for wire in list(self._wires):
            wire.doom(fate_of())

    def cut_all(self) -> None:
        """Reset every connection."""
        for wire in list(self._wires):
            wire.cut()

    def heal(self) -> None:
        """Give new connections no fate, thaw, and cut those that hang."""
        self.draw = None
        self.thaw()
        for wire in list(self._wires):
            if wire.hangs:
                wire.cut()
            wire.fate = None

    async def wait_open(self) -> None:
        """Return when the link is not frozen."""
        await self._open.wait()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until its end."""
        fate = self.draw() if self.draw is not None else None
        await self._open.wait()
        for port in self._targets():
            try:
                far = await _connect(port, small=fate is not None and fate.kind == "slow")
            except OSError:
                continue
            wire = _Wire(self, (reader, writer), far, fate)
            self._wires.add(wire)
            try:
                await wire.carry()
            finally:
                self._wires.discard(wire)
            return
        _reset(writer)


async def _connect(port: int, *, small: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect, with a small receive window for a connection that is to be slow: otherwise the kernel takes it all."""
    raw = socket.socket()
    raw.setblocking(False)
    if small:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_WINDOW)
    try:
        async with asyncio.timeout(_CONNECT_S):
            await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        return await asyncio.open_connection(sock=raw, limit=_SMALL_WINDOW if small else _READ_BYTES)
    except BaseException:
        raw.close()
        raise


End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Wire:
    """One carried connection."""

    def __init__(self, link: Link, near: End, far: End, fate: Fate | None) -> None:
        self.fate = fate
        self.hangs = False
        self._link = link
        self._near = near
        self._far = far
        self.far_port = int(far[1].get_extra_info("sockname")[1])
        self._left = fate.after_bytes if fate else 0
        self._moved_s = asyncio.get_running_loop().time()
        self._over = asyncio.Event()

    def doom(self, fate: Fate) -> None:
        """Take a fate."""
        self.fate, self._left = fate, fate.after_bytes
        if fate.kind == "cut" and asyncio.get_running_loop().time() - self._moved_s > _IDLE_S:
            self._link.struck += 1
            self.cut()

    def cut(self) -> None:
        """Reset both ends."""
        self._over.set()
        for _reader, writer in (self._near, self._far):
            _reset(writer)

    async def carry(self) -> None:
        """Pump both ways until either end is over."""
        pumps = [
            asyncio.create_task(self._pump(self._near[0], self._far[1]), name="link up"),
            asyncio.create_task(self._pump(self._far[0], self._near[1]), name="link down"),
        ]
        try:
            await asyncio.wait([*pumps, over := asyncio.create_task(self._over.wait())], return_when="FIRST_COMPLETED")
        finally:
            for task in (*pumps, over):
                task.cancel()
            await asyncio.gather(*pumps, over, return_exceptions=True)
            for _reader, writer in (self._near, self._far):
                writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction. A vanished client of a connection that hangs is not told to the other end."""
        with contextlib.suppress(OSError):
            while True:
                size = _SLOW_BYTES if self.fate is not None and self.fate.kind == "slow" else _READ_BYTES
                data = await reader.read(size)
                await self._link.wait_open()
                if self.hangs:
                    await self._over.wait()
                if not data:
                    return
                await self._pass(data, writer)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Pass data on, as far as fate allows."""
        self._moved_s = asyncio.get_running_loop().time()
        fate = self.fate
        if fate is not None and len(data) > self._left:
            self._link.struck += 1
            if fate.kind == "slow":
                self.fate = None if fate.lasts_s <= 0 else Fate("slow", 0, fate.bytes_per_s, fate.lasts_s - 0.25)
                await pause(min(len(data) / fate.bytes_per_s, 0.25))
            else:
                writer.write(data[: self._left])
                await writer.drain()
                if fate.kind == "cut":
                    self.cut()
                self.hangs = fate.kind == "hang"
                await self._over.wait()
        elif fate is not None:
            self._left -= len(data)
        writer.write(data)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a TCP reset."""
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
