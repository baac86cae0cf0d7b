"""What a followed stream says on its socket: batches as messages, in the native dialect or another one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from relay.dialects.telling import Frame
from relay.reading import native
from relay.reading.batch import Batch
from relay.reading.merging import merged
from relay.reading.subscription import Subscription
from relay.reading.voice import DialectVoice
from relay.websocket.words import say_event, say_wire_event
from shared.errors import TailraceError


class Said(NamedTuple):
    """One event as a message, and its offset; empty for an error that is not in the log."""

    offset: str
    message: bytes


class Speech(Protocol):
    """Turns what one subscription brings into messages."""

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        ...

    def say(self, batch: Batch) -> list[Said]:
        """Return the messages of what was read next."""
        ...

    def fail(self, error: TailraceError) -> list[Said]:
        """Return the messages by which the dialect itself tells an error that is not in the log."""
        ...


class NativeSpeech:
    """The native dialect, whose subscription stands where its client does."""

    def __init__(self, subscription: Subscription) -> None:
        """Speak for ``subscription``."""
        self._subscription = subscription

    @property
    def ended(self) -> bool:
        """Whether the end was said."""
        return self._subscription.ended

    def say(self, batch: Batch) -> list[Said]:
        """Return the messages of a batch, merged for a client that has fallen behind."""
        stream_id = self._subscription.stream_id
        tell = merged if self._subscription.catching_up else native.told
        return [Said(event.offset.decode(), say_event(stream_id, event)) for event in tell(stream_id, batch)]

    def fail(self, error: TailraceError) -> list[Said]:  # noqa: ARG002 - the socket's own ``error`` says it
        """Return nothing."""
        return []


class DialectSpeech:
    """Any other dialect, whose subscription reads from the stream's start."""

    def __init__(self, stream_id: str, voice: DialectVoice) -> None:
        """Say what ``voice`` tells."""
        self._stream_id = stream_id
        self._voice = voice

    @property
    def ended(self) -> bool:
        """Whether the end, or an error that ends the answer, was said."""
        return self._voice.ended

    def say(self, batch: Batch) -> list[Said]:
        """Return the messages of a batch."""
        return self._said(self._voice.tell(batch))

    def fail(self, error: TailraceError) -> list[Said]:
        """Return the messages by which the dialect fails."""
        return self._said(self._voice.fail(error))

    def _said(self, frames: Iterable[Frame]) -> list[Said]:
        """Return wire events as messages, with their places as offsets."""
        stream_id = self._stream_id
        return [
            Said("" if frame.place is None else frame.place.text(stream_id), say_wire_event(stream_id, frame))
            for frame in frames
        ]
