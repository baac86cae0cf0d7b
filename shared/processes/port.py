"""One TCP port that several processes of ours listen on, and that is refused where anybody else has it.

Each process listens by a socket of its own with ``SO_REUSEPORT``, and the kernel spreads new connections over them; one
that dies takes its share of new connections with it. Only Linux does that: elsewhere the option exists or not, and one
process gets everything.
"""

from __future__ import annotations

import random
import socket
import sys
import time
from typing import Any

from shared.errors import ConfigurationError

# Two that listen at the same moment may refuse each other: each is seen as listening before it is known whether it may.
_RACES = 8
_APART_S = 0.02


class HeldPort:
    """A port that is ours from now until ``close``: bound and not listened on, so that it takes no connection itself.

    Processes of this user may listen on it with ``SO_REUSEPORT``; without it, nobody may.
    """

    def __init__(self, host: str, port: int) -> None:
        """Take the port on every address of ``host``; 0 takes a free one.

        Raises ``ConfigurationError`` when it cannot be had, also from somebody who would share it, and where the system
        does not spread connections.
        """
        if sys.platform != "linux":
            message = "several processes share one port only on Linux; run one here, or several on ports of their own"
            raise ConfigurationError(message)
        self.port = port
        self._sockets: list[socket.socket] = []
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in dict.fromkeys(found):
                self._sockets.append(_hold(family, (address[0], self.port, *address[2:])))
                self.port = self._sockets[0].getsockname()[1]
        except OSError as error:
            self.close()
            message = f"port {port} on {host} cannot be listened on: {error.strerror}"
            raise ConfigurationError(message) from None

    def close(self) -> None:
        """Let go of the port. Idempotent."""
        for one in self._sockets:
            one.close()


def _hold(family: int, address: tuple[Any, ...]) -> socket.socket:
    """Return a socket that holds ``address``. Raises ``OSError`` when anybody else has it.

    ``SO_REUSEPORT`` alone would join whoever has set it too, as another relay of this user, and take half of its
    clients. So a socket without it goes first, and listens: that is refused where anybody listens already, and shuts
    out whoever starts at the same moment. The kernel looks at the options of those that are bound when the next one
    binds: set then, it lets the second socket in, which lasts.
    """
    with _listening(family, address) as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held = _bound(family, first.getsockname(), socket.SO_REUSEPORT)
        # It was for connections that have just been closed. Two that have it, and do not listen, let each other in: so
        # not after the first has gone.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return held


def _listening(family: int, address: tuple[Any, ...]) -> socket.socket:
    """Return a socket that listens on ``address`` alone. Raises ``OSError`` when anybody else has it.

    One that may bind and not listen has met another in the same step, and both may have been refused: they try again,
    a random moment apart.
    """
    races = _RACES
    while True:
        made = _bound(family, address)
        try:
            made.listen(1)
        except OSError:
            made.close()
            races -= 1
            if not races:
                raise
            time.sleep(random.uniform(0, _APART_S))  # noqa: S311
        else:
            return made


def _bound(family: int, address: tuple[Any, ...], *options: int) -> socket.socket:
    """Return a socket bound to ``address``, with what a server's listening one gets. Raises ``OSError``."""
    made = socket.socket(family, socket.SOCK_STREAM)
    for option in (socket.SO_REUSEADDR, *options):
        made.setsockopt(socket.SOL_SOCKET, option, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
