"""Replaying a log to a native reader: the frames of many entries, made by one pass over their text.

A long answer that is read once more comes to thousands of events, of which each is told as it stands. To make an object
of each, and its frame by itself, costs ten times what it takes to find them all in their text by one expression, and to
put all frames together at once.
"""

from __future__ import annotations

import re

from shared.offset import MAX_EVENTS_PER_ENTRY
from shared.run import Run

_EVENT = re.compile(rb'(\d+ \d+\n)?(\{"type":"([^"\n]*)"[^\n]*)\n')
"""An event's line, with its type; before it, if it is the first of its entry, the header."""
_FOUND = 4
"""What a text falls into for each event: what was before, which is nothing, the header, the line and the type."""
_PIECES = 6
"""What a frame is put together of."""
_THOUSAND = 1000
_LAST_DIGITS = [b"%03d-" % number for number in range(_THOUSAND)]
"""How an entry's number ends. From a table: to write out one number costs as much as to find the event."""
_SUBS = [b"%03d\nevent: " % sub for sub in range(MAX_EVENTS_PER_ENTRY)]


def run_frames(stream_id: str, run: Run) -> bytes:
    """Return the SSE frames of all events of a run. Raises ``ValueError`` when there is a line that is no event.

    Raises ``IndexError`` for an entry of more events than there may be.
    """
    frames: list[bytes] = []
    rest = [run]
    while rest:
        count = _THOUSAND - rest[0].first.seq % _THOUSAND
        frames.append(_frames(stream_id, rest[0].first_of(count)))
        rest = rest[0].after(count)
    return b"".join(frames)


def _frames(stream_id: str, run: Run) -> bytes:
    """Return the frames of entries whose numbers differ in the last three digits alone."""
    found = _EVENT.split(b"\n".join(run.blobs) + b"\n")
    headers = found[1::_FOUND]
    if any(found[::_FOUND]) or len(headers) - headers.count(None) != len(run):
        message = "not a log: a line is neither a header nor an event"
        raise ValueError(message)
    first, count = run.first, len(headers)
    at, sub = first.seq % _THOUSAND, 0
    pieces = [b"\n\nid: %b-%08d-%05d" % (stream_id[:4].encode(), first.attempt, first.seq // _THOUSAND)]
    pieces *= _PIECES * count
    if len(run) == count:  # one event each, as mostly
        pieces[1::_PIECES] = _LAST_DIGITS[at : at + count]
        pieces[2::_PIECES] = _SUBS[:1] * count
    else:
        at -= 1
        pieces[1::_PIECES] = [_LAST_DIGITS[at := at + 1] if header else _LAST_DIGITS[at] for header in headers]
        pieces[2::_PIECES] = [_SUBS[sub := 0] if header else _SUBS[sub := sub + 1] for header in headers]
    pieces[3::_PIECES] = found[3::_FOUND]
    pieces[4::_PIECES] = [b"\ndata: "] * count
    pieces[5::_PIECES] = found[2::_FOUND]
    return b"".join(pieces)[2:] + b"\n\n"
