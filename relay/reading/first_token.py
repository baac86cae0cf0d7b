"""Where the time to the first token went, measured for each reader that waited for it."""

from __future__ import annotations

import time

from relay.reading.batch import Batch, Piece, pieces
from shared.entry import Entry
from shared.metrics import FIRST_TOKEN


class FirstTokenClock:
    """Watches one connection for its first token.

    Counts only those who were there before it: a late reader waited for nothing.
    """

    __slots__ = ("_asked_ms", "_attempt_ms", "_created_ms", "done")

    def __init__(self, created_ms: int, asked_ms: int) -> None:
        """Take when the stream was asked for, and when this reader asked to read it."""
        self._asked_ms = asked_ms
        self._created_ms = created_ms
        self._attempt_ms: int | None = None
        self.done = False
        """Whether there is nothing more to wait for."""

    def note(self, batch: Batch) -> None:
        """Look at what is about to be written."""
        for piece in () if self.done else pieces(batch):
            if isinstance(piece, Piece):
                self.note_entry(piece.entry)
            if self.done:
                break

    def note_entry(self, entry: Entry) -> None:
        """Look at one entry, and record the times when it has the first token."""
        told_ms, kinds = entry.t_ms, entry.types
        if b"attempt" in kinds and self._attempt_ms is None:
            self._attempt_ms = told_ms
            if told_ms >= self._asked_ms:
                FIRST_TOKEN.labels("queue").observe(max(told_ms - self._created_ms, 0) / 1000)
        if b"delta" in kinds and not self.done:
            self.done = True
            if told_ms >= self._asked_ms and self._attempt_ms is not None:
                now_ms = time.time() * 1000
                FIRST_TOKEN.labels("provider").observe(max(told_ms - self._attempt_ms, 0) / 1000)
                FIRST_TOKEN.labels("relay").observe(max(now_ms - told_ms, 0) / 1000)
                FIRST_TOKEN.labels("total").observe(max(now_ms - self._created_ms, 0) / 1000)
