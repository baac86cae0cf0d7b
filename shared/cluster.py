"""A Redis Cluster: each command goes to the server that has its key, and after it where its slot has moved.

redis-py's own client ends the connections to every server when one fails, forgets where it could ask, and leaks
connections: see docs/decisions/redis-cluster.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis-py's
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from shared.address import Address
from shared.cluster_map import Command, SlotMap, slot_of, slot_of_command, target
from shared.cluster_node import Node

_MOST_TURNS = 8
"""Redirections followed, and tries of what is halfway between two servers, before that is an error."""
_HALFWAY_S = 0.01
_FRESH_S = 0.25
"""A map is not asked for again sooner, whatever has failed."""


class NoClusterError(ConnectionError):
    """No server of the cluster tells its map; the message says why, in a sentence without a secret."""


class _Batch:
    """Commands on their way, and what has become of each."""

    def __init__(self, commands: Sequence[Command]) -> None:
        """Take commands of which none was sent yet."""
        self.commands = commands
        self.slots = [slot_of_command(command) for command in commands]
        self.answers: list[Any] = [None] * len(commands)
        self.left = list(range(len(commands)))
        """Those that are yet to be answered where their keys are."""
        self.asking: dict[int, Address] = {}
        """Where the keys of some have gone already, before their slot."""


class Cluster:
    """A client of all servers of a cluster. Safe for any number of concurrent calls.

    A command fails alone: what one server cannot do keeps nobody from the others. Nothing is tried again but what was
    sent to the wrong server, which did nothing.
    """

    def __init__(self, seeds: Sequence[Address], connect: Callable[[Address], Redis], timeout_s: float) -> None:
        """Take where to ask for the map first, what makes a client of one server, and the longest wait for an answer.

        Opens no connection yet.
        """
        self.map = SlotMap()
        self._seeds = list(seeds)
        self._connect = connect
        self._timeout_s = timeout_s
        self._nodes: dict[Address, Node] = {}
        self._stale = True
        self._asked_s = float("-inf")
        self._turn = 0
        self._lock = asyncio.Lock()

    async def execute_command(self, *command: str | bytes | int) -> Any:
        """Return the answer to a command by its key; one without any goes to whichever server answers.

        Raises ``RedisError``.
        """
        if len(command) == 1:
            return await self._ask_any(command)
        (answer,) = await self.execute_each([command])
        if isinstance(answer, RedisError):
            raise answer
        return answer

    async def execute_each(self, commands: Sequence[Command]) -> list[Any]:
        """Return an answer or ``RedisError`` to each command, in order; all servers are asked at the same time."""
        if self._stale:
            try:
                await self.refresh()
            except NoClusterError as error:
                return [error] * len(commands)
        batch = _Batch(commands)
        for _turn in range(_MOST_TURNS):
            await self._send(batch)
            batch.left = [at for at in batch.left if isinstance(batch.answers[at], AskError | TryAgainError)]
            if not batch.left:
                break
            if any(isinstance(batch.answers[at], TryAgainError) for at in batch.left):
                await asyncio.sleep(_HALFWAY_S)
        return batch.answers

    async def script_load(self, text: str) -> None:
        """Give a script to every primary that can be reached."""
        nodes = [self.node(address) for address in self.map.primaries]
        await asyncio.gather(*(node.run([("SCRIPT LOAD", text)]) for node in nodes))

    async def refresh(self) -> None:
        """Ask for the map, unless that was done a moment ago. Raises ``NoClusterError``.

        Another server each time, since one that is cut off from the rest does not know that it is.
        """
        async with self._lock:
            if time.monotonic() - self._asked_s < _FRESH_S:
                if not self.map.primaries:
                    raise NoClusterError(self._nobody())
                return
            why = self._nobody()
            known = list(dict.fromkeys([*self.map.primaries, *self.map.replicas, *self._seeds]))
            self._turn += 1
            for number in range(len(known)):
                address = known[(self._turn + number) % len(known)]
                (rows,) = await self.node(address).run([("CLUSTER SLOTS",)])
                if not isinstance(rows, RedisError) and rows:
                    self.map.load(rows, address)
                    self._stale, self._asked_s = False, time.monotonic()
                    break
                why = _why(rows, address) or why
            else:
                self._asked_s = time.monotonic()
                raise NoClusterError(why)
        await self._close_others()

    def owner(self, name: str) -> Address | None:
        """Return which primary has the key or channel, as far as is known."""
        return self.map.owner(slot_of(name))

    def note_moved(self, moved: MovedError, asked: Address) -> None:
        """Take in that the server at ``asked`` says another one has the slot."""
        self.map.note(moved, asked)
        self._stale = True

    def node(self, address: Address) -> Node:
        """Return the server at ``address``, whether or not it is of the cluster."""
        found = self._nodes.get(address)
        if found is None:
            found = self._nodes[address] = Node(address, self._connect(address), self._timeout_s)
        return found

    async def aclose(self) -> None:
        """Close all connections."""
        nodes, self._nodes = list(self._nodes.values()), {}
        for node in nodes:
            await node.client.aclose()

    async def _send(self, batch: _Batch) -> None:
        """Send what is left of a batch to where it belongs, and take in the answers."""
        groups: dict[tuple[Address, bool], list[int]] = {}
        for at in batch.left:
            importer = batch.asking.get(at)
            address = importer or self.map.owner(batch.slots[at])
            if address is None:
                batch.answers[at] = ClusterDownError("no server has the slot")
                self._stale = True
            else:
                groups.setdefault((address, importer is not None), []).append(at)
        runs = [
            self.node(address).run([batch.commands[at] for at in group], asking=asking)
            for (address, asking), group in groups.items()
        ]
        found = [await run for run in runs] if len(runs) == 1 else await asyncio.gather(*runs)
        for ((address, _), group), answers in zip(groups.items(), found, strict=True):
            for at, answer in zip(group, answers, strict=True):
                batch.answers[at] = answer
                if isinstance(answer, RedisError):
                    self._learn(batch, at, answer, address)

    def _learn(self, batch: _Batch, at: int, error: RedisError, address: Address) -> None:
        """Take in what an error of the server at ``address`` says about where things are."""
        if isinstance(error, MovedError):
            batch.asking.pop(at, None)
            self.note_moved(error, address)
        elif isinstance(error, AskError):
            batch.asking[at] = target(error, address)
        elif isinstance(error, TryAgainError):
            batch.asking.pop(at, None)  # its keys are on both sides: begin again with the owner
        elif isinstance(error, ClusterDownError | ConnectionError):
            self._stale = True

    async def _ask_any(self, command: Command) -> Any:
        """Return the first answer. Raises ``RedisError``."""
        if self._stale:
            await self.refresh()
        answer: Any = None
        for address in list(self.map.primaries):
            (answer,) = await self.node(address).run([command])
            if not isinstance(answer, RedisError):
                return answer
        self._stale = True
        raise answer

    async def _close_others(self) -> None:
        """Close the connections to servers that are not of the cluster any more."""
        kept = {*self.map.primaries, *self.map.replicas}
        for address in [address for address in self._nodes if address not in kept]:
            await self._nodes.pop(address).client.aclose()

    def _nobody(self) -> str:
        return f"no server of the cluster answers at {', '.join(map(str, self._seeds))}"


Streams = Redis | Cluster
"""Where the streams are."""


async def execute_each(streams: Streams, commands: Sequence[Command]) -> list[Any]:
    """Return an answer or ``RedisError`` to each command, in order, in one round trip.

    Raises ``RedisError`` when a single Redis cannot be reached; of a cluster, the rest may still be.
    """
    if isinstance(streams, Cluster):
        return await streams.execute_each(commands)
    pipe = streams.pipeline(transaction=False)
    for command in commands:
        pipe.execute_command(*command)
    return list(await pipe.execute(raise_on_error=False))


async def primaries(streams: Streams) -> list[Redis]:
    """Return a client of each server that holds streams, in an order that lasts. Raises ``NoClusterError``."""
    if isinstance(streams, Cluster):
        if not streams.map.primaries:
            await streams.refresh()
        return [streams.node(address).client for address in sorted(streams.map.primaries)]
    return [streams]


def _why(answer: Any, address: Address) -> str:
    """Return what keeps a server that answers from telling the map, nothing if it does not answer."""
    if isinstance(answer, AuthenticationError):
        return f"the server at {address} refuses the user or password"
    if isinstance(answer, ResponseError) and "cluster support disabled" in str(answer):
        return f"the server at {address} is not one of a Redis Cluster"
    return "" if isinstance(answer, RedisError) else f"the server at {address} knows of no slots"
