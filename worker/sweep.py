"""Reading under load: what the providers have sent meanwhile is taken together, just before it is written.

An answer that its own task reads wakes that task for every token, which costs more than to decode it. The events would
only wait for the next group commit. So while commits follow each other, the answers' tasks sleep, and the publisher
takes what has come when it is about to write: for all of them or, where they are many, for half of them at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from shared.events import Event
from worker.llm import Finish

Take = Callable[[Sequence[Event | Finish]], bool]
"""Writes a batch that needs nothing but to be written; false where the answer's own task must see to it."""


_MANY = 80
"""From so many answers on, half of them are read at a time: to read and write all of them takes a worker, and then each
relay, some ten milliseconds, in which a new stream waits at each of its steps."""


class Sleeper(Protocol):
    """An answer whose task sleeps."""

    def receive(self) -> None:
        """Receive what has come, for ``read``. Quick, and raises nothing."""

    def read(self, now_s: float, /) -> None:
        """Tell what was received, at this time of the loop. Quick, and raises nothing."""

    def wake(self) -> None:
        """Let the task read by itself again. Idempotent."""


class Sweep:
    """The answers of one worker that are read together. ``on`` while there is somebody who runs it."""

    def __init__(self) -> None:
        """Begin with no answers, and off."""
        self.on = False
        self.took_s = 0.0
        """How long the last run took."""
        self._sleepers: OrderedDict[Sleeper, None] = OrderedDict()
        """In the order in which they are to be read."""

    @property
    def asleep(self) -> int:
        """How many answers are read here."""
        return len(self._sleepers)

    @property
    def runs(self) -> int:
        """In how many runs every answer is read once."""
        return 1 if len(self._sleepers) < _MANY else 2

    def join(self, sleeper: Sleeper) -> None:
        """Read this answer too, once in ``runs``, until it leaves."""
        self._sleepers[sleeper] = None

    def leave(self, sleeper: Sleeper) -> None:
        """Read this answer no more. Idempotent."""
        self._sleepers.pop(sleeper, None)

    def run(self) -> None:
        """Read the answers whose turn it is. Whoever runs it once runs it again soon, or ends it."""
        self.on = True
        now_s, began_s = asyncio.get_running_loop().time(), time.monotonic()
        turn = list(islice(self._sleepers, -(-len(self._sleepers) // self.runs)))
        for sleeper in turn:  # all calls to the kernel in a row: each makes the Python after it slower
            self._sleepers.move_to_end(sleeper)
            sleeper.receive()
        for sleeper in turn:
            sleeper.read(now_s)
        self.took_s = time.monotonic() - began_s

    def end(self) -> None:
        """Leave reading to the answers' own tasks."""
        self.on, self.took_s = False, 0.0
        for sleeper in self._sleepers:
            sleeper.wake()


@dataclass(frozen=True)
class Swept:
    """What an answer must know to be read in a sweep: which, and who takes what it reads."""

    sweep: Sweep
    take: Take
