"""The queue of jobs, from the side that asks: arq's own format in Redis, written in one round trip with its wake.

A job's only content is which stream to produce and as which attempt. Its data is JSON, so that nobody who can write
to Redis can make a worker run code, which arq's default, pickle, would allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple, TypedDict
from uuid import uuid4

import msgspec
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, result_key_prefix, retry_key_prefix
from arq.jobs import Job, serialize_job
from arq.utils import timestamp_ms, to_unix_ms
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from shared import keys
from shared.scripts import Call, run_script
from shared.settings import Settings

PRODUCE = "produce"
"""The arq function that every job names."""
MOST_WAKES = 1000
"""Wakes kept for busy workers; beyond it a job waits for a worker's poll, which looks at the queue itself."""
ANY_JOB = b""
"""The wake of whichever job is due longest."""


class _JobData(TypedDict):
    """arq's job, under arq's names: try, function, arguments, keyword arguments, enqueue time in Unix ms."""

    t: int | None
    f: str
    a: list[Any]
    k: dict[str, Any]
    et: Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]  # what a datetime can hold


class Depth(NamedTuple):
    """How long the queue is: jobs not yet done, and how overdue the first of them is."""

    jobs: int
    oldest_s: float


class JobQueue:
    """Where relays put jobs and read how many wait. Every method raises ``RedisError`` when Redis does not answer."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        """Use the pool of the queue Redis; a job nobody has started is forgotten after ``running_ttl_s``."""
        self._redis = JobRedis(redis.connection_pool, expires_extra_ms=round(settings.running_ttl_s * 1000))

    async def enqueue(self, stream_id: str, attempt: int) -> bool:
        """Ask for the stream to be produced and wake a worker; false if this very job waits already.

        Idempotent while the job is queued or being started. After that it is queued again, and the worker's claim of
        the attempt refuses it: so a caller who does not know whether a call has worked repeats it.
        """
        return bool(await run_script(self._redis, *self.job(stream_id, attempt)))

    def job(self, stream_id: str, attempt: int) -> Call:
        """Return the call that does it."""
        return self._redis.queueing(f"{stream_id}:{attempt}", PRODUCE, (stream_id, attempt))

    async def depth(self) -> Depth:
        """Return how many jobs are not done and for how many seconds the first has been due."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.zcard(keys.QUEUE)
        pipe.zrange(keys.QUEUE, 0, 0, withscores=True)
        pipe.time()
        jobs, first, (seconds, microseconds) = await pipe.execute()
        due_s = first[0][1] / 1000 if first else seconds
        return Depth(jobs, max(seconds + microseconds / 1_000_000 - due_s, 0.0) if first else 0.0)


class JobRedis(ArqRedis):
    """arq's client with the three things it leaves open: an expiry on the queue, a wake, and JSON instead of pickle.

    Takes a pool or whatever else ``Redis`` takes, so that Sentinel's ``master_for`` can make one.
    """

    def __init__(self, pool_or_conn: Any = None, **options: Any) -> None:
        """Take the connection pool, and options as ``ArqRedis`` has them."""
        options = {"default_queue_name": keys.QUEUE} | options
        super().__init__(pool_or_conn, encode_job, decode_job, **options)

    async def enqueue_job(self, function: str, *args: Any, **options: Any) -> Job | None:
        """Queue one job as arq does, and return it, or ``None`` if its id is queued, running or has a result.

        Serves arq's cron as well. Of arq's options, ``_job_id`` and ``_defer_until`` are understood.
        """
        job_id: str = options.get("_job_id") or uuid4().hex
        queued = await run_script(self, *self.queueing(job_id, function, args, options.get("_defer_until")))
        return Job(job_id, self, self.default_queue_name, decode_job) if queued else None

    def queueing(self, job_id: str, function: str, args: tuple[Any, ...], due: datetime | None = None) -> Call:
        """Return the call that queues a job, due now by default; it answers 0 if its id is known."""
        data = serialize_job(function, args, {}, None, timestamp_ms(), serializer=encode_job)
        marks = (prefix + job_id for prefix in (job_key_prefix, in_progress_key_prefix, result_key_prefix))
        return Call(
            "enqueue",
            (self.default_queue_name, keys.WAKE, *marks),
            (job_id, data, to_unix_ms(due) if due else 0, self.expires_extra_ms, MOST_WAKES),
        )

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: FBT001, FBT002 - redis-py's
        """Return a pipeline that cannot re-create a queue that Redis has lost."""
        return _JobPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _JobPipeline(Pipeline):
    """What arq writes its retries through."""

    def zincrby(self, name: Any, amount: float, value: Any) -> Any:
        """Defer a job that is still queued. Plain ZINCRBY would bring back a lost queue, and without an expiry."""
        return self.zadd(name, {value: amount}, xx=True, incr=True)


NO_JOB = Call("end_job", (), ())
"""In place of a ``job_end``, where there is no job to end."""


def job_end(job_id: str) -> Call:
    """Return the call that ends a job which nobody has marked as in progress."""
    return Call("end_job", (keys.QUEUE, job_key_prefix + job_id, retry_key_prefix + job_id), (job_id,))


async def wake_workers(redis: Redis, wakes: Sequence[bytes], ttl_ms: int) -> None:
    """Put back wakes that were taken and cannot be used, so that other workers get them.

    A wake is the id of its job; or ``ANY_JOB``, where that is not known.
    """
    pipe = redis.pipeline(transaction=True)
    pipe.rpush(keys.WAKE, *wakes)
    pipe.ltrim(keys.WAKE, 0, MOST_WAKES - 1)
    pipe.pexpire(keys.WAKE, ttl_ms)
    await pipe.execute()


def encode_job(data: dict[str, Any]) -> bytes:
    """Return a job or a result as JSON; an exception in a result becomes its type's name alone, as texts may leak."""
    return msgspec.json.encode(data, enc_hook=_name_of_exception)


def decode_job(data: bytes) -> dict[str, Any]:
    """Return a job's fields. Raises ``msgspec.ValidationError`` or ``DecodeError`` for anything that is not one."""
    return dict(msgspec.json.decode(data, type=_JobData))


def _name_of_exception(value: object) -> str:
    if isinstance(value, BaseException):
        return type(value).__name__
    raise NotImplementedError
