"""What a parent and each of its children say to each other, over a pair of sockets that nobody else can reach."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import msgspec

from shared.processes.summing import Family

_LENGTH_BYTES = 4
_LONGEST_BYTES = 64 * 1024 * 1024


class Ready(msgspec.Struct, tag="ready"):
    """Child: it serves."""


class Refused(msgspec.Struct, tag="refused"):
    """Child: it cannot start as configured, and ends. ``sentence`` is for the person who started it."""

    sentence: str


class ReportAsked(msgspec.Struct, tag="report?"):
    """Parent: the child's metrics are wanted. Its answer also proves that the child is alive."""


class Report(msgspec.Struct, tag="report"):
    """Child: its metrics now, also said unasked at its end."""

    families: list[Family]


class SumAsked(msgspec.Struct, tag="sum?"):
    """Child: the metrics of all children are wanted; one at a time."""

    number: int


class Summed(msgspec.Struct, tag="sum"):
    """Parent: the answer to the ``SumAsked`` of that number."""

    number: int
    families: list[Family]


Message = Ready | Refused | ReportAsked | Report | SumAsked | Summed
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class Link:
    """One end of the pair. A message is its length, in four bytes, and its msgpack."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take an open connection; use ``open``."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Link:
        """Return the link of one end of the pair, which it then owns."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: Message) -> None:
        """Send a message, or nothing when the other end has gone.

        Does not wait: either side has at most one question open, so what gathers is one message of each kind.
        """
        body = _encode(message)
        self._writer.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)

    async def messages(self) -> AsyncIterator[Message]:
        """Yield what the other end sends until it has gone, or sends what is no message."""
        try:
            while True:
                length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
                if length > _LONGEST_BYTES:
                    return
                yield _decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError, msgspec.MsgspecError):
            return

    async def aclose(self, within_s: float = 1.0) -> None:
        """Send what is on its way, at most for ``within_s``, and close."""
        try:
            async with asyncio.timeout(within_s):
                self._writer.close()
                await self._writer.wait_closed()
        except OSError:  # the other end has gone, or takes nothing
            self._writer.transport.abort()
