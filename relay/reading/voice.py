"""How a reader is told what it reads: in the native dialect, or in another one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from relay.dialects.dialect import Dialect
from relay.dialects.place import NOTHING, Had
from relay.dialects.telling import Frame, Past, Teller
from relay.reading import native
from relay.reading.batch import Batch, Fork, Piece, pieces
from relay.reading.merging import merged_frames
from relay.reading.subscription import Subscription
from shared.entry import Entry
from shared.errors import TailraceError

_AS_A_CHUNK = "native, a chunk of HTTP/1.1"


class Voice(Protocol):
    """Turns what one subscription brings into SSE frames."""

    cut: bool
    """Whether a reader who must leave in the middle is cut off, not told goodbye."""
    alive: bytes
    """A sign of life: a comment."""

    def opening(self, retry_ms: int) -> bytes:
        """Return what an answer opens with, before there is any event; ``retry_ms`` is when to come back."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        ...

    def frames(self, batch: Batch) -> bytes:
        """Return the frames of what was read next."""
        ...

    def directly(self, entry: Entry, *, chunked: bool) -> bytes:
        """Return what a live entry that comes next is told by, as one chunk of HTTP/1.1 where the answer has chunks."""
        ...

    def error(self, error: TailraceError) -> bytes:
        """Return the frames of an error that is not in the log."""
        ...


class NativeVoice:
    """The native dialect, whose subscription stands where its reader does."""

    cut = False
    alive = b": ka\n\n"

    __slots__ = ("_subscription",)

    def __init__(self, subscription: Subscription) -> None:
        """Speak for ``subscription``."""
        self._subscription = subscription

    def opening(self, retry_ms: int) -> bytes:
        """Return a comment, and the delay after which an EventSource comes back."""
        return b"retry: %d\n\n: open\n\n" % retry_ms

    @property
    def ended(self) -> bool:
        """Whether the end was told."""
        return self._subscription.ended

    def frames(self, batch: Batch) -> bytes:
        """Return the frames of a batch, merged for a client that has fallen behind."""
        tell = merged_frames if self._subscription.catching_up else native.sse_frames
        return tell(self._subscription.stream_id, batch)

    def directly(self, entry: Entry, *, chunked: bool) -> bytes:
        """Return the entry's frames, made once for all its readers."""
        if not chunked:
            return native.entry_frames(self._subscription.stream_id, entry)
        kept = entry.frames(_AS_A_CHUNK)
        if kept is not None:
            return kept
        return entry.keep_frames(_AS_A_CHUNK, _chunk(native.entry_frames(self._subscription.stream_id, entry)))

    def error(self, error: TailraceError) -> bytes:
        """Return one frame, without an id."""
        return native.error_frame(error)


class DialectVoice:
    """Any other dialect, whose subscription reads from the stream's start.

    No blank line but after an event: once they have seen an ``id`` or a ``retry``, the OpenAI and Anthropic SDKs for
    Python take every blank line for the end of an event, and that one would be empty.
    """

    alive = b": ka\n"

    def __init__(self, stream_id: str, dialect: Dialect, had: Had = NOTHING, past: Past | None = None) -> None:
        """Speak to a reader who had ``had`` and came when the log held ``past``."""
        self.cut = dialect.cut
        self._stream_id = stream_id
        self._teller = Teller(stream_id, dialect, had, past)

    def opening(self, retry_ms: int) -> bytes:  # noqa: ARG002 - its clients know themselves when to come back
        """Return a comment."""
        return b": open\n"

    @property
    def ended(self) -> bool:
        """Whether the end, or an error that ends the answer, was told."""
        return self._teller.ended

    def tell(self, batch: Batch) -> list[Frame]:
        """Return the wire events of a batch that the reader did not have."""
        told: list[Frame] = []
        for one in pieces(batch):
            if self._teller.ended:
                break
            told += self._teller.fork() if isinstance(one, Fork) else self._teller.tell(one.entry)
        return told

    def frames(self, batch: Batch) -> bytes:
        """Return the SSE frames of a batch."""
        return self._framed(self.tell(batch))

    def directly(self, entry: Entry, *, chunked: bool) -> bytes:
        """Return the entry's frames; nothing where it comes to nothing."""
        frames = self.frames([Piece(entry)])
        return _chunk(frames) if chunked and frames else frames

    def error(self, error: TailraceError) -> bytes:
        """Return the frames by which the dialect fails, without ids."""
        return self._framed(self.fail(error))

    def fail(self, error: TailraceError) -> list[Frame]:
        """Return the wire events by which the dialect tells an error that is not in the log."""
        return self._teller.fail(error)

    def _framed(self, told: Iterable[Frame]) -> bytes:
        """Return wire events as SSE frames, with their places as ids."""
        parts: list[bytes] = []
        for event, place in told:
            if place is not None:
                parts.append(b"id: %s\n" % place.text(self._stream_id).encode())
            if event.name:
                parts.append(b"event: %s\n" % event.name.encode())
            parts.append(b"data: %s\n\n" % event.data)
        return b"".join(parts)


def _chunk(frames: bytes) -> bytes:
    """Return frames as one chunk of HTTP/1.1."""
    return b"%x\r\n%b\r\n" % (len(frames), frames)
