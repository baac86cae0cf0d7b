"""The wire between a service and its Redis: a TCP proxy that can stop passing anything, and breaks no connection."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self


class Wire:
    """``async with Wire(port) as wire``: connections to ``wire.port`` lead to ``port``, unless frozen."""

    def __init__(self, target_port: int) -> None:
        """Take the loopback port to lead to."""
        self.port = 0
        self._target_port = target_port
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Cut every connection and stop listening."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

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

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer: asyncio.StreamWriter | None = None
        with suppress(OSError):
            try:
                await self._open.wait()
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
                async with asyncio.TaskGroup() as group:
                    ways = [(reader, far_writer), (far_reader, writer)]
                    tasks = [group.create_task(self._pass(*way)) for way in ways]
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in tasks:
                        task.cancel()
            finally:
                writer.transport.abort()
                if far_writer is not None:
                    far_writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
