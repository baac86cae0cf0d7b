"""A name server for one name, as small as DNS allows: what Docker's own does for the name of a service."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

_HEADER = struct.Struct(">HHHHHH")
_ANSWER = struct.Struct(">HHHIH")
_RESPONSE = 0x8580
_POINTER_TO_QUESTION = 0xC00C
_TYPE_A = _CLASS_IN = 1
_TTL_S = 600


class NameServer(asyncio.DatagramProtocol):
    """Answers every question with the addresses it holds at the moment, for long as Docker does."""

    def __init__(self, addresses: Sequence[str]) -> None:
        """Take the IPv4 addresses to begin with; ``addresses`` may be changed at any time."""
        self.addresses = list(addresses)
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the port that was given."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # before 3.12 it is none by its class
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        assert self._transport is not None
        question_id = _HEADER.unpack_from(data)[0]
        question = data[_HEADER.size : data.index(b"\0", _HEADER.size) + 5]
        answers = b"".join(
            _ANSWER.pack(_POINTER_TO_QUESTION, _TYPE_A, _CLASS_IN, _TTL_S, 4) + ipaddress.IPv4Address(address).packed
            for address in self.addresses
        )
        header = _HEADER.pack(question_id, _RESPONSE, 1, len(self.addresses), 0, 0)
        self._transport.sendto(header + question + answers, addr)


@asynccontextmanager
async def name_server(*addresses: str) -> AsyncIterator[NameServer]:
    """Run a name server on a free port of loopback."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(addresses), ("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
