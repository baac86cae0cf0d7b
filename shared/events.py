"""The canonical, provider-neutral events of a stream, and their JSON form (version 1).

The JSON of an event is made once, by the process that appends it, and is what the native dialect sends as SSE
data. ``type`` is always the first key, which is what lets a relay name an event without decoding it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

BlockKind = Literal["text", "thinking", "tool_use", "tool_result", "data"]
EndStatus = Literal["completed", "cancelled", "failed", "incomplete"]
AttemptReason = Literal["first", "lease_expired", "handed_over", "provider_error"]
AttemptMode = Literal["start", "prefill", "user_turn", "restart"]


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens used, as the provider counts them. Adds up over attempts."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Return the sum, field by field."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """Base of every event; it has no fields of its own."""


class StartEvent(_Event, frozen=True, tag="start"):
    """The stream exists. Always the first event, written by the relay that took the request."""

    stream_id: str
    provider: str
    model: str
    created_ms: int
    max_tokens: int
    max_tokens_asked: int | None = None
    """What the request asked for, when it was clamped to ``max_tokens``."""
    metadata: dict[str, str] = {}


class AttemptEvent(_Event, frozen=True, tag="attempt"):
    """A worker owns the stream from here on. ``follows`` names the entry it continues after (``attempt-seq``)."""

    attempt: int
    reason: AttemptReason
    mode: AttemptMode
    provider: str
    model: str
    follows: str


class StepEvent(_Event, frozen=True, tag="step"):
    """One provider call starts or stops; an attempt may make several."""

    phase: Literal["start", "stop"]
    step: int
    message_id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    source: str | None = None


class BlockStartEvent(_Event, frozen=True, tag="block_start"):
    """A block of the answer opens. Several may be open at once; ``block`` counts from 0 over the whole stream."""

    block: int
    kind: BlockKind
    id: str | None = None
    """The tool call's id, for ``tool_use`` and ``tool_result``."""
    name: str | None = None
    """The tool's name for ``tool_use``; the provider's block type for ``data``."""
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """The provider's opaque content, byte-exact, for ``tool_result`` and ``data``."""
    source: str | None = None


class DeltaEvent(_Event, frozen=True, tag="delta"):
    """More of one block: exactly one of ``text``, ``json``, ``signature`` or ``data`` is given."""

    block: int
    text: str | None = None
    """Text of a ``text`` or ``thinking`` block."""
    json: str | None = None
    """A piece of a tool call's arguments; the pieces joined are one JSON document."""
    signature: str | None = None
    """A thinking block's signature, byte-exact."""
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """A provider's delta that has no canonical form, byte-exact."""


class BlockStopEvent(_Event, frozen=True, tag="block_stop"):
    """A block is complete."""

    block: int


class UsageEvent(_Event, frozen=True, tag="usage"):
    """What this step has used so far; a later one of the same step replaces it."""

    step: int
    usage: Usage


class DataEvent(_Event, frozen=True, tag="data"):
    """A provider's event that has no canonical form, passed through byte-exact."""

    name: str
    data: msgspec.Raw
    source: str | None = None


class ResetEvent(_Event, frozen=True, tag="reset"):
    """Discard every block whose number is ``keep_blocks`` or more; what follows takes their place."""

    keep_blocks: int
    reason: str


class ErrorEvent(_Event, frozen=True, tag="error"):
    """The answer failed; the end event follows. The same fields as the HTTP error."""

    code: str
    message: str
    retryable: bool
    retry_after_s: float | None = None


class EndEvent(_Event, frozen=True, tag="end"):
    """Nothing follows. ``usage`` is the sum over all attempts."""

    status: EndStatus
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Usage = Usage()


class UnknownEvent(msgspec.Struct, frozen=True):
    """An event of a newer version: carried along, never understood."""

    type: str
    raw: bytes


KnownEvent = (
    StartEvent
    | AttemptEvent
    | StepEvent
    | BlockStartEvent
    | DeltaEvent
    | BlockStopEvent
    | UsageEvent
    | DataEvent
    | ResetEvent
    | ErrorEvent
    | EndEvent
)
Event = KnownEvent | UnknownEvent

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[KnownEvent] = msgspec.json.Decoder(KnownEvent)
_PREFIX = b'{"type":"'
_TYPE_AT = len(_PREFIX)
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
KNOWN_TYPES = frozenset(
    ("start", "attempt", "step", "block_start", "delta", "block_stop", "usage", "data", "reset", "error", "end")
)


def encode_event(event: Event) -> bytes:
    """Return the event's one-line JSON, ``type`` first."""
    line = event.raw if isinstance(event, UnknownEvent) else _encoder.encode(event)
    if b"\n" in line or b"\r" in line:
        # Only a provider's raw JSON can bring them, and there only between tokens; inside a line they would end it.
        line = line.translate(_ONE_LINE)
    return line


def event_type(line: bytes) -> str:
    """Return the type of an encoded event without decoding it. Raises ``ValueError`` when it is no event."""
    return encoded_type(line).decode()


def encoded_type(line: bytes) -> bytes:
    """Return the type of an encoded event as it stands there. Raises ``ValueError`` when it is no event."""
    if not line.startswith(_PREFIX):
        message = "not an event: its first key is not a type"
        raise ValueError(message)
    return line[_TYPE_AT : line.index(b'"', _TYPE_AT)]


def decode_event(line: bytes) -> Event:
    """Return the event in ``line``; one of an unknown type comes back whole as ``UnknownEvent``.

    Raises ``msgspec.ValidationError`` when a known type lacks its fields, ``ValueError`` when it is no event at all.
    """
    kind = event_type(line)
    return _decoder.decode(line) if kind in KNOWN_TYPES else UnknownEvent(kind, line)
