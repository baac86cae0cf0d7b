"""Replaying a log to a native reader: the frames of many entries, made by one pass over their text.

A long answer that is read once more comes to thousands of events, of which each is told as it stands. To make an object
of each, and its frame by itself, costs ten times what it takes to find them all in their text by one expression.
"""

from __future__ import annotations

import re

from shared.run import Run

_EVENT = re.compile(rb'^(\d+ \d+\n)?(\{"type":"([^"\n]*)"[^\n]*)\n', re.MULTILINE)
"""An event's line, with its type; before it, if it is the first of its entry, the header."""


def run_frames(stream_id: str, run: Run) -> bytes:
    """Return the SSE frames of all events of a run. Raises ``ValueError`` when there is a line that is no event."""
    text = b"\n".join(run.blobs) + b"\n"
    place = b"id: %s-%08d-" % (stream_id[:4].encode(), run.first.attempt)
    seq, sub = run.first.seq - 1, 0
    frames: list[bytes] = []
    found = _EVENT.findall(text)
    for header, line, kind in found:
        seq, sub = (seq + 1, 0) if header else (seq, sub + 1)
        frames.append(b"%b%08d-%03d\nevent: %b\ndata: %b\n\n" % (place, seq, sub, kind, line))
    entries = seq + 1 - run.first.seq
    if entries != len(run) or text.count(b"\n") != entries + len(found):
        message = "not a log: a line is neither a header nor an event"
        raise ValueError(message)
    return b"".join(frames)
