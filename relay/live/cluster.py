"""Live delivery from a cluster: sharded pub/sub, and one connection to each primary that has streams of ours.

A slot moves with all of its streams. The server that gave it away ends their subscriptions, one that never had it turns
them away, one that died just falls silent: whichever it is, they are made again where the slot is now, and the log is
read once they are. Meanwhile the check of quiet streams finds what is not heard.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import structlog
from redis.asyncio import Redis
from redis.exceptions import MovedError, RedisError

from relay.live.connection import Listener, LiveConnection, Words
from shared import keys
from shared.address import Address
from shared.cluster import Cluster
from shared.cluster_map import slot_of
from shared.tasks import end_tasks

log = structlog.get_logger()

SHARDED = Words("SSUBSCRIBE", "SUNSUBSCRIBE", b"smessage", b"ssubscribe", b"sunsubscribe")
_LOOK_S = 1.0
"""How often the slots' places are compared with the map, though nothing has told of a change."""
_PAUSE_S = 0.1
"""The least time between two looks."""


class NodeConnection(LiveConnection):
    """Subscriptions at one server of a cluster, which may give their slots away, or never have had them."""

    def __init__(
        self, redis: Redis, listener: Listener, timeout_s: float, doubt: Callable[[Collection[int]], None]
    ) -> None:
        """Tell ``doubt`` the slots that are not here, and nothing when the server itself is in doubt."""
        super().__init__(redis, listener, timeout_s, SHARDED)
        self._doubt = doubt

    async def give_up(self, stream_ids: Collection[str]) -> None:
        """End the subscriptions of streams that are elsewhere, wherever the server still has them."""
        self._streams.difference_update(stream_ids)
        self._left.difference_update(stream_ids)
        self._listener.deafen(stream_ids)
        await self._end_subscriptions(stream_ids)

    def _subscriptions(self, stream_ids: Sequence[str]) -> list[tuple[str, ...]]:
        """Return a command a slot: one command must not have channels of several."""
        by_slot: defaultdict[int, list[str]] = defaultdict(list)
        for stream_id in stream_ids:
            by_slot[slot_of(keys.live(stream_id))].append(keys.live(stream_id))
        return [(self._words.subscribe, *channels) for channels in by_slot.values()]

    def _end(self, stream_id: str) -> None:
        """Notice an end that nobody has asked for: the server has given the slot away."""
        self._left.discard(stream_id)
        if stream_id in self._streams:
            self._doubt([slot_of(keys.live(stream_id))])

    def _turn_away(self, moved: MovedError) -> None:
        """Take in that a slot is elsewhere; no confirmation will come for what was asked of it."""
        for stream_id in [one for one in self._asked if slot_of(keys.live(one)) == moved.slot_id]:
            del self._asked[stream_id]
        self._doubt([moved.slot_id])

    def _lose(self) -> None:
        """Have the map asked for: the server may have been replaced."""
        self._doubt([])


class LiveCluster:
    """Subscriptions at the servers of a cluster. ``run`` must be running; it rides out the loss of any of them."""

    def __init__(self, cluster: Cluster, listener: Listener, timeout_s: float) -> None:
        """Tell ``listener`` what comes, from connections of its own."""
        self._cluster = cluster
        self._listener = listener
        self._timeout_s = timeout_s
        self._streams: dict[int, set[str]] = {}
        """The streams that are wanted, by their slot."""
        self._places: dict[int, Address] = {}
        """Where these slots were last asked for, unless that was in vain."""
        self._links: dict[Address, tuple[NodeConnection, asyncio.Task[None]]] = {}
        self._running = False
        self._doubted = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return any(link.connected for link, _ in self._links.values())

    async def subscribe(self, stream_ids: Sequence[str]) -> None:
        """Ask for the streams' live messages; the listener is told of each once it is confirmed."""
        for stream_id in stream_ids:
            slot = slot_of(keys.live(stream_id))
            self._streams.setdefault(slot, set()).add(stream_id)
            place = self._places.get(slot) or self._cluster.map.owner(slot)
            if place is not None and self._running:
                self._places[slot] = place
                await self._link(place).subscribe([stream_id])
            else:
                self._doubt([])

    def unsubscribe(self, stream_id: str) -> None:
        """Have its server asked for no more of the stream, a little later."""
        slot = slot_of(keys.live(stream_id))
        place = self._places.get(slot)
        streams = self._streams.get(slot, set())
        streams.discard(stream_id)
        if not streams:
            self._streams.pop(slot, None)
            self._places.pop(slot, None)
        if place is not None:
            self._link(place).unsubscribe(stream_id)

    async def run(self) -> None:
        """Keep every stream subscribed where its slot is, until cancelled."""
        self._running = True
        try:
            while True:
                await self._look()
                await asyncio.sleep(_PAUSE_S)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._doubted.wait()
        finally:
            self._running = False
            self._places.clear()
            await end_tasks([self._links.popitem()[1][1] for _ in list(self._links)])

    async def _look(self) -> None:
        """Compare the slots' places with the map, which is asked for again if there is doubt, and move what is due."""
        if self._doubted.is_set():
            self._doubted.clear()
            try:
                await self._cluster.refresh()
            except RedisError as error:
                log.info("hub.cluster_lost", error=str(error))
                self._doubted.set()
        due: defaultdict[Address, list[int]] = defaultdict(list)
        for slot, streams in list(self._streams.items()):
            owner, place = self._cluster.map.owner(slot), self._places.get(slot)
            if owner is None or owner == place:
                continue
            if place is not None:
                await self._link(place).give_up(streams)
            self._places[slot] = owner
            due[owner].append(slot)
        for owner, slots in due.items():  # who has left meanwhile must not be subscribed to for ever
            await self._link(owner).subscribe([one for slot in slots for one in self._streams.get(slot, ())])
        await self._end_links()

    def _link(self, address: Address) -> NodeConnection:
        """Return the connection to a server, which is made now if there is none."""
        if address not in self._links:
            redis = self._cluster.node(address).client
            link = NodeConnection(redis, self._listener, self._timeout_s, self._doubt)
            self._links[address] = (link, asyncio.create_task(link.run(), name=f"hub.live:{address}"))
        return self._links[address][0]

    async def _end_links(self) -> None:
        """End the connections to servers that have left the cluster. Raises what has ended one that should run."""
        needed = {*self._cluster.map.primaries, *self._places.values()}
        gone = [address for address in self._links if address not in needed]
        await end_tasks([self._links.pop(address)[1] for address in gone])
        for _, task in self._links.values():
            if task.done():
                task.result()

    def _doubt(self, slots: Collection[int]) -> None:
        """Have the slots, of which nothing is heard any more, placed anew."""
        for slot in slots:
            if self._places.pop(slot, None) is not None:
                self._listener.deafen(self._streams.get(slot, ()))
        self._doubted.set()
