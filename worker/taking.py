"""What dispatch knows of the supervisor."""

from __future__ import annotations

from typing import Protocol

from shared.jobs import NO_JOB
from shared.scripts import Call


class Taking(Protocol):
    """Who takes streams while there is room."""

    @property
    def ends_jobs(self) -> bool:
        """Whether the claim of a first attempt takes a ``job_end`` with it."""

    async def accept(self, stream_id: str, attempt: int, job_end: Call = NO_JOB) -> bool:
        """Claim the stream for the attempt and start it in tasks of its own: true if it runs now. Idempotent.

        Whatever the claim is answered ends the job, where it can be in the same step. What fails after that is found
        by the stream's lease.
        """

    def room(self) -> int:
        """Return how many more streams can be taken now."""
