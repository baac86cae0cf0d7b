"""A connection whose bytes wake nobody until somebody comes for them.

While an answer is read in the sweep, the event loop would be told of each piece as it arrives, call the protocol with
it, and nobody would look at it before the sweep. That is a fifth of a worker's part of a token. So the kernel is asked
not to tell (``SO_RCVLOWAT``), and the sweep takes what is there: fewer and larger pieces, and one call for each.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Self

import aiohttp

_PIECE_BYTES = 65_536
_TOLD_BYTES = 16_384
"""From so many bytes on the kernel tells all the same: nobody has come for them, or they are many at a time."""


class HushedSocket:
    """One plain connection of aiohttp's, hushed until ``close``. One with TLS never is: the socket's bytes are not its.

    The end of the connection and its failure are told by the kernel in any case, and are the loop's to see.
    """

    def __init__(self, connection: aiohttp.connector.Connection, transport: asyncio.Transport, fd: int) -> None:
        """Hush the connection's socket ``fd``. Raises ``OSError`` where the system cannot."""
        self._connection = connection
        self._transport = transport
        self._piece: bytes | None = None
        """What was received and not given on yet; empty at the end of the connection."""
        # The same descriptor, which stays the transport's: it is let go unclosed.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
        try:
            self._hush(_TOLD_BYTES)
        except OSError:
            self._socket.detach()
            raise

    @classmethod
    def of(cls, connection: aiohttp.connector.Connection | None) -> Self | None:
        """Hush a connection, or return None where that cannot be."""
        transport = None if connection is None else connection.transport
        if connection is None or transport is None or transport.is_closing():
            return None
        under = transport.get_extra_info("socket")
        if under is None or under.fileno() < 0 or transport.get_extra_info("sslcontext") is not None:
            return None
        with suppress(OSError):
            return cls(connection, transport, under.fileno())
        return None

    def receive(self) -> None:
        """Receive what has come, for ``take``, which must follow before the loop has a turn.

        Where many are read, all receive before anybody takes.
        """
        if self._transport.is_closing():
            return
        try:
            self._piece = self._socket.recv(_PIECE_BYTES)
        except BlockingIOError:
            pass
        except OSError:
            self._piece = b""

    def take(self) -> None:
        """Give the connection's protocol what was received, if anything was."""
        piece, self._piece = self._piece, None
        protocol = self._connection.protocol
        if piece is None or protocol is None or self._transport.is_closing():
            return
        if piece:
            protocol.data_received(piece)
        else:
            self._unhush()

    def close(self) -> None:
        """Leave the connection to the loop. Idempotent."""
        if self._socket.fileno() >= 0:
            self._unhush()
            self._socket.detach()

    def _unhush(self) -> None:
        """Have the kernel tell of every byte. What it would refuse, the loop finds out by itself."""
        with suppress(OSError):
            self._hush(1)

    def _hush(self, up_to_bytes: int) -> None:
        """Have the kernel tell of no fewer bytes."""
        if not self._transport.is_closing():  # or the descriptor may be another's by now
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, up_to_bytes)
