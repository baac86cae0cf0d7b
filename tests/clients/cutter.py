"""A TCP proxy between a client and a relay that cuts connections in the middle of an answer, or before it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

_SLICE_BYTES = 256
"""What is passed at once, so that a cut comes soon after the byte it is meant for."""


class Cutter:
    """``async with Cutter(relay.url, 0, 2000) as wire``: what is to be reached goes through ``wire.url``.

    Of the connections to it the first is cut before any byte of an answer, the second after 2,000, and all others pass.
    What was asked on a connection that is cut has reached the relay.
    """

    def __init__(self, url: str, *after_bytes: int) -> None:
        """Take where to lead, and after how many bytes of answers each of the first connections is cut."""
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._cuts: Iterator[int] = iter(after_bytes)
        self._server: asyncio.Server
        self._carrying: set[asyncio.Task[None]] = set()
        self.url = ""
        self.connections = 0

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Stop listening and cut every connection."""
        self._server.close()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer, next(self._cuts, None)))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._answer(far_reader, writer, left))
                with suppress(OSError):
                    while data := await reader.read(65_536):
                        far_writer.write(data)
                far_writer.transport.abort()
        finally:
            writer.transport.abort()
            far_writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        """Pass answers on until the relay ends, the client has gone, or the cut."""
        with suppress(OSError):
            while data := await reader.read(_SLICE_BYTES):
                if left is not None:
                    left -= len(data)
                    if left < 0:
                        break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
