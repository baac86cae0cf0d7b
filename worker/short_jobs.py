"""arq's worker for jobs that are over in milliseconds: started in one round trip, run and finished as arq does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from arq.constants import in_progress_key_prefix
from arq.cron import CronJob
from arq.jobs import SerializationError
from arq.typing import WorkerCoroutine
from arq.worker import Worker, func
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared import keys
from shared.jobs import PRODUCE, JobRedis, decode_job, encode_job
from shared.scripts import run_script

MOST_STARTING = 32
"""Jobs of one worker that are being started at once; more wait in the queue, where other workers see them."""
MOST_TRIES = 4
JOB_TIMEOUT_S = 30.0
HEALTH_S = 10.0
"""How often arq's health-check key is written; it expires one second after the next is due."""

_REST_S = 0.03
"""How long a job waits before arq's own steps, which are two transactions: its stream has been asked for already, and
the provider's call and the first token are not to wait for them."""

_NO_MORE = "job %s expired"
"""How arq says that a job's data is gone."""

log = structlog.get_logger()


class ShortJobs(Worker):
    """arq's worker with another way to start jobs; running, finishing, retrying, cron and health are arq's own."""

    def __init__(self, pool: JobRedis, produce: WorkerCoroutine, cron_jobs: Sequence[CronJob], poll_s: float) -> None:
        """Take arq's client, what a job runs, the cron jobs to serve, and how often ``heart_beat`` will be called."""
        super().__init__(
            functions=[func(produce, name=PRODUCE, max_tries=MOST_TRIES)],
            queue_name=pool.default_queue_name,
            cron_jobs=cron_jobs,
            redis_pool=pool,
            handle_signals=False,
            max_jobs=MOST_STARTING,
            job_timeout=JOB_TIMEOUT_S,
            keep_result=0,
            poll_delay=poll_s,
            health_check_interval=HEALTH_S,
            job_serializer=encode_job,
            job_deserializer=decode_job,
            log_results=False,
        )
        self.ctx["redis"] = pool

    def tasks_in(self, group: asyncio.TaskGroup, begins: Callable[[str], None], ended: Callable[[str], None]) -> None:
        """Run the jobs as tasks of ``group``, and call with its id ``begins`` before and ``ended`` after each."""
        self._group = group
        self._begins = begins
        self._ended = ended

    @property
    def in_flight(self) -> int:
        """How many jobs are being run now."""
        return len(self.tasks)

    def runs(self, job_id: str) -> bool:
        """Tell whether that job is being run now."""
        return job_id in self.tasks

    def cancel_all(self) -> None:
        """Cancel every job in flight; arq leaves them in the queue."""
        for task in self.tasks.values():
            task.cancel()

    async def start_due(self, line: Redis, most: int, named: Sequence[bytes] = (), ripe_ms: int = 0) -> None:
        """Mark due jobs as in progress, in one round trip, and run them: those named, and up to ``most`` others.

        The others have been due for ``ripe_ms``.
        """
        mark_ms = round(self.in_progress_timeout_s * 1000)
        found = await run_script(
            line,
            "start_jobs",
            (self.queue_name, keys.WAKE),
            (most, ripe_ms, in_progress_key_prefix, mark_ms, *named),
        )
        for name, score in zip(found[::2], found[1::2], strict=True):
            job_id = name.decode(errors="replace")
            self._begins(job_id)
            task = self._group.create_task(self.run_job(job_id, int(float(score))), name=f"job-{job_id}")
            self.tasks[job_id] = task
            task.add_done_callback(partial(self._forget, job_id))

    def _forget(self, job_id: str, task: asyncio.Task[None]) -> None:
        if self.tasks.get(job_id) is task:  # a job that was asked for again may have begun already
            del self.tasks[job_id]
            self._ended(job_id)

    async def run_job(self, job_id: str, score: int) -> None:
        """Run one job to its end as arq does. Raises nothing: a job must not end a worker that runs other streams.

        The mark of a job that could not be finished expires and the job is tried again; its lease is sooner.
        """
        await asyncio.sleep(_REST_S)
        try:
            await super().run_job(job_id, score)
        except (RedisError, OSError) as error:
            log.warning("dispatch.job_unfinished", job=job_id, error=type(error).__name__)
        except Exception:
            log.exception("dispatch.job_broken", job=job_id)


def quieten_arq() -> None:
    """Keep arq's warnings and failures, without its two INFO lines per job."""
    logging.getLogger("arq").setLevel(logging.WARNING)
    logging.getLogger("arq.worker").addFilter(_explained)


def _explained(record: logging.LogRecord) -> bool:
    """Keep the line about data that is no job, without the traceback: the sentence says it all.

    And no line for a job that is no more: somebody's claim has ended it since it was found.
    """
    if record.msg == _NO_MORE:
        return False
    if record.exc_info and isinstance(record.exc_info[1], SerializationError):
        record.exc_info = None
    return True
