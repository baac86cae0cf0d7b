"""What the relay says on a socket: one JSON object a message, ``type`` first."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from relay.dialects.telling import Frame
from relay.reading.native import Told
from shared.errors import TailraceError
from shared.events import encoded_type

Reason = Literal["ended", "asked", "expired", "error"]
"""Why a stream is followed no more: it ended; the client wished so; its link's time was up; an ``error`` said why."""

_encoder = msgspec.json.Encoder()


def say(kind: str, request_id: str | None = None, **fields: Any) -> bytes:
    """Return a message, with the id of the request it answers, and without the fields that are None."""
    named = {"type": kind, "id": request_id, **fields}
    return _encoder.encode({name: value for name, value in named.items() if value is not None})


def say_error(error: TailraceError, request_id: str | None = None, stream_id: str | None = None) -> bytes:
    """Return the message of an error: the fields that every error has, the stream under ``stream``."""
    fields = error.fields()
    about = fields.pop("stream_id", stream_id)
    return say("error", request_id, stream=about, **fields)


def say_event(stream_id: str, event: Told) -> bytes:
    """Return the message of an event of the native dialect."""
    told = (stream_id.encode(), event.offset, encoded_type(event.line), event.line)
    return b'{"type":"event","stream":"%s","offset":"%s","event":"%s","data":%s}' % told


def say_wire_event(stream_id: str, frame: Frame) -> bytes:
    """Return the message of a wire event of another dialect. What is no JSON, as some last words, is a string.

    One without an offset is an error that is not in the log.
    """
    (data, name), place = frame
    offset = None if place is None else place.text(stream_id)
    shown = msgspec.Raw(data) if data.startswith(b"{") else data.decode()
    return say("event", stream=stream_id, offset=offset, event=name or None, data=shown)
