"""A reader's place in a dialect: which wire events it has, told by an offset of ours or by how many they are."""

from __future__ import annotations

import re
from typing import NamedTuple

from shared.offset import START, Offset

_PLACE = re.compile(r"(.{26})-([0-9]{3})")
_WHOLE_EVENT = 999
"""Of a reader whose offset is the native dialect's: it has all that an event comes to."""


class Place(NamedTuple):
    """One wire event: the event it comes from, and its number among those that this event comes to."""

    offset: Offset
    part: int

    def text(self, stream_id: str) -> str:
        """Return the opaque form: an offset with one more part; sorts as text, bound to its stream."""
        return f"{self.offset.text(stream_id)}-{self.part:03d}"

    @classmethod
    def parse(cls, text: str, stream_id: str) -> Place:
        """Return the place in ``text``, an offset of any dialect. Raises ``MalformedOffsetError``."""
        found = _PLACE.fullmatch(text)
        if found is None:
            return whole_event(Offset.parse(text, stream_id))
        return cls(Offset.parse(found[1], stream_id), int(found[2]))


NO_PLACE = Place(START, -1)


def whole_event(offset: Offset) -> Place:
    """Return the place of a reader who has all that the event at ``offset`` comes to."""
    return Place(offset, _WHOLE_EVENT)


class Mark(NamedTuple):
    """Where in a stream a wire event is: its place, and its number, counted from 0 over the whole stream."""

    place: Place
    number: int


class Had(NamedTuple):
    """Which wire events a reader has: all up to a place, or the first so many. By default, none."""

    place: Place = NO_PLACE
    total: int = 0

    def has(self, mark: Mark) -> bool:
        """Tell whether the reader has the wire event at ``mark``."""
        return mark.number < self.total or mark.place <= self.place

    def __bool__(self) -> bool:
        """Tell whether the reader has anything."""
        return self.total > 0 or self.place > NO_PLACE


NOTHING = Had()
