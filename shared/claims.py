"""Claims: how an attempt asks for a stream, and what it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared import keys
from shared.entry import Entry
from shared.offset import NO_ENTRY, EntryId
from shared.scripts import Call


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


def claim_call(stream_id: str, claim: Claim, blob: bytes, *, publish: str, log_ttl_ms: int) -> Call:
    """Return the call that claims a stream; ``blob`` is the attempt event's entry, whose ``follows`` it fills in."""
    return Call(
        "claim",
        (keys.record(stream_id), keys.log(stream_id)),
        (
            publish,
            claim.replaces,
            claim.token,
            claim.worker_id,
            *_around_follows(blob),
            log_ttl_ms,
            claim.spared_ms,
            int(claim.careful),
            keys.live(stream_id),
        ),
    )


def claimed(answer: Any, blob: bytes) -> Claimed:
    """Return what the answer to a claim with this ``blob`` says."""
    if answer[0] != b"granted":
        return Claimed(answer[0].decode(), answer[1])
    follows, attempt = EntryId.parse(answer[2]), answer[1]
    before, after = _around_follows(blob)
    told = (Entry(follows, answer[3]), Entry(EntryId(attempt, 2), before + answer[2] + after)) if answer[3] else ()
    return Claimed("granted", attempt, follows, told)


def _around_follows(blob: bytes) -> tuple[bytes, bytes]:
    """Return an attempt event's blob up to the id of the entry it follows, which is not known yet, and the rest."""
    before, after = blob.split(b'"follows":"', 1)
    return before + b'"follows":"', after[after.index(b'"') :]
