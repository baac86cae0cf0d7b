"""Finding the primary through Redis Sentinel: every new connection asks where it is, and goes there.

redis-py's own Sentinel pool has no bound on the wait for a connection, and a ``PING`` is all it asks of a new one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from redis.asyncio import SSLConnection
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.exceptions import AuthenticationError, ConnectionError, RedisError  # noqa: A004 - redis-py's

from shared.address import Address, parse_address
from shared.redis_connection import Tcp, Tls, refuse_replica

SCHEMES = ("sentinel://", "sentinels://")
"""Plain, and encrypted to the Sentinels and to Redis."""
_PORT = 26379
_FRESH_S = 0.1
"""For this long an answer serves all connections: after an outage every one of a pool asks at once."""
_EACH_S = 1.0
"""Longest wait for one Sentinel, so that a dead one does not use up the time of the others."""


class NoPrimaryError(ConnectionError):
    """No Sentinel could say where the primary is; the message says why, in a sentence without a secret."""


class Sentinels:
    """The Sentinels of one primary. They are asked one after the other, first the one that answered last."""

    def __init__(self, addresses: Sequence[Address], name: str, options: dict[str, Any], timeout_s: float) -> None:
        """Take where they are, the name of the primary, and the connection options (password, TLS) they want."""
        self._addresses = list(addresses)
        self._name = name
        self._timeout_s = timeout_s
        each_s = min(_EACH_S, timeout_s)
        self._options = options | {"socket_timeout": each_s, "socket_connect_timeout": each_s, "lib_name": None}
        self._lock = asyncio.Lock()
        self._answer: tuple[Address, float] | None = None

    async def primary(self) -> Address:
        """Return where the primary is. Raises ``NoPrimaryError``, at the latest after ``timeout_s``."""
        try:
            async with asyncio.timeout(self._timeout_s), self._lock:
                if self._answer is None or time.monotonic() - self._answer[1] > _FRESH_S:
                    self._answer = (await self._ask_all(), time.monotonic())
                return self._answer[0]
        except TimeoutError:
            message = f"no Sentinel has answered within {self._timeout_s:g} s: {self._names()}"
            raise NoPrimaryError(message) from None

    async def _ask_all(self) -> Address:
        """Return the first answer."""
        why = f"no Sentinel answers at {self._names()}"
        for address in list(self._addresses):
            try:
                found = await self._ask(address)
            except AuthenticationError:
                why = f"the Sentinel at {address} wants another password: add ?sentinel_password= to the address"
            except (RedisError, OSError):
                pass
            else:
                if found is not None:
                    self._addresses.remove(address)
                    self._addresses.insert(0, address)
                    return found
                why = f"the Sentinel at {address} knows no primary called {self._name!r}"
        raise NoPrimaryError(why)

    async def _ask(self, address: Address) -> Address | None:
        """Return where one Sentinel says the primary is, None if it has not heard of it. Raises ``RedisError``."""
        kind = Tls if self._options["ssl"] else Tcp
        options = {name: value for name, value in self._options.items() if name != "ssl"}
        connection: AbstractConnection = kind(host=address.host, port=address.port, lib_version=None, **options)
        try:
            await connection.connect()
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
            found = await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)
        return None if found is None else Address(found[0].decode(), int(found[1]))

    def _names(self) -> str:
        return ", ".join(map(str, self._addresses))


class _Asking(AbstractConnection):
    """A connection that goes to wherever the primary is when it connects."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        """Take whom to ask."""
        self._sentinels = sentinels
        super().__init__(**options)

    async def connect(self) -> None:
        """Connect, if need be. Raises ``NoPrimaryError``, ``NotPrimaryError`` or another ``RedisError``."""
        if not self.is_connected:
            self.host, self.port = await self._sentinels.primary()
        await super().connect()  # type: ignore[no-untyped-call]

    async def on_connect(self) -> None:
        """Log in, and make sure that it is the primary."""
        await super().on_connect()
        await refuse_replica(self)


class PrimaryTcp(_Asking, Tcp):
    """A plain connection to the primary."""


class PrimaryTls(_Asking, Tls):
    """An encrypted connection to the primary."""


def sentinel_options(url: str, timeout_s: float) -> dict[str, Any]:
    """Return the options of a pool of connections to the primary that ``url`` names.

    ``sentinel://[user:password@]host[:26379],host,.../name[/db][?options]``. User and password are those of Redis; the
    Sentinels' own are ``sentinel_username`` and ``sentinel_password`` among the options. Raises ``ValueError``.
    """
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    path, mark, query = path.partition("?")
    name, _, database = path.partition("/")
    addresses = [parse_address(host, _PORT) for host in hosts.split(",")]
    if not name:
        message = "a Sentinel address names hosts and, after a slash, the primary"
        raise ValueError(message)
    encrypted = scheme == "sentinels"
    options: dict[str, Any] = dict(
        parse_url(f"redis{'s' if encrypted else ''}://{login}{at}sentinel/{database}{mark}{query}")
    )
    kind = PrimaryTls if options.pop("connection_class", None) is SSLConnection else PrimaryTcp
    del options["host"]
    own = {part: options.pop(f"sentinel_{part}", None) for part in ("username", "password")}
    tls = {option: value for option, value in options.items() if option.startswith("ssl_")}
    sentinels = Sentinels(addresses, unquote(name), own | tls | {"ssl": encrypted}, timeout_s)
    return options | {"connection_class": kind, "sentinels": sentinels}
