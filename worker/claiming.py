"""Taking streams over and ending those nobody writes: what happens between one attempt and the next."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import structlog
from pydantic import ValidationError
from redis.exceptions import RedisError

from shared.answer import Answer
from shared.appointments import Appointment
from shared.claims import FIRST_ATTEMPT, Claim, Claimed, fresh_token
from shared.entry import Entry
from shared.events import AttemptEvent, AttemptMode, AttemptReason, EndEvent, EndStatus, ErrorEvent, Event, Usage
from shared.jobs import NO_JOB
from shared.metrics import QUEUE_WAIT, STREAMS_ENDED, TAKEOVERS
from shared.offset import NO_ENTRY
from shared.record import Record
from shared.request import StreamRequest
from shared.scripts import Call
from worker.outage import insist
from worker.parts import Parts
from worker.stream_writer import StreamWriter

log = structlog.get_logger()

JUST = 0.1
"""Of ``lease_s``: what still is the lease just confirmed."""
_PAGE = 1000


@dataclass(frozen=True)
class Grant:
    """A stream that the log has given to us: its record, the writer, and why it was ours to take."""

    stream_id: str
    record: Record
    writer: StreamWriter
    reason: AttemptReason
    log: Sequence[Entry] = ()
    """All of the log, where it is known from the claim."""
    granted_s: float = field(default_factory=time.monotonic)
    """When, on the monotonic clock; likewise the next."""
    confirmed_s: float = -math.inf
    """When its lease was last confirmed, or a little before."""


async def claim(
    parts: Parts, stream_id: str, reason: AttemptReason, replaces: int | None = None, job_end: Call = NO_JOB
) -> Grant | None:
    """Claim the stream for a new attempt; None when it is not to be had or has come to its end here and now.

    ``replaces`` is the attempt the caller knows to be the latest; by default, whichever is. A first claim on one Redis
    takes ``job_end`` with it, whatever its answer. Raises ``RedisError``.
    """
    if reason == "first" and replaces == 0 and parts.one_redis:
        return await _take_up(parts, stream_id, job_end)
    record = await parts.log.record(stream_id)
    if record is None or record.ended_ms:
        await _drop(parts, stream_id, record)
        return None
    if replaces is not None and record.attempt != replaces:
        return None
    if record.attempts >= parts.settings.max_attempts:
        message = f"the answer was interrupted, and {record.attempts} attempts, as many as may be, did not finish it"
        await close(parts, stream_id, record, ErrorEvent("interrupted", message, retryable=True))
        return None
    spared_ms = round(parts.settings.lease_s * 1000) if reason == "lease_expired" else 0
    ask = Claim(record.attempt, fresh_token(), parts.worker_id, spared_ms, careful=reason == "first")
    reason = "first" if record.attempts == 0 else reason
    event = AttemptEvent(record.attempts + 1, reason, _mode_of(parts, record), record.provider, record.model, "")
    now_ms = round(time.time() * 1000)
    # The same token asks again after a lost answer, since a fresh one would be refused what this one was granted.
    claimed, confirmed_s, _ = await asyncio.gather(
        insist(lambda: parts.log.claim(stream_id, ask, event, now_ms), parts.settings.lease_s),
        _confirm(parts, stream_id),
        _pass_over(parts, record.worker if reason == "lease_expired" else ""),
    )
    if claimed.status != "granted":
        await _leave(parts, stream_id, record, claimed)
        return None
    _count(reason, now_ms - record.created_ms)
    owned = _owned(parts, record, ask.token, claimed.attempt, event.attempt)
    return _grant(parts, stream_id, owned, reason, claimed.log, confirmed_s)


async def appointed(parts: Parts, appointment: Appointment, made_ms: int) -> Grant | None:
    """Return the grant of a stream that its start has claimed for this worker; None when another has it by now.

    The claim is asked for once more where it is not certain that it was made a moment ago: this worker may have stood
    still since. Raises ``RedisError``.
    """
    made_s = parts.leases.earliest_s(made_ms)
    if time.monotonic() - made_s > parts.settings.lease_s * JUST:
        return await _take_up(parts, appointment.stream_id, NO_JOB, appointment.token)
    _count("first", round(time.time() * 1000) - appointment.record.created_ms)
    owned = _owned(parts, appointment.record, appointment.token, FIRST_ATTEMPT, attempts=1)
    return _grant(parts, appointment.stream_id, owned, "first", appointment.log, made_s)


async def _take_up(parts: Parts, stream_id: str, job_end: Call, token: str = "") -> Grant | None:
    """Claim a stream for its first attempt in one round trip, by a fresh token unless it was claimed by one before."""
    ask = Claim(0, token or fresh_token(), parts.worker_id, careful=True)
    renewal = parts.leases.renewal([stream_id])
    now_ms, asked_s = round(time.time() * 1000), time.monotonic()
    record, claimed = await insist(
        lambda: parts.log.take_up(stream_id, ask, now_ms, renewal, job_end), parts.settings.lease_s
    )
    if claimed.status != "granted" or record is None:
        await _leave(parts, stream_id, record, claimed)
        return None
    _count("first", now_ms - record.created_ms)
    owned = _owned(parts, record, ask.token, claimed.attempt, attempts=1)
    return _grant(parts, stream_id, owned, "first", claimed.log, asked_s)


def _owned(parts: Parts, record: Record, token: str, attempt: int, attempts: int) -> Record:
    """Return the record as the claim that was granted has left it."""
    return replace(record, status="running", attempt=attempt, attempts=attempts, token=token, worker=parts.worker_id)


def _grant(
    parts: Parts, stream_id: str, owned: Record, reason: AttemptReason, entries: Sequence[Entry], confirmed_s: float
) -> Grant:
    """Return the grant of a stream whose record is ``owned`` by now."""
    writer = StreamWriter(stream_id, owned, parts.settings.buffer_bytes)
    return Grant(stream_id, owned, writer, reason, entries, confirmed_s=confirmed_s)


async def _leave(parts: Parts, stream_id: str, record: Record | None, claimed: Claimed) -> None:
    """Leave a stream that was not granted, ended or out of the book if it was found so."""
    if claimed.status == "cancelled" and record is not None:
        await close(parts, stream_id, record, None)
    if claimed.status in ("gone", "closed"):
        await _drop(parts, stream_id, record)


def _count(reason: AttemptReason, age_ms: int) -> None:
    """Note in the metrics that a stream so old has been claimed."""
    if reason == "first":
        QUEUE_WAIT.observe(max(age_ms, 0) / 1000)
    else:
        TAKEOVERS.labels(reason).inc()


async def _confirm(parts: Parts, stream_id: str) -> float:
    """Renew the lease while the claim is under way, and return when; never, where that fails.

    It is there already, from the start or from the taking. Where the claim is refused, somebody else's is longer by
    that much, or one that had gone runs out again.
    """
    asked_s = time.monotonic()
    try:
        await parts.leases.renew([stream_id])
    except (RedisError, OSError):
        return -math.inf
    return asked_s


async def _pass_over(parts: Parts, silent: str) -> None:
    """Have no stream claimed for a worker that was silent for a lease, until it tells its vacancies again."""
    if silent and parts.one_redis:
        with suppress(RedisError, OSError):
            await parts.vacancies.withdraw(silent)


async def close(parts: Parts, stream_id: str, record: Record, error: ErrorEvent | None) -> None:
    """End a stream nobody writes: failed with ``error``, or cancelled without. The text told so far stays."""
    status: EndStatus = "failed" if error else "cancelled"
    reason = error.code if error else "cancelled"
    events: list[Event] = [EndEvent(status, reason, usage=_usage(stream_id, await whole_log(parts, stream_id)))]
    if error:
        events.insert(0, error)
    now_ms = round(time.time() * 1000)
    outcome = await parts.log.close(stream_id, events, fresh_token(), now_ms, record.attempt)
    if outcome == "stale":  # somebody writes it after all: its place in the book is not ours to give up
        return
    await release(parts, stream_id, record)
    if outcome == "done":
        STREAMS_ENDED.labels(status).inc()
        log.info("stream.ended", stream=stream_id, status=status, reason=reason)


async def release(parts: Parts, stream_id: str, record: Record) -> None:
    """Give up an ended stream's place in the book, and let what is kept of its request go with its log. Idempotent."""
    await parts.admission.release(stream_id, record)
    if record.kept:
        await parts.log.kept.settle(stream_id)


async def whole_log(parts: Parts, stream_id: str) -> list[Entry]:
    """Return all entries of the log. Raises ``RedisError``."""
    entries: list[Entry] = []
    while True:
        after = entries[-1].id if entries else NO_ENTRY
        page = await parts.log.read(stream_id, after, _PAGE)
        fresh = page[1:] if page and page[0].id == after else page
        if not fresh:
            return entries
        entries += fresh


def folded(entries: Sequence[Entry]) -> Answer:
    """Return what the entries add up to."""
    answer = Answer()
    for entry in entries:
        answer.apply_entry(entry)
    return answer


def _usage(stream_id: str, entries: list[Entry]) -> Usage:
    """Return what a stream has used; nothing if its log cannot be understood, since it must be ended all the same."""
    try:
        return folded(entries).usage
    except ValueError:
        log.exception("stream.unreadable", stream=stream_id)
        return Usage()


def _request_of(record: Record) -> StreamRequest | None:
    """Return the request; None for one that this version cannot read, which costs an attempt, never the worker."""
    try:
        return StreamRequest.model_validate_json(record.request)
    except ValidationError:
        return None


def _mode_of(parts: Parts, record: Record) -> AttemptMode:
    """Return how the attempt means to go on. A ``reset`` after it tells when the log did not allow that."""
    if record.attempts == 0:
        return "start"
    model, request = parts.settings.offered_models().get(record.model), _request_of(record)
    if model is None or request is None:
        return "restart"
    return model.continuation if (request.on_interruption or model.on_interruption) == "continue" else "restart"


async def _drop(parts: Parts, stream_id: str, record: Record | None) -> None:
    """Take a stream that has ended, or was never made, out of the book."""
    if record is not None:
        await release(parts, stream_id, record)
    else:
        await parts.admission.withdraw(stream_id)
