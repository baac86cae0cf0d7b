"""What the log answers to those who ask how a stream stands, or append to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from redis.exceptions import RedisError

from shared.offset import NO_ENTRY, EntryId
from shared.record import Record

AppendStatus = Literal["done", "fenced", "closed", "gone", "tail", "error"]


@dataclass(frozen=True)
class Appended:
    """What became of an append. ``tail`` is the log's real last entry when it was neither done nor refused."""

    status: AppendStatus
    cancel_asked: bool = False
    tail: EntryId = NO_ENTRY
    detail: str = ""


@dataclass(frozen=True)
class Glance:
    """What a reader of a quiet stream must know: how long the log is and whether it is still there."""

    length: int
    exists: bool
    ended: bool
    attempt: int


_USUAL: dict[object, Appended] = {b"done": Appended("done"), b"done cancel": Appended("done", cancel_asked=True)}


def appended(answer: bytes | RedisError) -> Appended:
    """Return the outcome of an append, from the script's status line."""
    usual = _USUAL.get(answer)
    if usual is not None:
        return usual
    if isinstance(answer, RedisError):
        return _failed(answer)
    status, _, rest = answer.decode(errors="replace").partition(" ")
    if status == "tail":
        return Appended("tail", tail=EntryId.parse(rest))
    return Appended(cast(AppendStatus, status), detail=rest)


def outlook(mine: Record, found: list[bytes | None] | bytes | RedisError) -> Appended:
    """Return how a writer stands, from the stored token, cancel flag, end and attempt, and the last entry's id."""
    if isinstance(found, RedisError):
        return _failed(found)
    if isinstance(found, bytes):
        return Appended("error", detail=found.decode(errors="replace"))
    token, cancel, ended, attempt, last = found
    if attempt is None or int(attempt) < mine.attempt:
        return Appended("gone")
    if token is None or token.decode() != mine.token:
        return Appended("fenced")
    tail = EntryId.parse(last) if last else NO_ENTRY
    return Appended("closed" if ended else "tail", cancel_asked=bool(cancel), tail=tail)


def glance(length: int | RedisError, state: list[bytes | None] | RedisError) -> Glance | RedisError:
    """Return how a stream stands, from its log's length, its attempt and its end."""
    if isinstance(length, RedisError):
        return length
    if isinstance(state, RedisError):
        return state
    attempt, ended = state
    return Glance(length, bool(attempt), bool(ended), int(attempt or 0))


def _failed(error: RedisError) -> Appended:
    """Return the outcome for a stream whose server has not done what was asked."""
    return Appended("error", detail=type(error).__name__)
