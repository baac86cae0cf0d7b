"""The keeper rides out whatever Redis answers: a worker ends when it is told to, not when a tick fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from shared import keys
from shared.cluster_map import slot_of
from shared.redis_client import streams_redis
from shared.settings import Settings
from tests.conftest import StartRedis, StartService
from tests.core.system import System, working
from tests.support import eventually
from tests.support_cluster import ClusterSet
from tests.support_redis import RedisProcess
from worker.app import WorkerService


async def test_a_worker_outlives_a_redis_that_refuses_to_say_whose_lease_is_over(
    redis_server: StartRedis, worker_process: StartService
) -> None:
    """Every script is refused, as while Redis loads or fails over in the middle of a tick; then all is well again."""
    server = redis_server()
    worker = await worker_process(TAILRACE_REDIS_URL=server.url, TAILRACE_SIM="true").ready()
    with Redis.from_url(server.url) as admin:
        admin.execute_command("ACL SETUSER default -eval -evalsha")
        lost = await worker.event("worker.redis_lost")
        assert lost["error"] == "NoPermissionError"
        admin.execute_command("ACL SETUSER default +eval +evalsha")
    worker.terminate()
    assert await worker.ended() == 0


class Scene:
    """A worker that runs streams on every server of a cluster."""

    def __init__(self, worker: WorkerService, system: System, owners: dict[str, RedisProcess]) -> None:
        """Take the worker, the other side, and which server has which stream."""
        self.worker = worker
        self.system = system
        self.owners = owners
        self.hung = next(iter(owners.values()))

    def on_hung(self, *, hung: bool) -> set[str]:
        """Return the streams that are on the server that is to hang, or those that are not."""
        return {stream_id for stream_id, owner in self.owners.items() if (owner is self.hung) is hung}

    async def all_whole(self, attempts: set[int]) -> None:
        """Check that every stream completes, after one of so many attempts."""
        for stream_id in self.owners:
            record = await self.system.ended(stream_id, 20)
            assert record.status == "completed"
            assert record.attempts in attempts


@asynccontextmanager
async def spread(redis: AsyncRedis, cluster: ClusterSet, settings: Settings) -> AsyncIterator[Scene]:
    """Run a worker and a dozen streams."""
    streams = streams_redis(settings)
    system = System(redis, settings, streams)
    async with working(settings) as worker:
        ids = [await system.start(tokens=60, per_second=20) for _ in range(12)]
        owners = {one: await cluster.owner(slot_of(keys.record(one))) for one in ids}
        running = worker.supervisor.running
        await eventually(lambda: all(one in running and len(running[one].writer.entries) > 3 for one in ids), 10)
        yield Scene(worker, system, owners)
    await streams.aclose()


async def test_leases_are_renewed_while_a_server_of_the_streams_hangs(
    redis: AsyncRedis, redis_url: str, cluster: ClusterSet
) -> None:
    """Longer than a lease: nobody may take over what is alive, least of all the streams on the other servers."""
    settings = Settings(redis_url=redis_url, streams_url=cluster.url, redis_timeout_s=4, lease_s=0.8, sim=True)
    async with spread(redis, cluster, settings) as scene:
        scene.hung.pause()
        try:
            now_s = float((await redis.time())[0])
            until_s = now_s + 2
            while now_s < until_s:
                seconds, microseconds = await redis.time()
                now_s = seconds + microseconds / 1e6
                assert await redis.zrangebyscore(keys.LEASES, "-inf", now_s * 1000) == []
                await eventually(lambda: redis.zcard(keys.LEASES))
        finally:
            scene.hung.resume()
        await scene.all_whole({1})
    await eventually(cluster.settled, 10)


async def test_streams_whose_server_is_away_too_long_are_given_up_and_no_others(
    redis: AsyncRedis, redis_url: str, cluster: ClusterSet
) -> None:
    """After ``detached_s`` their calls are stopped, since another worker may reach it; later attempts finish them."""
    settings = Settings(
        redis_url=redis_url, streams_url=cluster.url, redis_timeout_s=0.5, lease_s=1, detached_s=1, sim=True
    )
    async with spread(redis, cluster, settings) as scene:
        scene.hung.pause()
        try:
            running = scene.worker.supervisor.running
            await eventually(lambda: not scene.on_hung(hung=True) & set(running), 10, "they are given up")
            assert scene.on_hung(hung=False) <= set(running)
        finally:
            scene.hung.resume()
        await scene.all_whole({1, 2})
        for stream_id in scene.on_hung(hung=False):
            assert (await scene.system.record(stream_id)).attempts == 1
    await eventually(cluster.settled, 10)


async def test_a_renewal_brings_no_stream_back_that_has_ended_meanwhile(redis: AsyncRedis, redis_url: str) -> None:
    """Its end has taken it out of the book; a lease that is put back would count it as active until it runs out."""
    settings = Settings(redis_url=redis_url, lease_s=10, detached_s=30, sim=True)
    system = System(redis, settings)
    async with working(settings) as worker:
        ended = asyncio.Event()

        async def renew() -> None:
            while not ended.is_set():
                await worker._keeper._renew()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(renew())
            for _ in range(5):
                ids = [await system.start(tokens=2) for _ in range(40)]
                for stream_id in ids:
                    await system.ended(stream_id, 20)
            await eventually(lambda: not worker.supervisor.running)
            ended.set()

        async def none_left() -> bool:
            return not await redis.zcard(keys.LEASES)

        await eventually(none_left, 2)
