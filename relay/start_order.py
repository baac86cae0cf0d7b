"""The steps of a start, in their order: admitted, kept, made, queued.

Each is idempotent, so that whoever finds one missing finishes it. Where the streams are on the queue's own server, a
start is one script and one round trip, and a stream that is refused, or was started before, leaves nothing behind.
"""

from __future__ import annotations

from dataclasses import replace

from relay.at_once import AtOnce
from relay.first_entry import first_entry
from relay.live.hub import Hub
from shared.admission import Admission, Admitted, Applicant
from shared.claims import FIRST_ATTEMPT
from shared.jobs import JobQueue
from shared.record import Record
from shared.stream_log import StreamLog


class StartOrder:
    """What a start asks of Redis. Every method raises ``RedisError`` when Redis does not answer."""

    def __init__(
        self, admission: Admission, stream_log: StreamLog, jobs: JobQueue, hub: Hub, at_once: AtOnce | None
    ) -> None:
        """Use the two sides of Redis; ``at_once`` where one server is both of them."""
        self._admission = admission
        self._log = stream_log
        self._jobs = jobs
        self._hub = hub
        self._at_once = at_once

    async def begin(
        self, applicant: Applicant, record: Record, keep: bytes | None, *, followed: bool
    ) -> tuple[Admitted, bool]:
        """Admit the stream, and tell whether that was all; if not, ``finish`` must follow.

        One that is to be ``followed`` is heard from its first entry on, so that its reader need not read the log.
        """
        if self._at_once is None or keep is not None:
            return await self._admission.admit(applicant), False
        stream_id, made = applicant.stream_id, False
        if followed:
            await self._hub.expect(stream_id)
        try:
            answer = await self._at_once.start(applicant, record)
            made = answer.status == "admitted"
        finally:
            if followed and not made:
                self._hub.expect_no_more(stream_id)
        return answer, made

    async def finish(self, stream_id: str, record: Record, keep: bytes | None, *, new: bool) -> Record | None:
        """Make an admitted stream, unless it is there, and queue its job; return its record, None if it has vanished.

        ``keep`` is kept before anybody can end the stream.
        """
        if keep is not None:
            await self._log.kept.keep(stream_id, keep)
            record = replace(record, kept=True)
        created = await self._log.create(stream_id, record, first_entry(stream_id, record), new=new)
        await self._jobs.enqueue(stream_id, FIRST_ATTEMPT)
        return record if created else await self._log.record(stream_id)
