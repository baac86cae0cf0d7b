"""The log protocol: every command that touches a stream's record, log or viewers. See docs/log-protocol.md.

Ids alone do not fence, so each write is one script that checks the record's writer token, the end, and the length
of the log. Nothing here retries; ``RedisError`` goes to the caller, who knows how long it may wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from redis.asyncio import Redis

from shared import keys
from shared.entry import FIELD, Entry, encode_blob
from shared.events import AttemptEvent, EndEvent, EndStatus, Event
from shared.offset import NO_ENTRY, EntryId
from shared.record import Record
from shared.scripts import Argument, run_script, run_script_each
from shared.settings import Settings

AppendStatus = Literal["done", "fenced", "closed", "gone", "tail", "error"]
MAX_APPENDS = 200
"""Streams per append script: about 1 ms of Redis, so that nobody else waits longer."""


class Append(NamedTuple):
    """One entry on its way into a log. Frozen once sent: a repeat has the same id and the same bytes."""

    stream_id: str
    token: str
    attempt: int
    """The writer's, which is later than the entry's where it writes again what an earlier attempt has told."""
    entry: Entry
    end_status: EndStatus | None = None
    """Set when the entry holds the end event."""


@dataclass(frozen=True)
class Appended:
    """What became of an append. ``tail`` is the log's real last entry when it was neither done nor refused."""

    status: AppendStatus
    cancel_asked: bool = False
    tail: EntryId = NO_ENTRY
    detail: str = ""


@dataclass(frozen=True)
class Claim:
    """Who asks for a stream: a fresh random token, for the attempt after ``replaces``."""

    replaces: int
    token: str
    worker_id: str
    spared_ms: int = 0
    """A claim younger than this is not replaced: a lease that begins with it cannot have run out."""
    careful: bool = False
    """Refuse a stream of which Redis may have lost an attempt: whoever runs that may live, as the lease will show."""


@dataclass(frozen=True)
class Claimed:
    """The answer to a claim: granted to ``attempt``, or why not, with the latest attempt."""

    status: Literal["granted", "gone", "closed", "cancelled", "stale"]
    attempt: int
    follows: EntryId = NO_ENTRY
    log: Sequence[Entry] = ()
    """All of the log, where it had one entry before: nobody needs to read it."""


@dataclass(frozen=True)
class Glance:
    """What a reader of a quiet stream must know: how long the log is and whether it is still there."""

    length: int
    exists: bool
    ended: bool
    attempt: int


class StreamLog:
    """The streams of one Redis. Safe for any number of concurrent calls."""

    def __init__(
        self, redis: Redis, settings: Settings, *, publish: Literal["PUBLISH", "SPUBLISH"] = "PUBLISH"
    ) -> None:
        """Use ``redis`` (no response decoding) and the retention times of ``settings``."""
        self._redis = redis
        self._publish = publish
        self._running_ms = round(settings.running_ttl_s * 1000)
        self._ended_ms = round(settings.ttl_s * 1000)
        self._tombstone_ms = round(settings.tombstone_s * 1000)

    async def create(self, stream_id: str, record: Record, first: Entry, *, new: bool = True) -> bool:
        """Make the record and the log with its first entry; False when a record of this attempt or later is there.

        Idempotent, and also what restores a stream that Redis has lost, which is then not ``new``: attempts after it
        get numbers that no lost one can have had.
        """
        answer = await run_script(
            self._redis,
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
        return cast(bytes, answer) == b"created"

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        """Append up to ``MAX_APPENDS`` entries, in this order, in one round trip; an outcome each."""
        names: list[str | bytes] = []
        arguments: list[Argument] = [self._publish, self._running_ms, *self._ttls(ended=True)]
        for stream_id, token, attempt, entry, end_status in appends:
            names += keys.names(stream_id)
            arguments += (token, attempt, b"%d-%d" % entry.id, entry.blob, end_status or b"")
        answers = await run_script(self._redis, "append", names, arguments)
        return [_USUAL.get(answer) or _appended(answer.decode(errors="replace")) for answer in answers]

    async def claim(self, stream_id: str, claim: Claim, event: AttemptEvent, t_ms: int) -> Claimed:
        """Give the stream to a new attempt after ``claim.replaces``, unless that is not the latest, or it has ended.

        ``event.follows`` is filled in by the script. The same token again gets the same grant.
        """
        before, after = encode_blob([event], t_ms).split(b'"follows":"', 1)
        before, after = before + b'"follows":"', after[after.index(b'"') :]
        answer = await run_script(
            self._redis,
            "claim",
            (keys.record(stream_id), keys.log(stream_id), keys.live(stream_id)),
            (
                self._publish,
                claim.replaces,
                claim.token,
                claim.worker_id,
                before,
                after,
                self._running_ms,
                claim.spared_ms,
                int(claim.careful),
            ),
        )
        if answer[0] != b"granted":
            return Claimed(answer[0].decode(), answer[1])
        follows, attempt = EntryId.parse(answer[2]), answer[1]
        told = (Entry(follows, answer[3]), Entry(EntryId(attempt, 2), before + answer[2] + after)) if answer[3] else ()
        return Claimed("granted", attempt, follows, told)

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
            (keys.record(stream_id), keys.log(stream_id), keys.live(stream_id)),
            (
                self._publish,
                "" if replaces is None else replaces,
                token,
                encode_blob(events, t_ms),
                end.status,
                t_ms,
                *self._ttls(ended=True),
            ),
        )
        return cast(bytes, answer).decode()

    async def ask_cancel(self, stream_id: str, now_ms: int) -> tuple[Literal["asked", "closed", "gone"], str]:
        """Set the cancel flag; return what became of it and the id of the worker to hurry, if it has one."""
        answer = await run_script(self._redis, "cancel", (keys.record(stream_id),), (now_ms,))
        return answer[0].decode(), answer[2].decode()

    async def erase(self, stream_id: str) -> Literal["erased", "running", "gone"]:
        """Erase an ended stream's log; its record stays as a tombstone."""
        names = (keys.record(stream_id), keys.log(stream_id), keys.viewers(stream_id))
        answer = await run_script(self._redis, "erase", names, (self._tombstone_ms,))
        return cast(Literal["erased", "running", "gone"], answer.decode())

    async def record(self, stream_id: str) -> Record | None:
        """Return the stream's record, or None when there is none."""
        found = await self._redis.execute_command("HGETALL", keys.record(stream_id))
        return Record.from_fields(found) if b"tenant" in found else None

    async def records(self, stream_ids: Sequence[str]) -> list[Record | None]:
        """Return the records of several streams in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for stream_id in stream_ids:
            pipe.hgetall(keys.record(stream_id))
        return [Record.from_fields(found) if b"tenant" in found else None for found in await pipe.execute()]

    async def read(self, stream_id: str, start: EntryId, count: int) -> list[Entry]:
        """Return up to ``count`` entries from ``start`` on, itself included, in order."""
        found = await self._redis.xrange(keys.log(stream_id), min=str(start), count=count)
        return [Entry(EntryId.parse(entry_id), fields[FIELD]) for entry_id, fields in found]

    async def tail(self, stream_id: str) -> EntryId:
        """Return the id of the last entry, ``NO_ENTRY`` when the log is empty or gone."""
        found = await self._redis.xrevrange(keys.log(stream_id), count=1)
        return EntryId.parse(found[0][0]) if found else NO_ENTRY

    async def glance(self, stream_ids: Sequence[str]) -> list[Glance]:
        """Return how several streams stand, in one round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for stream_id in stream_ids:
            pipe.xlen(keys.log(stream_id))
            pipe.hmget(keys.record(stream_id), ["attempt", "ended_ms"])
        found = await pipe.execute()
        return [Glance(length, bool(state[0]), bool(state[1]), int(state[0] or 0)) for length, state in _pairs(found)]

    async def outlook(self, writers: Sequence[tuple[str, Record]]) -> list[Appended]:
        """Return what an append to each stream, by the writer of its record, would be told now, with the log's tail."""
        pipe = self._redis.pipeline(transaction=False)
        for stream_id, _ in writers:
            pipe.hmget(keys.record(stream_id), ["token", "cancel", "ended_ms", "attempt"])
            pipe.xrevrange(keys.log(stream_id), count=1)
        found = await pipe.execute()
        return [_outlook(record, *pair) for (_, record), pair in zip(writers, _pairs(found), strict=True)]

    async def view(self, relay_id: str, leases_ms: Sequence[tuple[str, int]]) -> None:
        """Renew a relay's viewer leases: stream id and milliseconds each, 0 when its last viewer has left."""
        calls = [((keys.viewers(one),), (relay_id, lease_ms, self._running_ms)) for one, lease_ms in leases_ms]
        await run_script_each(self._redis, "view", calls)

    async def unviewed_ms(self, stream_ids: Sequence[str]) -> list[int]:
        """Return since when nobody views each stream: 0 while somebody does, -1 when nobody ever did."""
        calls: list[tuple[Sequence[str], Sequence[Argument]]] = [((keys.viewers(one),), ()) for one in stream_ids]
        answers = await run_script_each(self._redis, "abandoned", calls)
        return [answer if isinstance(answer, int) else 0 for answer in answers]

    def _ttls(self, *, ended: bool) -> tuple[int, int]:
        """Return the time to live of a log and of its record, in milliseconds."""
        log_ms = self._ended_ms if ended else self._running_ms
        return log_ms, log_ms + self._tombstone_ms


_USUAL = {b"done": Appended("done"), b"done cancel": Appended("done", cancel_asked=True)}


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the items two by two."""
    return zip(flat[::2], flat[1::2], strict=True)


def _outlook(mine: Record, state: list[bytes | None], last: list[tuple[bytes, dict[bytes, bytes]]]) -> Appended:
    """Return how a writer stands, from the stored token, cancel flag, end and attempt, and the last entry."""
    token, cancel, ended, attempt = state
    if attempt is None or int(attempt) < mine.attempt:
        return Appended("gone")
    if token is None or token.decode() != mine.token:
        return Appended("fenced")
    tail = EntryId.parse(last[0][0]) if last else NO_ENTRY
    return Appended("closed" if ended else "tail", cancel_asked=bool(cancel), tail=tail)


def _appended(answer: str) -> Appended:
    """Return the outcome in one status line of the append script."""
    status, _, rest = answer.partition(" ")
    if status == "tail":
        return Appended("tail", tail=EntryId.parse(rest))
    return Appended(cast(AppendStatus, status), cancel_asked=rest == "cancel", detail=rest)
