"""Claims: how an attempt asks for a stream, and what it is answered."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from shared import keys
from shared.entry import Entry, encode_blob
from shared.events import AttemptEvent
from shared.offset import NO_ENTRY, EntryId
from shared.record import Record
from shared.scripts import Call

FIRST_ATTEMPT = 1


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


class AttemptEntry(NamedTuple):
    """An attempt event's blob without the id of the entry it follows, which the claim fills in."""

    before: bytes
    after: bytes

    @classmethod
    def of(cls, event: AttemptEvent, t_ms: int) -> AttemptEntry:
        """Return the blob of the event, written at ``t_ms``."""
        before, after = encode_blob([event], t_ms).split(b'"follows":"', 1)
        return cls(before + b'"follows":"', after[after.index(b'"') :])

    @classmethod
    def of_first(cls, t_ms: int) -> AttemptEntry:
        """Return that of a first attempt of an unknown record, up to the provider and the model, which are in there."""
        before, after = cls.of(AttemptEvent(FIRST_ATTEMPT, "first", "start", "", "", ""), t_ms)
        return cls(before[: before.index(b'"provider":')], after)


def fresh_token() -> str:
    """Return a writer token nobody can guess."""
    return secrets.token_hex(16)


def claim_call(stream_id: str, claim: Claim, entry: AttemptEntry, publish: str, log_ttl_ms: int) -> Call:
    """Return the call that claims a stream and tells so by ``entry``, which ``claimed`` needs to read its answer."""
    return Call(
        "claim",
        (keys.record(stream_id), keys.log(stream_id)),
        (
            publish,
            claim.replaces,
            claim.token,
            claim.worker_id,
            *entry,
            log_ttl_ms,
            claim.spared_ms,
            int(claim.careful),
            keys.live(stream_id),
        ),
    )


def claimed(answer: Any, entry: AttemptEntry) -> Claimed:
    """Return what the answer to a claim says."""
    if answer[0] != b"granted":
        return Claimed(answer[0].decode(), answer[1])
    follows, attempt = EntryId.parse(answer[2]), answer[1]
    blob = entry.before + answer[2] + entry.after
    told = (Entry(follows, answer[3]), Entry(EntryId(attempt, 2), blob)) if answer[3] else ()
    return Claimed("granted", attempt, follows, told)


def taken_up(answer: Any, entry: AttemptEntry) -> tuple[Record | None, Claimed]:
    """Return what the answer to a taking up says: the record as it was before, None if there is none, and the claim's.

    A claim that is repeated, since its answer was lost, finds itself in the record.
    """
    told, fields, before = answer
    found = dict(zip(fields[::2], fields[1::2], strict=True))
    record = Record.from_fields(found) if b"tenant" in found else None
    return record, claimed(told, AttemptEntry(before, entry.after))
