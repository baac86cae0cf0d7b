"""Which server of a cluster has which slot, as far as is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError

from shared.address import Address

Argument = bytes | str | int
Command = tuple[Argument, ...]
_SCRIPTS = ("EVALSHA", "EVAL")
_FIRST_KEY_OF_SCRIPT = 3


class SlotMap:
    """The slots' owners. Never certain: a server that is asked for what it does not have says where to go."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.primaries: list[Address] = []
        self.replicas: list[Address] = []
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS

    def owner(self, slot: int) -> Address | None:
        """Return the primary of ``slot``, None where no server has it."""
        return self._owners[slot]

    def load(self, rows: Iterable[list[Any]], asked: Address) -> None:
        """Replace all by the answer of the server at ``asked`` to CLUSTER SLOTS."""
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        primaries: dict[Address, None] = {}
        replicas: dict[Address, None] = {}
        for first, last, primary, *others in rows:
            owner = _address(primary, asked)
            owners[first : last + 1] = [owner] * (last + 1 - first)
            primaries[owner] = None
            replicas |= dict.fromkeys(_address(one, asked) for one in others)
        self._owners, self.primaries, self.replicas = owners, list(primaries), list(replicas)

    def note(self, moved: AskError, asked: Address) -> Address:
        """Take in a MOVED answer of the server at ``asked``; return the slot's owner."""
        owner = target(moved, asked)
        self._owners[moved.slot_id] = owner
        if owner not in self.primaries:
            self.primaries.append(owner)
        return owner


def target(redirection: AskError, asked: Address) -> Address:
    """Return where a MOVED or ASK answer of the server at ``asked`` points; without a host it means its own."""
    return Address(redirection.host or asked.host, redirection.port)


def slot_of(name: str | bytes) -> int:
    """Return the slot of a key or channel."""
    return int(key_slot(name.encode() if isinstance(name, str) else name))


def slot_of_command(command: Command) -> int:
    """Return the slot of a command's first key; all others must share it."""
    name = command[_FIRST_KEY_OF_SCRIPT if command[0] in _SCRIPTS else 1]
    assert not isinstance(name, int)
    return slot_of(name)


def _address(server: list[Any], asked: Address) -> Address:
    """Return the address in an answer. One without a host means the one that was asked, as in MOVED."""
    host = (server[0] or b"").decode()
    return Address(asked.host if host in ("", "?") else host, int(server[1]))
