"""Streams that are claimed for a worker as they start: no job, no claim of the worker's, and nothing lost by it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from relay.at_once import AtOnce
from shared import keys
from shared.admission import Applicant
from shared.appointments import MOST_BYTES, Vacancies
from shared.events import AttemptEvent
from shared.jobs import JobQueue
from shared.offset import new_stream_id
from shared.record import Record
from shared.settings import Settings
from tests.core.system import TENANT, System, request, working
from tests.support import eventually
from worker.app import WorkerService

GHOST = "worker-ghost"


@pytest.fixture
def system(redis: Redis, redis_url: str) -> System:
    """Give a system with short leases and the simulated model."""
    return System(redis, Settings(redis_url=redis_url, sim=True, lease_s=0.4, worker_drain_s=0.1, retry_delay_s=0.05))


@asynccontextmanager
async def vacant(system: System, **changes: float) -> AsyncIterator[WorkerService]:
    """Run a worker that has told its vacancies around a block."""
    async with working(system.settings.model_copy(update=changes)) as service:
        await eventually(lambda: vacancies(system, service.parts.worker_id), 5, "it tells its vacancies")
        yield service


@asynccontextmanager
async def ghost(system: System, count: int = 1000) -> AsyncIterator[None]:
    """Have a worker that hears what it is told, tells ``count`` vacancies, and does nothing else, around a block."""
    async with system.queue.pubsub() as pubsub:
        await pubsub.subscribe(keys.worker_appointments(GHOST))
        await eventually(pubsub.get_message, 5, "it listens")
        await Vacancies(system.queue).tell(GHOST, count)
        yield


async def vacancies(system: System, worker_id: str) -> int:
    """Return how many vacancies of the worker Redis knows."""
    return int(await system.queue.execute_command("HGET", keys.VACANCIES, worker_id) or 0)


async def queued(system: System) -> bool:
    """Tell whether a job waits."""
    return bool(await system.queue.zcard(keys.QUEUE))


async def attempts(system: System, stream_id: str) -> list[str]:
    """Return why each attempt of the stream was made."""
    return [event.reason for event in await system.events(stream_id) if isinstance(event, AttemptEvent)]


async def test_a_stream_is_a_worker_s_from_its_start(system: System) -> None:
    """No job is ever queued for it."""
    before = await _jobs(system)
    async with vacant(system) as service:
        await eventually(lambda: service.parts.leases.earliest_s(0) > -math.inf, 5, "it knows Redis's time")
        stream_id = await system.start(tokens=3)
        record = await system.record(stream_id)
        assert (record.worker, record.attempts) == (service.parts.worker_id, 1)
        assert (await system.ended(stream_id)).status == "completed"
        assert await _jobs(system) == before
    assert await attempts(system, stream_id) == ["first"]


async def test_without_a_vacancy_the_job_waits_for_a_worker(system: System) -> None:
    """As it does where every worker is full."""
    stream_id = await system.start(tokens=1)
    assert await queued(system)
    assert (await system.record(stream_id)).status == "queued"
    async with working(system.settings):
        assert (await system.ended(stream_id)).status == "completed"


async def test_who_starts_while_others_wait_waits_behind_them(system: System) -> None:
    """A slot that has just become free is theirs."""
    await system.start(tokens=1)
    async with ghost(system):
        later = await system.start(tokens=1)
    assert (await system.record(later)).worker == ""


async def test_a_large_request_is_fetched_by_who_takes_its_job(system: System) -> None:
    """Redis would have to hold it back for the worker's connection, and cut that off after some of them."""
    before = await _jobs(system)
    async with vacant(system) as service:
        small = request(tokens=1)
        large = small.model_copy(update={"system": "x" * MOST_BYTES})
        stream_id = (await system.starter.start(TENANT, large, None)).stream_id
        assert (await system.ended(stream_id)).status == "completed"
        assert (await system.record(stream_id)).worker == service.parts.worker_id
        assert await _jobs(system) == before + 1


async def test_a_worker_that_has_died_is_appointed_no_more(system: System) -> None:
    """Nobody hears what it is told, which is noticed at once: the job is queued, and its vacancies are forgotten."""
    await Vacancies(system.queue).tell(GHOST, 1000)
    stream_id = await system.start(tokens=1)
    assert await queued(system)
    assert (await system.record(stream_id)).worker == ""
    assert await vacancies(system, GHOST) == 0


async def test_the_living_one_of_two_is_appointed(system: System) -> None:
    """Whoever has the more vacancies, if it hears of it."""
    async with vacant(system) as service:
        await Vacancies(system.queue).tell(GHOST, 1000)
        stream_id = await system.start(tokens=1)
        assert (await system.record(stream_id)).worker == service.parts.worker_id
        async with ghost(system):
            stream_id = await system.start(tokens=1)
            assert (await system.record(stream_id)).worker == GHOST
            assert (await system.ended(stream_id)).worker == service.parts.worker_id


async def test_a_worker_that_hears_and_does_nothing_costs_its_streams_a_lease(system: System) -> None:
    """Then another takes them over, and no more are claimed for it."""
    async with vacant(system), ghost(system):
        stream_id = await system.start(tokens=3)
        assert (await system.record(stream_id)).worker == GHOST
        assert (await system.ended(stream_id)).status == "completed"
        assert await vacancies(system, GHOST) == 0
    assert await attempts(system, stream_id) == ["first", "lease_expired"]


async def test_vacancies_are_used_up(system: System) -> None:
    """One by each stream; then jobs are queued."""
    async with ghost(system, count=2):
        for left in (1, 0):
            await system.start(tokens=1)
            assert await vacancies(system, GHOST) == left
        assert not await queued(system)
        await system.start(tokens=1)
        assert await queued(system)


async def test_a_start_that_is_repeated_appoints_nobody_else(system: System) -> None:
    """Its answer was lost. Two workers with one token would write into each other's log."""
    record = Record(TENANT, "sim", "sim", 1, 100, {}, request(tokens=1).model_dump_json().encode())
    applicant = Applicant(new_stream_id(), TENANT, None, "hash", 1)
    at_once = AtOnce(system.queue, system.admission, system.log, JobQueue(system.queue, system.settings), system.leases)
    async with ghost(system, count=5):
        for _ in range(2):
            assert (await at_once.start(applicant, record)).status == "admitted"
        assert await vacancies(system, GHOST) == 4
    assert await attempts(system, applicant.stream_id) == ["first"]


async def test_an_appointment_that_is_told_twice_is_one(system: System) -> None:
    """The stream runs here already."""
    async with system.queue.pubsub() as pubsub, vacant(system) as service:
        channel = keys.worker_appointments(service.parts.worker_id)
        await pubsub.subscribe(channel)
        await eventually(pubsub.get_message, 5, "it listens")
        stream_id = await system.start(tokens=20, per_second=100)
        message = await eventually(pubsub.get_message, 5, "it is told")
        await system.queue.publish(channel, message["data"])
        assert (await system.ended(stream_id)).status == "completed"
    assert await attempts(system, stream_id) == ["first"]


async def test_a_full_worker_that_is_appointed_hands_the_stream_over(system: System) -> None:
    """What Redis knows of its vacancies may be a second old."""
    async with vacant(system, worker_slots=2) as full:
        running = [await system.start(tokens=1, first_token_ms=30_000) for _ in range(2)]
        await eventually(lambda: full.supervisor.room() == 0, 5, "it is full")
        await Vacancies(system.queue).tell(full.parts.worker_id, 5)
        stream_id = await system.start(tokens=1)
        async with vacant(system):
            assert (await system.ended(stream_id)).status == "completed"
        workers = {(await system.record(one)).worker for one in running}
        assert workers == {full.parts.worker_id}
    assert await attempts(system, stream_id) == ["first", "handed_over"]


async def test_a_worker_that_stops_is_appointed_no_more(system: System) -> None:
    """From the moment in which it is told to."""
    before = await _jobs(system)
    async with vacant(system) as service:
        await service._control.stop()
        assert await vacancies(system, service.parts.worker_id) == 0
        stream_id = await system.start(tokens=1)
        assert (await system.ended(stream_id)).status == "completed"
        assert await vacancies(system, service.parts.worker_id) == 0
        assert await _jobs(system) == before + 1


async def test_a_message_that_is_no_appointment_is_none(system: System) -> None:
    """Anybody who reaches Redis may publish one, and another version's may look different: a line in the log."""
    async with vacant(system) as service:
        for nonsense in (b"", b"\n", b"1\n", b"x\n\x80", b"1\n\x80", b"1\n\xff"):
            await system.queue.publish(keys.worker_appointments(service.parts.worker_id), nonsense)
        stream_id = await system.start(tokens=1)
        assert (await system.ended(stream_id)).status == "completed"
    assert await attempts(system, stream_id) == ["first"]


async def test_a_lost_connection_is_told_the_vacancies_again(system: System) -> None:
    """What was started meanwhile has gone by a job."""
    async with vacant(system) as service:
        await system.queue.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        stream_id = await system.start(tokens=1)
        assert (await system.ended(stream_id)).status == "completed"

        async def appointed() -> bool:
            again = await system.start(tokens=1)
            await system.ended(again)
            return await vacancies(system, service.parts.worker_id) > 0

        await eventually(appointed, 10, "it is appointed again")


@pytest.mark.parametrize("takers", [0, 1])
async def test_an_appointment_heard_late_is_claimed_once_more(system: System, takers: int) -> None:
    """The worker may have stood still: the stream is run only if it is still its own."""
    heard: list[bytes] = []
    async with system.queue.pubsub() as pubsub:
        await pubsub.subscribe(keys.worker_appointments(GHOST))
        await eventually(pubsub.get_message, 5, "it listens")
        await Vacancies(system.queue).tell(GHOST, 1)
        stream_id = await system.start(tokens=2)

        async def told() -> bool:
            message = await pubsub.get_message()
            heard.extend([message["data"]] if message and message["type"] == "message" else [])
            return bool(heard)

        await eventually(told, 5, "it is told")
    if takers:
        async with vacant(system):
            await system.ended(stream_id)
    calls = _provider_calls()
    made_ms, _, rest = heard[0].partition(b"\n")
    async with vacant(system, lease_s=5.0) as service:  # patient for a lease: it takes over nothing meanwhile
        late = b"%d\n%b" % (int(made_ms) - 10_000, rest)
        await system.queue.publish(keys.worker_appointments(service.parts.worker_id), late)
        other = await system.start(tokens=1)  # heard after it
        for one in (stream_id, other):
            assert (await system.ended(one)).status == "completed"
    assert _provider_calls() == calls + 2 - takers
    assert await attempts(system, stream_id) == (["first", "lease_expired"] if takers else ["first"])


def _provider_calls() -> float:
    """Return how many calls of the simulated provider there have been."""
    return REGISTRY.get_sample_value("tailrace_provider_calls_total", {"provider": "sim"}) or 0.0


async def _jobs(system: System) -> int:
    """Return how many jobs have been queued: each wakes a worker."""
    found = await system.queue.info("commandstats")
    return int(found.get("cmdstat_rpush", {"calls": 0})["calls"])
