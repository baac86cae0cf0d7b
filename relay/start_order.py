"""The steps of a start, in their order: admitted, kept, made, queued.

Each is idempotent, so that whoever finds one missing finishes it. Where the streams are on the queue's own server, a
start is one script and one round trip, and a stream that is refused, or was started before, leaves nothing behind.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
from redis.asyncio import Redis

from relay.live.hub import Hub
from shared import keys
from shared.admission import Admission, Admitted, Applicant, admitted
from shared.entry import Entry, encode_blob
from shared.events import StartEvent
from shared.jobs import JobQueue
from shared.offset import EntryId
from shared.record import Record
from shared.scripts import in_one, run_script
from shared.stream_log import StreamLog

FIRST_ENTRY = EntryId(0, 1)
_FIRST_ATTEMPT = 1


class StartOrder:
    """What a start asks of Redis. Every method raises ``RedisError`` when Redis does not answer."""

    def __init__(
        self, admission: Admission, stream_log: StreamLog, jobs: JobQueue, hub: Hub, only: Redis | None
    ) -> None:
        """Use the two sides of Redis; ``only`` is the one server that is both of them, if there is one."""
        self._admission = admission
        self._log = stream_log
        self._jobs = jobs
        self._hub = hub
        self._only = only

    async def begin(
        self, applicant: Applicant, record: Record, keep: bytes | None, *, followed: bool
    ) -> tuple[Admitted, bool]:
        """Admit the stream, and tell whether it is made and queued by that too; if not, ``finish`` must follow.

        One that is to be ``followed`` is heard from its first entry on, so that its reader need not read the log.
        """
        if self._only is None or keep is not None:
            return await self._admission.admit(applicant), False
        stream_id, made = applicant.stream_id, False
        if followed:
            await self._hub.expect(stream_id)
        try:
            answer = await self._at_once(self._only, applicant, record)
            made = answer.status == "admitted"
        finally:
            if followed and not made:
                self._hub.expect_no_more(stream_id)
        return answer, made

    async def _at_once(self, only: Redis, applicant: Applicant, record: Record) -> Admitted:
        """Take all steps in one, and publish the log's first entry."""
        stream_id = applicant.stream_id
        steps = (
            self._admission.admission(applicant),
            self._log.creation(stream_id, record, _first_entry(stream_id, record)),
            self._jobs.job(stream_id, _FIRST_ATTEMPT),
        )
        return admitted(applicant, await run_script(only, *in_one("start", steps, keys.live(stream_id))))

    async def finish(self, stream_id: str, record: Record, keep: bytes | None, *, new: bool) -> Record | None:
        """Make an admitted stream, unless it is there, and queue its job; return its record, None if it has vanished.

        ``keep`` is kept before anybody can end the stream.
        """
        if keep is not None:
            await self._log.kept.keep(stream_id, keep)
            record = replace(record, kept=True)
        created = await self._log.create(stream_id, record, _first_entry(stream_id, record), new=new)
        await self._jobs.enqueue(stream_id, _FIRST_ATTEMPT)
        return record if created else await self._log.record(stream_id)


def _first_entry(stream_id: str, record: Record) -> Entry:
    """Return the entry that every log begins with: the start event."""
    asked = msgspec.json.decode(record.request).get("max_tokens")
    clamped = asked if asked is not None and asked > record.max_tokens else None
    start = StartEvent(
        stream_id, record.provider, record.model, record.created_ms, record.max_tokens, clamped, record.metadata
    )
    return Entry(FIRST_ENTRY, encode_blob([start], record.created_ms))
