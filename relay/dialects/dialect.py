"""What a dialect is: a pure, deterministic fold of a stream's events into one client's wire events.

Whoever reads a stream in a dialect gets what the fold of the whole log from its first entry makes, less what it had
before. So a resume needs no state but the log; and two readers, two relays or two tries can never differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from shared.answer import Answer
from shared.errors import TailraceError
from shared.events import Event
from shared.record import Record


class WireEvent(NamedTuple):
    """One event as a client is told it: an SSE frame, less its id."""

    data: bytes
    """One line."""
    name: str = ""
    """The SSE event's name; empty where the dialect gives none."""


class Projection(Protocol):
    """One stream as one dialect tells it. Made anew for each reading, and fed every event of the log in order.

    Deterministic: the same events always make the same wire events, whatever the time, the process or the reader.
    """

    def feed(self, event: Event, t_ms: int) -> Sequence[WireEvent]:
        """Return what the event comes to: nothing, one wire event, or several. ``t_ms`` is its entry's time.

        A ``ResetEvent`` is never fed; ``discard`` is called in its place. After the end event nothing follows.
        """
        ...

    def discard(self, keep_blocks: int) -> Sequence[WireEvent] | None:
        """Forget all blocks from number ``keep_blocks`` on, as if they had never been told, and return what says so.

        None where the dialect cannot say it: a reader who has any of them is then told by ``fail``, and one who has
        none goes on; a projection that numbers its wire events counts one for that failure. What else was told (the
        message's start, say) stays told: so nothing but what is about a block may come from the events of a block. An
        open block below ``keep_blocks`` stays open.
        """
        ...

    def fail(self, error: TailraceError) -> Sequence[WireEvent]:
        """Return what ends the answer with an error that is not in the log."""
        ...


Body = dict[str, Any]


@dataclass(frozen=True)
class Dialect:
    """One client wire format."""

    name: str
    """As in ``?format=``."""
    project: Callable[[str], Projection]
    """Make the projection of the stream with the id given."""
    whole: Callable[[str, Record, Answer], Body] | None = None
    """Make the JSON body of the non-streaming form, of an answer that has ended; None where there is no such form."""
    cut: bool = True
    """Whether a reader who must leave in the middle is cut off, since its client takes a clean end for the answer's."""
    filler: WireEvent | None = None
    """Told in place of each wire event that is withheld, where clients count by themselves what they are told."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of the SSE answer."""
