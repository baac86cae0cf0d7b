"""The log protocol: every command that touches a stream's record, log or viewers. See docs/log-protocol.md.

Ids alone do not fence, so each write is one script that checks the record's writer token, the end, and the length
of the log. Nothing here retries; ``RedisError`` goes to the caller, who knows how long it may wait. Links
have the one field of a record that no writer needs: ``shared/link_keys.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeVar, cast

from redis.exceptions import RedisError

from shared import keys
from shared.claims import AttemptEntry, Claim, Claimed, claim_call, claimed, taken_up
from shared.cluster import Cluster, Streams, execute_each, primaries
from shared.cluster_map import Argument, Command
from shared.entry import Entry, encode_blob
from shared.events import AttemptEvent, EndEvent, EndStatus, Event
from shared.kept_requests import KeptRequests
from shared.log_answers import Appended, Glance, appended, glance, outlook
from shared.offset import NO_ENTRY, EntryId
from shared.record import Record
from shared.run import Run, runs_of
from shared.scripts import Call, in_one, run_script, run_script_each
from shared.settings import Settings

__all__ = ["MAX_APPENDS", "Append", "Appended", "Glance", "Place", "StreamLog"]

T = TypeVar("T")
_XRANGE = b"XRANGE"  # as bytes: redis-py then gives the answer as it came, without a dict for each entry
MAX_APPENDS = 200
"""Streams per append script: about 1 ms of Redis, so that nobody else waits longer."""


class Append(NamedTuple):
    """One entry on its way into a log. Frozen once sent: a repeat has the same id and the same bytes."""

    stream_id: str
    token: str
    attempt: int
    """The writer's, which is later than the entry's where it writes again what an earlier attempt has told."""
    id: EntryId
    blob: bytes
    end_status: EndStatus | None = None
    """Set when the entry holds the end event."""
    release: Call | None = None
    """Taken with such an entry, once it is in the log. Not on a cluster."""


class Place(NamedTuple):
    """How far a scan of all streams has come."""

    server: int = 0
    cursor: int = 0


class StreamLog:
    """The streams of one Redis, or of a cluster. Safe for any number of concurrent calls."""

    def __init__(self, streams: Streams, settings: Settings) -> None:
        """Use ``streams`` (no response decoding) and the retention times of ``settings``."""
        self._redis = streams
        self._publish = "SPUBLISH" if isinstance(streams, Cluster) else "PUBLISH"
        self._running_ms = round(settings.running_ttl_s * 1000)
        self._ended_ms = round(settings.ttl_s * 1000)
        self._tombstone_ms = round(settings.tombstone_s * 1000)
        self._ended_ttls_ms = (self._ended_ms, self._ended_ms + self._tombstone_ms)  # of a log and of its record
        self.kept = KeptRequests(streams, self._running_ms, self._ended_ms)

    async def create(self, stream_id: str, record: Record, first: Entry, *, new: bool = True) -> bool:
        """Make the record and the log with its first entry; False when a record of this attempt or later is there.

        Idempotent, and also what restores a stream that Redis has lost, which is then not ``new``: attempts after it
        get numbers that no lost one can have had.
        """
        answer = await run_script(self._redis, *self.creation(stream_id, record, first, new=new))
        return cast(bytes, answer) == b"created"

    def creation(self, stream_id: str, record: Record, first: Entry, *, new: bool = True) -> Call:
        """Return the call that does it."""
        return Call(
            "create",
            (keys.record(stream_id), keys.log(stream_id)),
            (
                str(first.id),
                first.blob,
                self._running_ms,
                self._running_ms + self._tombstone_ms,
                record.attempt,
                int(new),
                *record.to_fields(),
            ),
        )

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        """Append up to ``MAX_APPENDS`` entries, in this order, in one round trip; an outcome each."""
        if isinstance(self._redis, Cluster):
            return await self._append_each(appends)
        names: list[str | bytes] = []
        arguments: list[Argument] = [self._publish, self._running_ms, *self._ended_ttls_ms, len(appends)]
        releases: list[Call] = []
        for stream_id, token, attempt, entry_id, blob, end_status, release in appends:
            names += keys.names(stream_id)
            size = 0
            if release is not None:
                size = len(release.keys)
                releases.append(release)
            arguments += (token, attempt, b"%d-%d" % entry_id, blob, end_status or b"", size)
        for one in releases:
            names += one.keys
            arguments += one.arguments
        answers = await run_script(self._redis, "append", names, arguments)
        return [appended(answer) for answer in answers]

    async def _append_each(self, appends: Sequence[Append]) -> list[Appended]:
        """Append with a script an entry: what one script touches must be on one server of the cluster."""
        first: tuple[Argument, ...] = (self._publish, self._running_ms, *self._ended_ttls_ms, 1)
        calls: list[tuple[Sequence[str], Sequence[Argument]]] = []
        for stream_id, token, attempt, entry_id, blob, end_status, _ in appends:
            names = (keys.record(stream_id), keys.log(stream_id))
            more = (token, attempt, str(entry_id), blob, end_status or b"", 0, keys.live(stream_id))
            calls.append((names, first + more))
        answers = await run_script_each(self._redis, "append_one", calls)
        return [appended(answer if isinstance(answer, RedisError) else answer[0]) for answer in answers]

    async def claim(self, stream_id: str, claim: Claim, event: AttemptEvent, t_ms: int) -> Claimed:
        """Give the stream to a new attempt after ``claim.replaces``, unless that is not the latest, or it has ended.

        ``event.follows`` is filled in by the script. The same token again gets the same grant.
        """
        entry = AttemptEntry.of(event, t_ms)
        return claimed(await run_script(self._redis, *self.claiming(stream_id, claim, entry)), entry)

    def claiming(self, stream_id: str, claim: Claim, entry: AttemptEntry) -> Call:
        """Return the call that does it; ``claimed`` reads its answer."""
        return claim_call(stream_id, claim, entry, self._publish, self._running_ms)

    async def take_up(
        self, stream_id: str, claim: Claim, t_ms: int, renewal: Call, job_end: Call
    ) -> tuple[Record | None, Claimed]:
        """Make a stream's first claim without knowing its record, which is returned as it was before.

        Only on the Redis that has queue and leases too: ``job_end`` is part of the same step, and where the claim is
        granted ``renewal`` is.
        """
        entry = AttemptEntry.of_first(t_ms)
        steps = (self.claiming(stream_id, claim, entry), renewal, job_end)
        return taken_up(await run_script(self._redis, *in_one("take_up", steps)), entry)

    async def close(
        self, stream_id: str, events: Sequence[Event], token: str, t_ms: int, replaces: int | None = None
    ) -> str:
        """End the stream from outside its worker, fencing the worker off. ``events`` finish with the end event.

        Returns ``done``, ``gone``, ``closed`` (it had ended) or ``stale`` (``replaces`` is not the latest attempt).
        """
        end = events[-1]
        assert isinstance(end, EndEvent)
        answer = await run_script(
            self._redis,
            "close",
            (keys.record(stream_id), keys.log(stream_id)),
            (
                self._publish,
                "" if replaces is None else replaces,
                token,
                encode_blob(events, t_ms),
                end.status,
                t_ms,
                *self._ended_ttls_ms,
                keys.live(stream_id),
            ),
        )
        return cast(bytes, answer).decode()

    async def ask_cancel(self, stream_id: str, now_ms: int) -> tuple[Literal["asked", "closed", "gone"], str]:
        """Set the cancel flag; return what became of it and the id of the worker to hurry, if it has one."""
        answer = await run_script(self._redis, "cancel", (keys.record(stream_id),), (now_ms,))
        return answer[0].decode(), answer[2].decode()

    async def erase(self, stream_id: str) -> Literal["erased", "running", "gone"]:
        """Erase an ended stream's log; its record stays as a tombstone."""
        answer = await run_script(self._redis, "erase", keys.names(stream_id)[:2], (self._tombstone_ms,))
        if answer == b"erased":
            await self._redis.execute_command("DEL", keys.viewers(stream_id), keys.kept(stream_id))
        return cast(Literal["erased", "running", "gone"], answer.decode())

    async def record(self, stream_id: str) -> Record | None:
        """Return the stream's record, or None when there is none."""
        found = await self._redis.execute_command("HGETALL", keys.record(stream_id))
        return Record.from_fields(found) if b"tenant" in found else None

    async def records(self, stream_ids: Sequence[str]) -> list[Record | None]:
        """Return the records of several streams in one round trip."""
        found = await execute_each(self._redis, [("HGETALL", keys.record(one)) for one in stream_ids])
        return [Record.from_fields(one) if b"tenant" in one else None for one in map(_unless_error, found)]

    async def read(self, stream_id: str, start: EntryId, count: int) -> list[Entry]:
        """Return up to ``count`` entries from ``start`` on, itself included, in order."""
        return [entry for run in await self.read_runs(stream_id, start, count) for entry in run.entries()]

    async def read_runs(self, stream_id: str, start: EntryId, count: int) -> list[Run]:
        """Return the same, not taken apart."""
        found = await self._redis.execute_command(_XRANGE, keys.log(stream_id), str(start), "+", "COUNT", count)
        return runs_of(found)

    async def tail(self, stream_id: str) -> EntryId:
        """Return the id of the last entry, ``NO_ENTRY`` when the log is empty or gone."""
        found = await self._redis.execute_command("XREVRANGE", keys.log(stream_id), "+", "-", "COUNT", 1)
        return EntryId.parse(found[0][0]) if found else NO_ENTRY

    async def glance(self, stream_ids: Sequence[str]) -> list[Glance]:
        """Return how several streams stand, in one round trip."""
        return [_unless_error(one) for one in await self.glance_each(stream_ids)]

    async def glance_each(self, stream_ids: Sequence[str]) -> list[Glance | RedisError]:
        """Return how each of several streams stands, in one round trip, or why that cannot be known now.

        Raises ``RedisError`` when a single Redis cannot be reached.
        """
        commands: list[Command] = []
        for stream_id in stream_ids:
            commands += (("XLEN", keys.log(stream_id)), ("HMGET", keys.record(stream_id), "attempt", "ended_ms"))
        return [glance(*pair) for pair in _pairs(await execute_each(self._redis, commands))]

    async def outlook(self, writers: Sequence[tuple[str, Record]]) -> list[Appended]:
        """Return what an append to each stream, by the writer of its record, would be told now, with the log's tail.

        Raises ``RedisError`` when a single Redis cannot be reached.
        """
        names = [keys.names(stream_id)[:2] for stream_id, _ in writers]
        if isinstance(self._redis, Cluster):
            answers = await run_script_each(self._redis, "outlook", [(pair, ()) for pair in names])
            found = [answer if isinstance(answer, RedisError) else answer[0] for answer in answers]
        else:
            found = await run_script(self._redis, "outlook", [name for pair in names for name in pair], ())
        return [outlook(record, one) for (_, record), one in zip(writers, found, strict=True)]

    async def scan(self, place: Place, count: int) -> tuple[Place, list[str]]:
        """Return about ``count`` of all streams there are, and the place to go on from: the first one at the end.

        Raises ``RedisError`` when a single Redis cannot be reached; a server of a cluster that is away is passed over.
        """
        servers = await primaries(self._redis)
        client = servers[place.server % len(servers)]
        try:
            cursor, names = await client.scan(place.cursor, match=keys.record("*"), count=count)
        except (RedisError, OSError):
            if len(servers) == 1:
                raise
            cursor, names = 0, []
        server = place.server if cursor else (place.server + 1) % len(servers)
        return Place(server, cursor), [keys.stream_of(name.decode()) for name in names]

    async def view(self, relay_id: str, leases_ms: Sequence[tuple[str, int]]) -> None:
        """Renew a relay's viewer leases: stream id and milliseconds each, 0 when its last viewer has left."""
        calls = [((keys.viewers(one),), (relay_id, lease_ms, self._running_ms)) for one, lease_ms in leases_ms]
        await run_script_each(self._redis, "view", calls)

    async def unviewed_ms(self, stream_ids: Sequence[str]) -> list[int]:
        """Return since when nobody views each stream: 0 while somebody does, -1 when nobody ever did."""
        calls: list[tuple[Sequence[str], Sequence[Argument]]] = [((keys.viewers(one),), ()) for one in stream_ids]
        answers = await run_script_each(self._redis, "abandoned", calls)
        return [answer if isinstance(answer, int) else 0 for answer in answers]


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the items two by two."""
    return zip(flat[::2], flat[1::2], strict=True)


def _unless_error(answer: T | RedisError) -> T:
    """Return the answer. Raises it, if it is an error."""
    if isinstance(answer, RedisError):
        raise answer
    return answer
