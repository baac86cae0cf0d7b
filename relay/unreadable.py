"""Logs that cannot be read: with an entry that no writer of ours has made, since whoever may reach Redis may write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import structlog

from shared.errors import GoneError

log = structlog.get_logger()

UNREADABLE = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, msgspec.MsgspecError)
"""What may be raised at an entry that makes no sense, or is nested too deep."""


class UnreadableError(GoneError):
    """The log is there and cannot be read, which is the same to a client: only a new stream helps."""


@contextmanager
def reads_log(stream_id: str) -> Iterator[None]:
    """Raise ``UnreadableError`` for whatever reading the stream's log in this block fails by."""
    try:
        yield
    except UNREADABLE as error:
        raise unreadable(stream_id, error) from error


def unreadable(stream_id: str, error: Exception) -> UnreadableError:
    """Return what a reader is told of a log that could not be read, and log why: it may also be a defect of ours."""
    log.error("stream.unreadable", stream=stream_id, exc_info=error)
    message = "the stream's log holds something that cannot be read; start a new stream"
    return UnreadableError(message, stream_id=stream_id)
