"""Telling a log in a dialect as a relay does, cut anywhere."""

from __future__ import annotations

from collections.abc import Sequence

from relay.dialects.dialect import Dialect
from relay.dialects.place import NOTHING, Had
from relay.dialects.telling import Frame, Past, Survey, Teller
from shared.entry import Entry
from tests.relay.dialects.random_logs import STREAM


def past_of(dialect: Dialect, entries: Sequence[Entry]) -> Past:
    """Return what a relay finds in a log that holds ``entries``."""
    found = Survey(STREAM, dialect)
    found.read(entries)
    return found.past()


def told(dialect: Dialect, entries: Sequence[Entry], had: Had = NOTHING, past: Past | None = None) -> list[Frame]:
    """Return what a reader is told of a whole log; ``past`` is what was there when it came, by default nothing."""
    teller = Teller(STREAM, dialect, had, past)
    frames: list[Frame] = []
    for entry in entries:
        if teller.ended:
            break
        frames += teller.tell(entry)
    return frames


def resumed(dialect: Dialect, entries: Sequence[Entry], had: Had) -> list[Frame]:
    """Return what a reader who had something is told that comes back once all of ``entries`` is there."""
    return told(dialect, entries, had, past_of(dialect, entries))
