"""A start in one script and one round trip, where streams and queue are one Redis.

A worker that has a vacancy is appointed in the same step: then the stream runs from the moment in which it exists, and
no job is queued, since there is nothing left to ask for.
"""

from __future__ import annotations

from redis.asyncio import Redis

from relay.first_entry import first_entry
from shared import keys
from shared.admission import Admission, Admitted, Applicant, admitted
from shared.appointments import MOST_BYTES, Appointment, appointing
from shared.claims import FIRST_ATTEMPT, AttemptEntry, Claim, fresh_token
from shared.events import AttemptEvent
from shared.jobs import JobQueue
from shared.leases import Leases
from shared.offset import FIRST_ENTRY
from shared.record import Record
from shared.scripts import in_one, run_script
from shared.stream_log import StreamLog


class AtOnce:
    """Starts streams at once. Raises ``RedisError`` when Redis does not answer."""

    def __init__(
        self, redis: Redis, admission: Admission, stream_log: StreamLog, jobs: JobQueue, leases: Leases
    ) -> None:
        """Use the one ``redis``, by which all the others work too."""
        self._redis = redis
        self._admission = admission
        self._log = stream_log
        self._jobs = jobs
        self._leases = leases

    async def start(self, applicant: Applicant, record: Record) -> Admitted:
        """Take all steps of a start in one, if it is admitted, and publish what the log begins with."""
        stream_id, first = applicant.stream_id, first_entry(applicant.stream_id, record)
        token, attempt = fresh_token(), _first_attempt(record)
        appointment = b""
        if len(record.request) <= MOST_BYTES:
            blob = attempt.before + str(FIRST_ENTRY).encode() + attempt.after
            appointment = Appointment(stream_id, token, record, first.blob, blob).encode()
        steps = (
            self._admission.admission(applicant),
            self._log.creation(stream_id, record, first),
            self._jobs.job(stream_id, FIRST_ATTEMPT),
            appointing(appointment),
            self._log.claiming(stream_id, Claim(0, token, worker_id=""), attempt),
            self._leases.renewal([stream_id]),
        )
        return admitted(applicant, await run_script(self._redis, *in_one("start", steps, keys.live(stream_id))))


def _first_attempt(record: Record) -> AttemptEntry:
    """Return the entry that tells the stream's first attempt."""
    event = AttemptEvent(FIRST_ATTEMPT, "first", "start", record.provider, record.model, "")
    return AttemptEntry.of(event, record.created_ms)
