"""The wire between two programs: a TCP proxy that can stop passing anything, be cut, and lead elsewhere."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Self


class Wire:
    """``async with Wire(port) as wire``: connections to ``wire.port`` lead to ``port``, unless frozen.

    It accepts by itself: ``asyncio.start_server`` of Python 3.11 loses a connection that comes while it is closed.
    """

    def __init__(self, target_port: int) -> None:
        """Take the loopback port to lead to."""
        self.port = 0
        self._target_port = target_port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[socket.socket] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener: socket.socket

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Stop listening and cut every connection."""
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)
        for connection in self._connections:  # also those whose task was cancelled before its first step
            connection.close()

    @property
    def url(self) -> str:
        """The ``redis://`` URL of a Redis behind it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def freeze(self) -> None:
        """Pass nothing in either direction, also on new connections, and tell nobody."""
        self._open.clear()

    def thaw(self) -> None:
        """Undo ``freeze``."""
        self._open.set()

    def cut(self) -> None:
        """Reset every connection there is; new ones are carried on."""
        for writer in self._writers:
            writer.transport.abort()

    def lead_to(self, target_port: int) -> None:
        """Have new connections lead to another loopback port, as a balancer does."""
        self._target_port = target_port

    def _accept(self) -> None:
        connection, _address = self._listener.accept()
        connection.setblocking(False)
        self._connections.add(connection)
        task = asyncio.get_running_loop().create_task(self._carry(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, connection: socket.socket) -> None:
        await self._open.wait()
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers.add(far_writer)
            reader, writer = await asyncio.open_connection(sock=connection)
            self._writers.add(writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, far_writer))
                group.create_task(self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
