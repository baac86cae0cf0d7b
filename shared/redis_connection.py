"""The connections in our pools: redis-py's, which also say when they are closed and leave a server that was demoted.

And which cost less: a command is packed by hiredis, and its write is limited without a task of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, NoPermissionError, ReadOnlyError  # noqa: A004 - redis-py's
from redis.exceptions import TimeoutError as RedisTimeoutError


class NotPrimaryError(ConnectionError):
    """The server takes no writes: it is a replica now, and who connects anew may find the new primary."""


class _Ours(AbstractConnection):
    """What our connections do beside redis-py's."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """Return the bytes of a command, whose name may be several words: as redis-py does in Python."""
        words = args[0].split()
        try:
            return [hiredis.pack_command((*words, *args[1:]))]
        except TypeError:  # what it does not know, redis-py knows or refuses
            return super().pack_command(*args)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 - redis-py's
        """Send. Raises ``RedisError`` or ``OSError``, and nothing else, when that does not work.

        uvloop refuses to write to a transport that is closed with a ``RuntimeError``, where asyncio's own loop waits
        for the next read to fail. Whoever rides out an absence of Redis catches only those two, rightly.

        The limit is put around the write here: redis-py makes a task of each one to limit it, which costs more than
        the write, and a turn of the loop.
        """
        limit_s, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit_s):
                await super().send_packed_command(command, check_health)
        except TimeoutError:
            await self.disconnect(nowait=True)
            message = "the server did not take a command in time"
            raise RedisTimeoutError(message) from None
        except RuntimeError as error:
            message = "the connection was closed before the command was sent"
            raise ConnectionError(message) from error
        finally:
            self.socket_timeout = limit_s

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Return an answer. A server that has become read-only is left, so that the next command connects anew.

        Behind a Sentinel, or a name whose address a failover changes, the next connection is to the new primary. A
        connection that was kept would be refused every write for as long as the demoted server lives.
        """
        try:
            return await super().read_response(*arguments, **options)
        except ReadOnlyError:
            await self.disconnect(nowait=True)
            message = "Redis is a read-only replica now"
            raise NotPrimaryError(message) from None


def messages_at_hand(connection: AbstractConnection) -> Iterator[Any]:
    """Yield what has come on a connection together with an answer that was just read; errors as values.

    For subscribers, who are told much at once: to await each message costs three times as much.
    """
    if not connection.is_connected:
        return iter(())
    reader = cast("Any", connection)._parser._reader  # noqa: SLF001 - redis-py has no way to read without waiting
    return iter(reader.gets, NOT_ENOUGH_DATA)


class Tcp(_Ours, Connection):
    """A plain connection."""


class Tls(_Ours, SSLConnection):
    """An encrypted connection."""


class UnixSocket(_Ours, UnixDomainSocketConnection):
    """A connection through the file system."""


OURS: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: Tcp,
    SSLConnection: Tls,
    UnixDomainSocketConnection: UnixSocket,
}


async def refuse_replica(connection: AbstractConnection) -> None:
    """Make sure that a new connection is to a primary. Raises ``NotPrimaryError``.

    During a failover Sentinels still name the old primary for a while. A subscriber would never notice: nothing that
    it does is refused by a replica.
    """
    await connection.send_command("ROLE", check_health=False)
    try:
        role = await connection.read_response()
    except NoPermissionError:
        return  # a user who may not ask: writes will tell
    if role[0] not in (b"master", "master"):
        message = "the server that the Sentinels name is not a primary yet, or any more"
        raise NotPrimaryError(message)
