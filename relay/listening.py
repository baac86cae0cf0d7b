"""What every connection of a relay inherits from the socket that it is accepted on."""

from __future__ import annotations

import socket
from typing import cast

from aiohttp import web

_UNSENT_BYTES = 16_384
"""What the kernel takes of an answer beyond what it can send. By default it takes megabytes, which would be old news
once a client reads on."""


def limit_sending(site: web.TCPSite, send_timeout_s: float) -> None:
    """Have the kernel hold little for a client that takes nothing, and cut it after twice ``send_timeout_s``.

    aiohttp would wait for ever with what is left to send. SSE answers keep that time themselves, and count whom they
    let go. Where the system has no such option, as macOS has none for the time, only they have a limit.
    """
    limits = {"TCP_NOTSENT_LOWAT": _UNSENT_BYTES, "TCP_USER_TIMEOUT": round(send_timeout_s * 2000)}
    for listening in cast("list[socket.socket]", getattr(site._server, "sockets", ())):  # noqa: SLF001 - no other way
        for name, limit in limits.items():
            if (option := getattr(socket, name, None)) is not None:
                listening.setsockopt(socket.IPPROTO_TCP, option, limit)
