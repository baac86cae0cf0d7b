"""Appointments: a stream is claimed for a worker that has said it has a vacancy, by the very step that starts it.

The worker is told all that a claim would have answered, on a channel of its own, and asks nobody. Only where queue and
streams are one Redis. A message that is lost is no more than a worker that died after its claim: the lease runs out.
"""

from __future__ import annotations

import msgspec
from redis.asyncio import Redis

from shared import keys
from shared.claims import FIRST_ATTEMPT
from shared.entry import Entry
from shared.offset import FIRST_ENTRY, EntryId
from shared.record import Record
from shared.scripts import Call, run_script

MOST_BYTES = 64 * 1024
"""Of a request: a larger one is fetched by who takes its job, or a burst of them would overflow what Redis holds back
for a worker's connection."""
_TTL_MS = 30_000
"""How long all vacancies are kept after a worker last told one."""


class Appointment(msgspec.Struct, frozen=True):
    """A worker's first attempt of a new stream."""

    stream_id: str
    token: str
    record: Record
    """As the stream was made, before the claim."""
    start: bytes
    """The blob of the log's first entry; of its second likewise."""
    attempt: bytes

    @property
    def log(self) -> tuple[Entry, Entry]:
        """All of the log."""
        return Entry(FIRST_ENTRY, self.start), Entry(EntryId(FIRST_ATTEMPT, 2), self.attempt)

    def encode(self) -> bytes:
        """Return what the worker is told."""
        return msgspec.msgpack.encode(self)


def told(message: bytes) -> tuple[Appointment, int]:
    """Return the appointment in a message, and when it was made, in ms of Redis TIME.

    Raises ``ValueError`` for anything else: another version's, which its lease brings back, or nobody's.
    """
    made_ms, _, encoded = message.partition(b"\n")
    return msgspec.msgpack.decode(encoded, type=Appointment), int(made_ms)


def appointing(encoded: bytes) -> Call:
    """Return the call that tells a worker, if there is one with a vacancy; nobody if there is nothing to tell."""
    return Call("appoint", (keys.VACANCIES, keys.WAKE), (keys.worker_appointments("%s"), encoded))


class Vacancies:
    """How many more streams each worker can take, on the queue Redis. Raises ``RedisError``."""

    def __init__(self, redis: Redis) -> None:
        """Use the queue Redis."""
        self._redis = redis

    async def tell(self, worker_id: str, count: int) -> None:
        """Note that the worker can take so many more, until it is told again or has been appointed as often."""
        await run_script(self._redis, "vacancies", (keys.VACANCIES,), (worker_id, count, _TTL_MS))

    async def withdraw(self, worker_id: str) -> None:
        """Have the worker appointed no more, until it tells a vacancy again."""
        await self._redis.execute_command("HDEL", keys.VACANCIES, worker_id)
