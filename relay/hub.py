"""Live delivery: one pub/sub connection per process, from which every subscription here is fed.

Pub/sub is a shortcut, never the truth. Whenever it may have missed something (a new connection, a full inbox, a
quiet stream whose log has grown) the subscription is told to read the log.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from relay.inbox import Inbox
from shared import keys
from shared.backoff import Backoff
from shared.entry import decode_live
from shared.errors import UnavailableError
from shared.settings import Settings
from shared.stream_log import StreamLog
from shared.tasks import end_tasks

log = structlog.get_logger()

_PING_S = 3.0
_DEAD_S = 10.0
"""A connection that has brought nothing for this long, not even answers to pings, is taken as dead."""
_GLANCE_BATCH = 100
"""Streams looked at in one round trip. Many more cost more each, and hold the loop up until all answers are read."""


class Feed:
    """One stream's subscriptions in this process. ``confirmed`` is set once Redis has said that it publishes to us."""

    __slots__ = ("confirmed", "inboxes", "last_seq", "spoke")

    def __init__(self) -> None:
        """Make a feed that nobody reads yet."""
        self.inboxes: set[Inbox] = set()
        self.confirmed = asyncio.Event()
        self.last_seq = -1  # of no log: the first check finds any log different, even one that has vanished
        self.spoke = False
        """Whether anything came since the last check of quiet streams."""


class Hub:
    """Feeds inboxes from one pub/sub connection. ``run`` must be running; it rides out any absence of Redis."""

    def __init__(self, redis: Redis, stream_log: StreamLog, settings: Settings) -> None:
        """Use the connection parameters of ``redis``, on a connection of its own."""
        self._redis = redis
        self._log = stream_log
        self._settings = settings
        self._feeds: dict[str, Feed] = {}
        self._asked: Counter[str] = Counter()
        """Subscriptions asked for and not yet confirmed: only the last confirmation counts, since in between lies an
        UNSUBSCRIBE."""
        self._connection: AbstractConnection | None = None
        self._heard_s = 0.0

    async def join(self, stream_id: str) -> Inbox:
        """Return an inbox that receives all that is published from now on; ``leave`` must follow.

        Raises ``UnavailableError`` when Redis does not confirm within ``redis_timeout_s``.
        """
        inbox = Inbox(stream_id, self._settings.feed_entries, self._settings.feed_bytes)
        feed = self._feeds.setdefault(stream_id, Feed())
        first = not feed.inboxes
        feed.inboxes.add(inbox)
        joined = False
        try:
            async with asyncio.timeout(self._settings.redis_timeout_s):
                if first:
                    self._asked[stream_id] += 1
                    await self._send("SUBSCRIBE", keys.live(stream_id))
                await feed.confirmed.wait()
            joined = True
        except TimeoutError:
            message = "Redis does not answer; try again shortly"
            raise UnavailableError(message, retry_after_s=1) from None
        finally:
            if not joined:
                await self.leave(inbox)
        return inbox

    async def leave(self, inbox: Inbox) -> None:
        """Stop feeding ``inbox``. Idempotent."""
        feed = self._feeds.get(inbox.stream_id)
        if feed is None:
            return
        feed.inboxes.discard(inbox)
        if not feed.inboxes:
            del self._feeds[inbox.stream_id]
            await self._send("UNSUBSCRIBE", keys.live(inbox.stream_id))

    def viewed(self) -> set[str]:
        """Return the streams that have a subscription here."""
        return set(self._feeds)

    async def run(self) -> None:
        """Read, ping, check quiet streams and wake silent subscriptions, until cancelled."""
        loops = (self._keep_reading(), self._keep_pinging(), self._keep_checking(), self._keep_waking())
        tasks = [asyncio.create_task(loop, name="hub") for loop in loops]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end_tasks(tasks)

    async def _keep_reading(self) -> None:
        """Hold a connection and feed from it; after a loss, subscribe anew and have everybody read the log."""
        backoff = Backoff(0.05, 1.0)
        while True:
            connection = self._make_connection()
            try:
                async with asyncio.timeout(self._settings.redis_timeout_s):  # also for the server's first answers
                    await connection.connect()
                self._connection, self._heard_s = connection, time.monotonic()
                self._asked = Counter(list(self._feeds))
                channels = [keys.live(stream_id) for stream_id in self._feeds]
                if channels:
                    await connection.send_command("SUBSCRIBE", *channels)
                while True:
                    self._receive(await connection.read_response())
                    backoff.reset()
            except (RedisError, OSError) as error:
                log.warning("hub.redis_lost", error=type(error).__name__, streams=len(self._feeds))
            finally:
                self._connection = None
                for feed in self._feeds.values():
                    feed.confirmed.clear()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(backoff.next_s())

    def _make_connection(self) -> AbstractConnection:
        """Return an unopened connection without read timeout: silence is normal, and the pings watch over it."""
        pool = self._redis.connection_pool
        connection: AbstractConnection = pool.connection_class(**{**pool.connection_kwargs, "socket_timeout": None})
        return connection

    def _receive(self, message: Any) -> None:
        """Hand one message of the connection on."""
        self._heard_s = time.monotonic()
        kind = message[0] if isinstance(message, list) else None
        if kind == b"message":
            feed = self._feeds.get(keys.stream_of(message[1].decode()))
            if feed is not None:
                entry = decode_live(message[2])
                feed.last_seq, feed.spoke = entry.id.seq, True
                share_bytes = entry.held_bytes // max(len(feed.inboxes), 1)  # they all hold the same one
                for inbox in feed.inboxes:
                    inbox.put(entry, share_bytes)
        elif kind == b"subscribe":
            self._confirm(keys.stream_of(message[1].decode()))

    def _confirm(self, stream_id: str) -> None:
        """Note that Redis publishes the stream to us from here on; whoever reads it must look at the log once."""
        self._asked[stream_id] -= 1
        feed = self._feeds.get(stream_id)
        if feed is not None and self._asked[stream_id] <= 0:
            feed.confirmed.set()
            for inbox in feed.inboxes:
                inbox.mark_behind()
        if self._asked[stream_id] <= 0:
            del self._asked[stream_id]

    async def _send(self, *command: str) -> None:
        """Send a command on the pub/sub connection; when there is none, the next connection makes up for it."""
        if self._connection is not None and self._connection.is_connected:
            try:
                async with asyncio.timeout(self._settings.redis_timeout_s):
                    await self._connection.send_command(*command, check_health=False)
            except (RedisError, OSError) as error:
                log.info("hub.send_failed", error=type(error).__name__)

    async def _keep_pinging(self) -> None:
        """Ping, and cut a connection that has gone silent."""
        while True:
            await asyncio.sleep(_PING_S)
            connection = self._connection
            if connection is not None and time.monotonic() - self._heard_s > _DEAD_S:
                await connection.disconnect(nowait=True)
            else:
                await self._send("PING")

    async def _keep_checking(self) -> None:
        """Look at the logs of quiet streams, many in one round trip, and send whoever missed something there."""
        while True:
            await asyncio.sleep(self._settings.quiet_check_s)
            quiet = [stream_id for stream_id, feed in self._feeds.items() if not feed.spoke]
            for feed in self._feeds.values():
                feed.spoke = False
            for at in range(0, len(quiet), _GLANCE_BATCH):
                await self._check(quiet[at : at + _GLANCE_BATCH])

    async def _check(self, stream_ids: list[str]) -> None:
        """Mark the subscriptions of those streams whose log is not as long as they were told."""
        try:
            glances = await self._log.glance(stream_ids)
        except (RedisError, OSError) as error:
            log.info("hub.check_failed", error=type(error).__name__)
            return
        for stream_id, glance in zip(stream_ids, glances, strict=True):
            feed = self._feeds.get(stream_id)
            if feed is not None and not feed.spoke and glance.length != feed.last_seq:
                feed.last_seq = glance.length
                for inbox in feed.inboxes:
                    inbox.mark_behind()

    async def _keep_waking(self) -> None:
        """Wake subscriptions that were silent for ``heartbeat_s``, so that they send a sign of life."""
        tick_s = min(1.0, self._settings.heartbeat_s / 5)
        while True:
            await asyncio.sleep(tick_s)
            due_s = time.monotonic() - self._settings.heartbeat_s + tick_s
            for feed in self._feeds.values():
                for inbox in feed.inboxes:
                    if inbox.last_wake_s <= due_s:
                        inbox.poke()
