"""Live delivery from one server: a pub/sub connection that is made again whenever it is lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import MovedError, RedisError

from shared import keys
from shared.backoff import Backoff
from shared.redis_connection import messages_at_hand
from shared.tasks import end_tasks

log = structlog.get_logger()

_LINGER_S = 0.1
"""How long a stream that nobody reads any more is still heard: ends of that time are told in one write."""
_PING_S = 3.0
_DEAD_S = 10.0
"""A connection that has brought nothing for this long, not even answers to pings, is taken as dead."""


class Listener(Protocol):
    """Who is told what comes live."""

    def hear(self, stream_id: str, payload: bytes) -> None:
        """Take a live message of the stream."""

    def rest(self) -> None:
        """Note that nothing more is at hand; follows messages that came together, also where one was an error."""

    def confirm(self, stream_id: str) -> None:
        """Note that from here on all that is published of the stream is heard; before, something may have been missed.

        May come again, after a while in which nothing was heard.
        """

    def deafen(self, stream_ids: Collection[str]) -> None:
        """Note that nothing is heard of the streams until they are confirmed again."""


@dataclass(frozen=True)
class Words:
    """How a kind of pub/sub is spoken: two commands, and the first words of what comes back."""

    subscribe: str
    unsubscribe: str
    message: bytes
    subscribed: bytes
    unsubscribed: bytes


PLAIN = Words("SUBSCRIBE", "UNSUBSCRIBE", b"message", b"subscribe", b"unsubscribe")


class LiveConnection:
    """Subscriptions at one server. ``run`` must be running; it rides out any absence of the server."""

    def __init__(self, redis: Redis, listener: Listener, timeout_s: float, words: Words = PLAIN) -> None:
        """Use the connection parameters of ``redis``, on a connection of its own."""
        self._redis = redis
        self._listener = listener
        self._timeout_s = timeout_s
        self._words = words
        self._streams: set[str] = set()
        self._left: set[str] = set()
        """What is subscribed to and not wanted any more."""
        self._leaving = asyncio.Event()
        """Set once there is any of it."""
        self._asked: Counter[str] = Counter()
        """Subscriptions asked for and not yet confirmed: only the last confirmation counts, since in between lies an
        end of the subscription."""
        self._connection: AbstractConnection | None = None
        self._heard_s = 0.0

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    async def subscribe(self, stream_ids: Sequence[str]) -> None:
        """Ask for the streams' live messages; the listener is told of each once it is confirmed."""
        self._streams.update(stream_ids)
        self._left.difference_update(stream_ids)
        if self.connected:
            self._asked.update(stream_ids)
            await self._send(self._subscriptions(stream_ids))

    def unsubscribe(self, stream_id: str) -> None:
        """Have the server asked for no more of the stream, a little later."""
        self._streams.discard(stream_id)
        self._left.add(stream_id)
        self._leaving.set()

    async def run(self) -> None:
        """Read, ping and end what nobody reads, until cancelled."""
        loops = (self._keep_reading(), self._keep_pinging(), self._keep_leaving())
        tasks = [asyncio.create_task(loop, name="hub.live") for loop in loops]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end_tasks(tasks)

    async def _keep_reading(self) -> None:
        """Hold a connection and listen; after a loss, subscribe anew."""
        backoff = Backoff(0.05, 1.0)
        while True:
            connection = self._make_connection()
            try:
                async with asyncio.timeout(self._timeout_s):  # also for the server's first answers
                    await connection.connect()
                self._connection, self._heard_s = connection, time.monotonic()
                self._asked = Counter(list(self._streams))
                await self._send(self._subscriptions(list(self._streams)))
                while True:
                    try:
                        self._receive_all(await connection.read_response(), messages_at_hand(connection))
                    except MovedError as error:
                        self._turn_away(error)
                    backoff.reset()
            except (RedisError, OSError) as error:
                log.warning("hub.redis_lost", error=type(error).__name__, streams=len(self._streams))
            finally:
                self._connection = None
                self._listener.deafen(self._streams)
                await connection.disconnect(nowait=True)
            self._lose()
            await asyncio.sleep(backoff.next_s())

    def _make_connection(self) -> AbstractConnection:
        """Return an unopened connection without read timeout: silence is normal, and the pings watch over it."""
        pool = self._redis.connection_pool
        connection: AbstractConnection = pool.connection_class(**{**pool.connection_kwargs, "socket_timeout": None})
        return connection

    def _subscriptions(self, stream_ids: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the commands that subscribe to the streams."""
        channels = map(keys.live, stream_ids)
        return [(self._words.subscribe, *channels)] if stream_ids else []

    def _receive_all(self, message: Any, more: Iterable[Any]) -> None:
        """Hand on what has come together. Raises the first that is an error."""
        try:
            self._receive(message)
            for one in more:
                self._receive(one)
        finally:
            self._listener.rest()

    def _receive(self, message: Any) -> None:
        """Hand one message of the connection on. Raises it, if it is an error."""
        self._heard_s = time.monotonic()
        if isinstance(message, RedisError):
            raise message
        kind = message[0] if isinstance(message, list) else None
        if kind == self._words.message:
            self._listener.hear(keys.stream_of(message[1].decode()), message[2])
        elif kind == self._words.subscribed:
            self._confirm(keys.stream_of(message[1].decode()))
        elif kind == self._words.unsubscribed:
            self._end(keys.stream_of(message[1].decode()))

    def _confirm(self, stream_id: str) -> None:
        """Note that the server publishes the stream to us from here on, unless another confirmation is to come."""
        self._asked[stream_id] -= 1
        if self._asked[stream_id] <= 0:
            del self._asked[stream_id]
            if stream_id in self._streams:
                self._listener.confirm(stream_id)

    def _end(self, stream_id: str) -> None:
        """Take in the end of a subscription: here always one that was asked for."""

    def _turn_away(self, moved: MovedError) -> None:
        """Take in that the server does not have what was asked for: here it does not belong to a cluster."""
        raise moved

    def _lose(self) -> None:
        """Take in that the connection was lost: here it is just made again."""

    async def _send(self, commands: Sequence[tuple[str, ...]]) -> None:
        """Send commands in one write; when there is no connection, the next one makes up for it."""
        connection = self._connection
        if commands and connection is not None and connection.is_connected:
            try:
                async with asyncio.timeout(self._timeout_s):
                    packed = connection.pack_commands(commands)
                    await connection.send_packed_command(packed, check_health=False)
            except (RedisError, OSError) as error:
                log.info("hub.send_failed", error=type(error).__name__)

    async def _keep_leaving(self) -> None:
        """End the subscriptions that nobody wants any more, many at a time."""
        while True:
            await self._leaving.wait()
            await asyncio.sleep(_LINGER_S)
            self._leaving.clear()
            left, self._left = self._left, set()
            await self._end_subscriptions(left)

    async def _end_subscriptions(self, stream_ids: Iterable[str]) -> None:
        """Ask for no more of the streams, now."""
        await self._send([(self._words.unsubscribe, keys.live(stream_id)) for stream_id in stream_ids])

    async def _keep_pinging(self) -> None:
        """Ping, and cut a connection that has gone silent."""
        while True:
            await asyncio.sleep(_PING_S)
            connection = self._connection
            if connection is not None and time.monotonic() - self._heard_s > _DEAD_S:
                await connection.disconnect(nowait=True)
            else:
                await self._send([("PING",)])
