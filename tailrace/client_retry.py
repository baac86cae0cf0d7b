"""When a client tries again, and when it gives up: one place for every request and every connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from shared.backoff import Backoff
from shared.errors import TailraceError
from tailrace.client_errors import AnswerTimeoutError, may_retry

_BASE_S = 0.25
_CAP_S = 10.0
_STEADY_S = 5.0
"""A connection that lived this long counts as progress, even if it brought no event: the stream may be queued."""


@dataclass(frozen=True)
class Timeouts:
    """How long a client waits for what, in seconds."""

    first_byte_s: float = 30.0
    """From sending a request until its answer begins; per try."""
    idle_s: float = 35.0
    """Silence, without even a heartbeat, after which a connection is taken for dead and the stream resumed."""
    total_s: float | None = None
    """For the whole answer, reconnecting included; then ``AnswerTimeoutError``. ``None``: as long as it takes."""
    start_s: float = 30.0
    """How long a start or a plain request is tried again before its error is raised."""
    lost_s: float = 120.0
    """How long a stream that has begun is tried to be resumed, without progress, before the error is raised."""

    def __post_init__(self) -> None:
        """Refuse what is not a positive time, with a ``ValueError``."""
        for name in ("first_byte_s", "idle_s", "total_s", "start_s", "lost_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                message = f"{name} must be a positive number of seconds"
                raise ValueError(message)


@dataclass(frozen=True)
class Reconnect:
    """Told before each wait: why something is tried again, and after how long."""

    reason: str
    delay_s: float
    tries: int
    """Failures in a row, this one included."""
    stream_id: str | None = None


class Recovery:
    """The patience of one request or one stream: judges failures, waits between tries, and starts over on progress."""

    def __init__(self, budget_s: float, deadline: float | None, notify: Callable[[Reconnect], None] | None) -> None:
        """Take how long failures may last (``budget_s``), the loop time by which all must be done, and who is told."""
        self.budget_s = budget_s
        self.deadline = deadline
        self._notify = notify
        self._backoff = Backoff(_BASE_S, _CAP_S)
        self._failing_since: float | None = None

    def limit_s(self, wait_s: float) -> float:
        """Return ``wait_s`` or what is left until the deadline, if that is less. Raises ``AnswerTimeoutError``."""
        if self.deadline is None:
            return wait_s
        left_s = self.deadline - asyncio.get_running_loop().time()
        if left_s <= 0:
            message = "the answer took longer than total_s allows; it goes on and can be followed"
            raise AnswerTimeoutError(message)
        return min(wait_s, left_s)

    def progress(self) -> None:
        """Note that something new arrived."""
        self._backoff.reset()
        self._failing_since = None

    def lived(self, lifetime_s: float) -> None:
        """Note how long a connection held that is now gone."""
        if lifetime_s >= _STEADY_S:
            self.progress()

    def told(self, retry_ms: int) -> None:
        """Take the reconnection time a server asks for (SSE ``retry:``) as the first delay's ceiling."""
        self._backoff.rebase(retry_ms / 1000)

    async def pause(self, error: TailraceError, *, stream_id: str | None = None, hopeful: bool = False) -> None:
        """Wait as long as ``error`` makes necessary; raise it where trying again is hopeless or has gone on too long.

        ``hopeful`` is the caller's knowledge that another try may work although the error says it will not.
        """
        if not hopeful and not may_retry(error):
            raise error
        now = asyncio.get_running_loop().time()
        if self._failing_since is None:
            self._failing_since = now
        # At least what the server asks for, and on top of it jitter, so that not all come back at that very moment.
        delay_s = (error.retry_after_s or 0.0) + self._backoff.next_s()
        if now + delay_s - self._failing_since > self.budget_s:
            raise error
        if self._notify is not None:
            self._notify(Reconnect(error.message, delay_s, self._backoff.failures, stream_id))
        await asyncio.sleep(self.limit_s(delay_s))
        self.limit_s(0.0)
