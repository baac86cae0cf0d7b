"""What is read together is told together: deltas of one block that follow each other become one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from shared.events import DeltaEvent, Event


def merged(events: Sequence[Event]) -> list[Event]:
    """Return the events with each run of one block's text, or of one tool call's arguments, as one delta."""
    if (texts := _texts(events)) is not None:
        return [DeltaEvent(cast(DeltaEvent, events[0]).block, text="".join(texts))]
    told: list[Event] = []
    run: list[DeltaEvent] = []
    for event in events:
        if not isinstance(event, DeltaEvent) or (event.text is None and event.json is None):
            told += _joined(run)
            run = []
            told.append(event)
            continue
        if run and (run[0].block != event.block or (run[0].text is None) != (event.text is None)):
            told += _joined(run)
            run = []
        run.append(event)
    return told + _joined(run)


def _texts(events: Sequence[Event]) -> list[str] | None:
    """Return the texts of events that are all text of one block, as nearly all are; of others None."""
    texts: list[str] = []
    block = -1
    for event in events:
        if type(event) is not DeltaEvent or event.text is None or (texts and event.block != block):
            return None
        block = event.block
        texts.append(event.text)
    return texts or None


def _joined(run: Sequence[DeltaEvent]) -> list[Event]:
    """Return a run as one delta, if there is any."""
    if len(run) < 2:  # noqa: PLR2004 - nothing to join
        return list(run)
    if run[0].text is None:
        return [DeltaEvent(run[0].block, json=_text(one.json for one in run))]
    return [DeltaEvent(run[0].block, text=_text(one.text for one in run))]


def _text(pieces: Iterable[str | None]) -> str:
    return "".join(piece or "" for piece in pieces)
