"""What the tests of every decoder do with it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from shared.answer import Answer
from shared.events import BlockStartEvent, DeltaEvent, Event, decode_event, encode_event
from shared.models import Model
from worker.llm import Call, Finish
from worker.providers.decoder import Decoder

QUESTION = [{"role": "user", "content": "hi"}]


def call(model: Model, **changes: Any) -> Call:
    """Return a call; most of it usual."""
    return replace(Call(model, "m", QUESTION, 1000, stream_id="s1"), **changes)


def sse(*frames: dict[str, Any] | str) -> bytes:
    """Return frames without event names; text as it stands."""
    return b"".join(f"data: {frame if isinstance(frame, str) else json.dumps(frame)}\n\n".encode() for frame in frames)


def fed(decoder: Decoder, data: bytes, size: int | None = None) -> list[Event | Finish]:
    """Return all that a decoder tells of ``data``, fed in pieces of ``size`` bytes, and of the body's proper end."""
    step = size or max(1, len(data))
    out = [event for at in range(0, len(data), step) for event in decoder.feed(data[at : at + step])]
    return out if decoder.finished else out + decoder.at_end()


def folded(events: list[Event | Finish], before: Answer | None = None) -> Answer:
    """Return what the events add up to, each through its JSON as in the log."""
    whole = before or Answer()
    for event in events:
        if not isinstance(event, Finish):
            whole.apply(decode_event(encode_event(event)))
    return whole


def opened(text: str = "") -> Answer:
    """Return an answer with an open text."""
    before = Answer()
    before.apply(BlockStartEvent(0, "text"))
    before.apply(DeltaEvent(0, text=text))
    return before


def finish_of(events: list[Event | Finish]) -> Finish:
    """Return the finish that events end with."""
    assert isinstance(events[-1], Finish)
    return events[-1]
