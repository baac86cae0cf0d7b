"""Dispatch through arq: quick, fair, frugal, and alive after whatever Redis does. On real Redis servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import median

import pytest
from arq.constants import in_progress_key_prefix
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisLost
from structlog.testing import capture_logs

from shared import keys
from shared.jobs import ANY_JOB, PRODUCE, JobQueue, JobRedis, wake_workers
from shared.offset import new_stream_id
from shared.redis_client import queue_redis
from shared.settings import Settings
from tests.support import eventually
from tests.worker.support_dispatch import (
    NEVER_S,
    ClaimingSlots,
    Slots,
    dispatching,
    drained,
    enqueue,
    idle_in_blmpop,
    started,
)
from worker.dispatch import Dispatcher


@pytest.fixture(params=[True, False], ids=["ended-by-claim", "ended-by-arq"], autouse=True)
def ends_jobs(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Have jobs end as where queue and streams are one Redis, and as where they are two."""
    Slots.ends_jobs = request.param
    yield Slots.ends_jobs
    Slots.ends_jobs = False


@pytest.fixture
def queue(redis: Redis) -> JobQueue:
    """Give the relay's side of the queue."""
    return JobQueue(redis, Settings())


async def commands_per_s(redis: Redis, polls: int = 6) -> float:
    """Return the commands per second that Redis is given while ``polls`` more polls are made, without our own."""
    loop = asyncio.get_running_loop()

    async def counted() -> tuple[int, int]:
        stats = await redis.info("commandstats")
        counts = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}
        return counts.get("evalsha", 0), sum(calls for name, calls in counts.items() if name != "info")

    polls_before, commands_before = await counted()
    began = loop.time()

    async def polled() -> bool:
        return (await counted())[0] >= polls_before + polls

    await eventually(polled, deadline_s=30)
    return ((await counted())[1] - commands_before) / (loop.time() - began)


# Speed and cost


async def test_300_long_streams_in_flight_leave_pick_up_under_20_ms_and_commands_flat(
    redis_url: str, redis: Redis, queue: JobQueue
) -> None:
    """Streams in flight are none of Redis' queue's business: neither a new job nor an idle worker notices them."""
    slots, loop = Slots(), asyncio.get_running_loop()
    async with dispatching(redis_url, slots):
        await idle_in_blmpop(redis)
        idle = await commands_per_s(redis)
        assert idle <= 10

        await enqueue(queue, 300)
        await eventually(lambda: len(slots.running) == 300)
        await drained(redis)
        assert await commands_per_s(redis) <= idle * 1.25 + 1

        pick_ups = []
        for _ in range(31):
            await idle_in_blmpop(redis)
            began = loop.time()
            (stream_id,) = await enqueue(queue, 1)
            await started(slots, stream_id)
            pick_ups.append(slots.asked_at[stream_id] - began)
        assert median(pick_ups) < 0.020


async def test_a_job_whose_wake_was_lost_is_found_by_the_poll(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """The wake is a shortcut: the queue is the truth."""
    slots = Slots()
    (stream_id,) = await enqueue(queue, 1)
    await redis.delete(keys.WAKE)
    async with dispatching(redis_url, slots, poll_s=0.1):
        await eventually(lambda: slots.asked == [(stream_id, 1)])
        await redis.delete(keys.WAKE)
        await eventually(lambda: bool(slots.running))
        await drained(redis)


# Sharing


async def test_12_workers_with_10_slots_start_all_of_118_jobs(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """Nobody starves with 2 slots to spare, each stream runs once, and full workers stay within their slots."""
    claimed = set[str]()
    workers = [Slots(10, claimed) for _ in range(12)]
    first = await enqueue(queue, 50)
    async with asyncio.TaskGroup() as tasks:
        done = asyncio.Event()

        async def work(slots: Slots) -> None:
            async with dispatching(redis_url, slots):
                await done.wait()

        for slots in workers:
            tasks.create_task(work(slots))
        rest = await enqueue(queue, 68)
        await eventually(lambda: sum(len(slots.running) for slots in workers) == 118, deadline_s=15)
        await drained(redis)
        done.set()
    assert claimed == {*first, *rest}
    assert sum(len(slots.asked) for slots in workers) <= 118 * 1.5, "nearly all are asked for once"
    assert max(len(slots.running) for slots in workers) <= 10


async def test_jobs_that_others_have_in_progress_hide_nobody(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """However many jobs at the head of the queue are being started elsewhere, the one behind them is found."""
    held = await enqueue(queue, 350)
    for stream_id in held:
        await redis.set(f"{in_progress_key_prefix}{stream_id}:1", b"1", px=60_000)
    (behind,) = await enqueue(queue, 1)
    await redis.delete(keys.WAKE)
    slots = Slots()
    async with dispatching(redis_url, slots, poll_s=0.05):
        await eventually(lambda: slots.asked == [(behind, 1)])


async def test_a_full_worker_leaves_jobs_and_wakes_to_others(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """With polls out of the way: the full one asks for nothing, and one with room is woken at once."""
    full, free = Slots(1), Slots(10)
    async with dispatching(redis_url, full, poll_s=NEVER_S):
        await idle_in_blmpop(redis)
        (first,) = await enqueue(queue, 1)
        await eventually(lambda: full.running == {first})
        await drained(redis)
        waiting = await enqueue(queue, 3)
        await idle_in_blmpop(redis, workers=0)
        assert await redis.execute_command("LLEN", keys.WAKE) == 3
        async with dispatching(redis_url, free, poll_s=NEVER_S):
            await eventually(lambda: free.running == set(waiting))
            await idle_in_blmpop(redis)
            (last,) = await enqueue(queue, 1)
            await eventually(lambda: last in free.running)
        assert full.asked == [(first, 1)]


async def test_a_worker_that_fills_up_while_it_waits_passes_the_wake_on(
    redis_url: str, redis: Redis, queue: JobQueue
) -> None:
    """A takeover can use the last slot while the worker is first in line for a wake: the next in line gets it."""
    filled, free = Slots(1), Slots(10)
    async with dispatching(redis_url, filled, poll_s=NEVER_S):
        await idle_in_blmpop(redis, workers=1)
        async with dispatching(redis_url, free, poll_s=NEVER_S):
            await idle_in_blmpop(redis, workers=2)
            filled.running.add("taken over")
            (stream_id,) = await enqueue(queue, 1)
            await eventually(lambda: free.running == {stream_id}, deadline_s=2)
    assert filled.asked == []


async def test_a_wake_is_for_one_job(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """A burst spreads over the workers that wait, because the first one woken leaves the rest to their wakes.

    Nor does a job that comes due without a wake, as a retry or cron does, take the wake of another.
    """
    slots = Slots()
    pool = JobRedis(redis.connection_pool, expires_extra_ms=60_000)
    async with dispatching(redis_url, slots, poll_s=NEVER_S):
        await idle_in_blmpop(redis)
        due = datetime.now(UTC) + timedelta(milliseconds=20)
        for _ in range(5):
            await pool.enqueue_job(PRODUCE, new_stream_id(), 1, _defer_until=due)
        await eventually(lambda: datetime.now(UTC) > due)
        (woken,) = await enqueue(queue, 1)
        await eventually(lambda: bool(slots.running))
        await eventually(lambda: _jobs_left(redis, 5))
    assert slots.running == {woken}


async def test_a_worker_with_one_slot_is_not_deaf_after_a_wake_that_leads_nowhere(
    redis_url: str, redis: Redis, queue: JobQueue
) -> None:
    """While its stream was asked for, in vain, the slot was taken: the next wake must not wait for a poll."""
    over = new_stream_id()
    slots = ClaimingSlots(1, claimed={over})
    async with dispatching(redis_url, slots, poll_s=NEVER_S):
        await idle_in_blmpop(redis)
        slots.may_answer.clear()
        await wake_workers(redis, [f"{over}:1".encode()], 60_000)
        await eventually(lambda: slots.asked == [(over, 1)])
        (stream_id,) = await enqueue(queue, 1)
        slots.may_answer.set()
        await eventually(lambda: slots.running == {stream_id})


async def test_a_job_that_a_poll_starts_leaves_no_wake_behind(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """Nobody must be led nowhere by it, nor may it use up the room for wakes while all workers are full."""
    slots = Slots(2)
    waiting = await enqueue(queue, 4)
    async with dispatching(redis_url, slots, poll_s=NEVER_S):
        await eventually(lambda: len(slots.running) == 2)
        left = await redis.execute_command("LRANGE", keys.WAKE, 0, -1)
        assert left == [f"{stream_id}:1".encode() for stream_id in waiting if stream_id not in slots.running]


async def test_a_stop_lets_a_claim_end_whose_job_another_worker_has(redis_url: str, redis: Redis) -> None:
    """It may be granted: cut in two, the stream would wait for its lease."""
    slots, stream_id = Slots(), new_stream_id()
    slots.may_answer.clear()
    async with dispatching(redis_url, slots, poll_s=NEVER_S) as dispatcher:
        await idle_in_blmpop(redis)
        await wake_workers(redis, [f"{stream_id}:1".encode()], 60_000)
        await eventually(lambda: slots.asked == [(stream_id, 1)])
        async with asyncio.TaskGroup() as tasks:
            stop = tasks.create_task(dispatcher.stop(10))
            await idle_in_blmpop(redis, workers=0)
            assert not stop.done()
            slots.may_answer.set()
        assert slots.running == {stream_id}


async def test_a_wake_of_no_known_job_starts_the_longest_due_and_one_of_a_job_that_is_over_none(
    redis_url: str, redis: Redis, queue: JobQueue
) -> None:
    """A worker that is stopped gives back a wake that it could not read; a poll leaves those of its jobs behind."""
    slots = Slots()
    pool = JobRedis(redis.connection_pool, expires_extra_ms=60_000)
    async with dispatching(redis_url, slots, poll_s=NEVER_S):
        (over,) = await enqueue(queue, 1)
        await eventually(lambda: slots.running == {over})
        await drained(redis)
        await idle_in_blmpop(redis)
        due = datetime.now(UTC)
        waiting = [new_stream_id() for _ in range(3)]
        for number, stream_id in enumerate(waiting, 1):
            await pool.enqueue_job(
                PRODUCE,
                stream_id,
                1,
                _job_id=f"{stream_id}:1",
                _defer_until=due + timedelta(milliseconds=10 * number),
            )
        await eventually(lambda: datetime.now(UTC) > due + timedelta(milliseconds=40))
        await wake_workers(redis, [f"{over}:1".encode(), b"\xff", ANY_JOB], 60_000)
        await eventually(lambda: waiting[0] in slots.running)
        await eventually(lambda: _jobs_left(redis, 2))
        await idle_in_blmpop(redis)
    assert slots.running == {over, waiting[0]}


async def _jobs_left(redis: Redis, count: int) -> bool:
    return int(await redis.zcard(keys.QUEUE)) == count


async def test_a_nudge_makes_a_full_worker_look_at_once(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """With polls out of the way: each time the supervisor says that a slot is free, one more stream takes it."""
    slots, loop = Slots(1), asyncio.get_running_loop()
    async with dispatching(redis_url, slots, poll_s=NEVER_S) as dispatcher:
        await enqueue(queue, 4)
        ripe_s = loop.time() + 0.02
        await eventually(
            lambda: loop.time() > ripe_s
        )  # younger ones are left to their wakes, which are taken away here
        for place in range(1, 5):
            await eventually(lambda: bool(slots.running) and not dispatcher._worker.in_flight)
            assert len(slots.asked) == place
            await redis.delete(keys.WAKE)
            slots.running.clear()
            dispatcher.nudge()
        await drained(redis)


async def test_jobs_being_started_count_against_the_slots(
    redis_url: str, redis: Redis, queue: JobQueue, *, ends_jobs: bool
) -> None:
    """While accept has not answered, its slot is taken: no more jobs are asked for than there is room."""
    slots = ClaimingSlots(4) if ends_jobs else Slots(4)
    slots.may_answer.clear()
    async with dispatching(redis_url, slots, poll_s=0.02):
        await idle_in_blmpop(redis)
        await enqueue(queue, 9)
        await eventually(lambda: len(slots.asked) == 4)
        await commands_per_s(redis, polls=0)
        assert len(slots.asked) == 4
        slots.may_answer.set()
        await eventually(lambda: len(slots.running) == 4)
    assert len(slots.asked) == 4


# Stopping


async def test_stop_picks_nothing_more_and_waits_for_what_is_in_flight(
    redis_url: str, redis: Redis, queue: JobQueue
) -> None:
    """The job in flight gets its answer; the next one stays for another worker, with a wake."""
    stopping, other = Slots(), Slots()
    stopping.may_answer.clear()
    async with dispatching(redis_url, stopping, poll_s=NEVER_S) as dispatcher:
        (first,) = await enqueue(queue, 1)
        await eventually(lambda: bool(stopping.asked))
        await idle_in_blmpop(redis)
        async with asyncio.TaskGroup() as tasks:
            stop = tasks.create_task(dispatcher.stop(10))
            await idle_in_blmpop(redis, workers=0)
            (second,) = await enqueue(queue, 1)
            assert not stop.done()
            stopping.may_answer.set()
        assert stopping.running == {first}
    async with dispatching(redis_url, other):
        await eventually(lambda: other.asked == [(second, 1)])
        await drained(redis)


async def test_a_job_in_flight_past_the_deadline_is_left_to_another_worker(redis_url: str, queue: JobQueue) -> None:
    """It is cancelled, said once, and started elsewhere at once: its mark is gone with it."""
    stuck, other = Slots(), Slots()
    stuck.may_answer.clear()
    with capture_logs() as logged:
        async with dispatching(redis_url, stuck) as dispatcher:
            (stream_id,) = await enqueue(queue, 1)
            await eventually(lambda: bool(stuck.asked))
            await dispatcher.stop(0.05)
    assert [line["event"] for line in logged] == ["dispatch.jobs_cancelled"]
    async with dispatching(redis_url, other):
        await eventually(lambda: other.running == {stream_id})


async def test_stop_is_quick_and_gives_back_a_wake_it_may_have_taken(redis_url: str, redis: Redis) -> None:
    """A worker that waits for a wake stops within a moment, and the one after it is no worse off."""
    loop = asyncio.get_running_loop()
    async with dispatching(redis_url, Slots(), poll_s=NEVER_S) as dispatcher:
        await idle_in_blmpop(redis)
        began = loop.time()
        await dispatcher.stop(10)
        assert loop.time() - began < 5
    assert await redis.execute_command("LLEN", keys.WAKE) <= 1  # none when it was just between two waits


async def test_stop_before_and_after_run_does_nothing(redis_url: str) -> None:
    """A worker that fails while it starts may stop what never ran; and stopping twice is stopping."""
    settings = Settings(redis_url=redis_url)
    redis = queue_redis(settings)
    slots = Slots()
    dispatcher = Dispatcher(redis, settings, slots)
    await dispatcher.stop(1)
    await dispatcher.run()
    await dispatcher.stop(1)
    await redis.connection_pool.disconnect()


async def test_cancelling_run_ends_it_wherever_it_is(redis_url: str, queue: JobQueue) -> None:
    """A parent that falls takes dispatch along, also where redis-py loses the cancellation; the job stays queued."""
    settings = Settings(redis_url=redis_url)
    pool = queue_redis(settings)
    for turns in range(60):
        slots = Slots()
        slots.may_answer.clear()
        run = asyncio.create_task(Dispatcher(pool, settings, slots).run())
        [stream_id] = await enqueue(queue, 1)
        for _ in range(turns):
            await asyncio.sleep(0)
        run.cancel()
        _done, pending = await asyncio.wait((run,), timeout=5)
        assert not pending
        if (stream_id, 1) in slots.asked:
            assert f"{stream_id}:1".encode() in await pool.zrange(keys.QUEUE, 0, -1)
    await pool.connection_pool.disconnect()


async def test_a_job_that_is_no_more_is_not_waited_for(redis_url: str, queue: JobQueue, redis: Redis) -> None:
    """It was done in the moment when it was picked: what was asked for ahead takes no job's place any more."""
    slots = Slots()
    slots.may_answer.clear()
    [lost] = await enqueue(queue, 1)
    await redis.delete(f"arq:job:{lost}:1")
    async with dispatching(redis_url, slots) as dispatcher:
        await eventually(lambda: slots.asked == [(lost, 1)])
        await eventually(lambda: _gone(redis))
        await eventually(lambda: not dispatcher._worker.in_flight)
        slots.may_answer.set()
        [next_one] = await enqueue(queue, 1)
        await started(slots, next_one)


async def _gone(redis: Redis) -> bool:
    """Tell whether no job is queued."""
    return int(await redis.zcard(keys.QUEUE)) == 0


# Jobs that end with their claim


async def test_a_woken_job_is_marked_and_run_by_arq_only_where_its_claim_cannot_end_it(
    redis_url: str, redis: Redis, queue: JobQueue, *, ends_jobs: bool
) -> None:
    """It is in the queue until the claim is answered, so that others find it if this worker dies."""
    slots = Slots()
    slots.may_answer.clear()
    async with dispatching(redis_url, slots, poll_s=NEVER_S):
        await idle_in_blmpop(redis)
        (stream_id,) = await enqueue(queue, 1)
        await eventually(lambda: slots.asked == [(stream_id, 1)])
        await idle_in_blmpop(redis)
        assert await redis.zcard(keys.QUEUE) == 1
        assert bool(await redis.keys(f"{in_progress_key_prefix}*")) != ends_jobs
        slots.may_answer.set()
        await drained(redis)
    assert slots.asked == [(stream_id, 1)]
    assert not await redis.keys(f"*{stream_id}:1")


async def test_a_job_whose_claim_failed_is_found_again(redis_url: str, redis: Redis, queue: JobQueue) -> None:
    """By a poll, or by arq."""
    slots = Slots()
    slots.answer = RedisLost("gone")
    async with dispatching(redis_url, slots, poll_s=0.1):
        (stream_id,) = await enqueue(queue, 1)
        await eventually(lambda: slots.asked == [(stream_id, 1)])
        slots.answer = True
        await started(slots, stream_id)
        await drained(redis)
