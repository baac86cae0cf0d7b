"""Live delivery: what is published of a stream goes to every subscription of it in this process.

Pub/sub is a shortcut, never the truth. Whenever it may have missed something (a new connection, a full inbox, a
message that is none of ours, a quiet stream whose log has grown) the subscription is told to read the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

import structlog
from redis.exceptions import RedisError

from relay.live.cluster import LiveCluster
from relay.live.connection import LiveConnection
from relay.live.inbox import Inbox, Limits
from relay.live.outbox import Outbox
from shared.cluster import Cluster, Streams
from shared.entry import decode_live
from shared.errors import UnavailableError
from shared.settings import Settings
from shared.stream_log import Glance, StreamLog
from shared.tasks import end_tasks

log = structlog.get_logger()

_GLANCE_BATCH = 100
"""Streams looked at in one round trip. Many more cost more each, and hold the loop up until all answers are read."""


_EXPECTED_S = 2.0
"""How long a stream that was started here is listened to before anybody joins it: its client may have gone."""


class Feed:
    """One stream's subscriptions in this process. ``confirmed`` is set once Redis has said that it publishes to us."""

    __slots__ = ("confirmed", "expected", "fresh", "inboxes", "last_seq", "spoke", "turn")

    def __init__(self) -> None:
        """Make a feed that nobody reads yet."""
        self.inboxes: set[Inbox] = set()
        self.expected: Inbox | None = None
        """The inbox of whoever joins first, which hears already."""
        self.confirmed = asyncio.Event()
        self.fresh = True
        """Whether it was neither confirmed nor lost yet: nothing heard so far can have a gap."""
        self.last_seq = -1  # of no log: the first check finds any log different, even one that has vanished
        self.spoke = False
        """Whether anything came since the last check of quiet streams."""
        self.turn = -1
        """When it last spoke: what comes more than once in one turn of the loop is a burst."""

    def mark_behind(self) -> None:
        """Have every subscription read the log."""
        for inbox in self.inboxes:
            inbox.mark_behind()


class Hub:
    """Feeds inboxes with what comes live. ``run`` must be running; it rides out any absence of Redis."""

    def __init__(self, streams: Streams, stream_log: StreamLog, settings: Settings) -> None:
        """Listen where the streams are, on connections of its own: one, or one to each primary of a cluster."""
        self._log = stream_log
        self._settings = settings
        self._limits = Limits(settings.feed_entries, settings.feed_bytes, settings.merge_entries)
        self.outbox = Outbox()
        """Flushed whenever all that has come together is heard."""
        self._feeds: dict[str, Feed] = {}
        self._junk_told = False
        self._turn, self._turning = 0, False
        timeout_s = settings.redis_timeout_s
        self.live: LiveConnection | LiveCluster = (
            LiveCluster(streams, self, timeout_s)
            if isinstance(streams, Cluster)
            else LiveConnection(streams, self, timeout_s)
        )

    async def expect(self, stream_id: str) -> None:
        """Listen to a stream that is about to be made, for who joins it first, if that is soon."""
        feed = self._feeds[stream_id] = Feed()
        feed.expected = Inbox(stream_id, self._limits)
        feed.inboxes.add(feed.expected)
        await self.live.subscribe([stream_id])

    def expect_no_more(self, stream_id: str) -> None:
        """Listen no more to a stream that was not made."""
        feed = self._feeds.get(stream_id)
        if feed is not None and feed.expected is not None:
            self.leave(feed.expected)

    async def join(self, stream_id: str) -> Inbox:
        """Return an inbox that receives all that is published from now on, or longer if it was expected.

        ``leave`` must follow. Raises ``UnavailableError`` when Redis does not confirm within ``redis_timeout_s``.
        """
        feed = self._feeds.setdefault(stream_id, Feed())
        first = not feed.inboxes
        inbox, feed.expected = feed.expected or Inbox(stream_id, self._limits), None
        feed.inboxes.add(inbox)
        joined = False
        try:
            async with asyncio.timeout(self._settings.redis_timeout_s):
                if first:
                    await self.live.subscribe([stream_id])
                await feed.confirmed.wait()
            joined = True
        except TimeoutError:
            message = "Redis does not answer; try again shortly"
            raise UnavailableError(message, retry_after_s=1) from None
        finally:
            if not joined:
                self.leave(inbox)
        return inbox

    def leave(self, inbox: Inbox) -> None:
        """Stop feeding ``inbox``. Idempotent."""
        feed = self._feeds.get(inbox.stream_id)
        if feed is None:
            return
        feed.inboxes.discard(inbox)
        if feed.expected is inbox:
            feed.expected = None
        if not feed.inboxes:
            del self._feeds[inbox.stream_id]
            self.live.unsubscribe(inbox.stream_id)

    def viewed(self) -> set[str]:
        """Return the streams that have a subscription here."""
        return set(self._feeds)

    async def run(self) -> None:
        """Listen, check quiet streams and wake silent subscriptions, until cancelled."""
        loops = (self.live.run(), self._keep_checking(), self._keep_waking())
        tasks = [asyncio.create_task(loop, name="hub") for loop in loops]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end_tasks(tasks)

    def hear(self, stream_id: str, payload: bytes) -> None:
        """Hand a live message to the stream's subscriptions. One that is no entry sends them to the log."""
        feed = self._feeds.get(stream_id)
        if feed is None:
            return
        try:
            entry = decode_live(payload)
        except ValueError:  # whoever may reach Redis may publish anything
            if not self._junk_told:
                log.warning("hub.junk", stream=stream_id, size=len(payload))
            self._junk_told = True
            feed.mark_behind()
            return
        feed.last_seq, feed.spoke = entry.id.seq, True
        at_once = feed.turn != self._turn
        feed.turn = self._turn
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._end_turn)
        for inbox in feed.inboxes:
            if not (at_once and inbox.offer(entry)):
                inbox.put(entry, entry.held_bytes // len(feed.inboxes))  # they all hold the same one

    def rest(self) -> None:
        """Send what was told directly."""
        self.outbox.flush()

    def _end_turn(self) -> None:
        """Note that other tasks have had their turn since something was heard."""
        self._turn += 1
        self._turning = False

    def confirm(self, stream_id: str) -> None:
        """Note that the stream is heard from here on; whoever has read it before must look at the log once."""
        feed = self._feeds.get(stream_id)
        if feed is not None:
            feed.confirmed.set()
            if not feed.fresh:
                feed.mark_behind()
            feed.fresh = False

    def deafen(self, stream_ids: Collection[str]) -> None:
        """Note that the streams are not heard; who joins one waits until it is."""
        for stream_id in stream_ids:
            feed = self._feeds.get(stream_id)
            if feed is not None:
                feed.confirmed.clear()
                feed.fresh = False

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
            glances = await self._log.glance_each(stream_ids)
        except (RedisError, OSError) as error:
            log.info("hub.check_failed", error=type(error).__name__)
            return
        for stream_id, glance in zip(stream_ids, glances, strict=True):
            feed = self._feeds.get(stream_id)
            if feed is not None and isinstance(glance, Glance) and not feed.spoke and glance.length != feed.last_seq:
                feed.last_seq = glance.length
                feed.mark_behind()

    async def _keep_waking(self) -> None:
        """Wake subscriptions that were silent for ``heartbeat_s``, so that they send a sign of life.

        And give up those that nobody came for.
        """
        tick_s = min(1.0, self._settings.heartbeat_s / 5)
        while True:
            await asyncio.sleep(tick_s)
            since_s = time.monotonic() - _EXPECTED_S
            waiting = [feed.expected for feed in self._feeds.values() if feed.expected is not None]
            for inbox in waiting:
                if inbox.last_wake_s <= since_s:
                    self.leave(inbox)
            due_s = time.monotonic() - self._settings.heartbeat_s + tick_s
            for feed in self._feeds.values():
                for inbox in feed.inboxes:
                    if inbox.last_wake_s <= due_s:
                        inbox.poke()
