"""Redis restarts, fails over, fills up and refuses under running streams: none fails, and nobody is asked twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from tests.conftest import StartRedis, StartService
from tests.e2e.crowd import Crowd, environment, request, said, start_refused, watched_worker
from tests.messages_script import Script
from tests.messages_server import MessagesServer
from tests.support import eventually, free_port
from tests.support_sentinel import SentinelSet
from tests.support_services import Service

PASSWORD = "correct-horse-battery"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Give an HTTP session for any number of connections."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as opened:
        yield opened


@pytest.fixture
async def provider() -> AsyncIterator[MessagesServer]:
    """Give a provider that counts calls."""
    async with MessagesServer() as server:
        yield server


@dataclass
class Stand:
    """Two relays and two workers on one Redis, or one each."""

    relays: Sequence[Service]
    workers: Sequence[Service]

    @property
    def parts(self) -> list[Service]:
        """All of them."""
        return [*self.relays, *self.workers]

    def check_alive(self) -> None:
        """Check that no process has ended, and that none told a secret."""
        for part in self.parts:
            assert part.running, part.tail()
            assert PASSWORD not in part.output()


Build = Callable[..., Awaitable[Stand]]


@pytest.fixture
def build(relay_process: StartService, worker_process: StartService, provider: MessagesServer) -> Build:
    """Give what starts relays and workers on the Redis at a URL, with further settings."""

    async def made(redis_url: str, relays: int = 2, workers: int = 2, **more: str) -> Stand:
        env = environment(redis_url, provider.base_url, **more)
        stand = Stand([relay_process(**env) for _ in range(relays)], [worker_process(**env) for _ in range(workers)])
        for part in stand.parts:
            await part.ready(30)
        return stand

    return made


def passed(seconds: float) -> Callable[[], bool]:
    """Return a condition that is true once so many seconds have passed: how long an outage lasts."""
    until_s = asyncio.get_running_loop().time() + seconds
    return lambda: asyncio.get_running_loop().time() >= until_s


def check_provider(provider: MessagesServer, calls: int) -> None:
    """Check that so many calls were made, and each was read to its end."""
    assert len(provider.calls) == calls
    assert not [call for call in provider.calls if call.disconnected.is_set()]


async def longest_gap_s(session: aiohttp.ClientSession, port: int) -> float:
    """Return the bound below which all reads of a worker from its providers followed each other."""
    async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    found = [line for line in lines if line.startswith("tailrace_token_gap_seconds_bucket")]
    counts = [(float(line.split('le="')[1].split('"')[0]), float(line.split()[-1])) for line in found]
    return min(bound for bound, count in counts if count == counts[-1][1])


async def test_two_hundred_streams_outlive_a_killed_redis_without_another_provider_call(
    session: aiohttp.ClientSession,
    redis_server: StartRedis,
    provider: MessagesServer,
    build: Build,
    worker_process: StartService,
) -> None:
    """SIGKILL, and a start from the AOF 5 s later: the providers are read meanwhile, and every reader has it all."""
    server = redis_server()
    relays = (await build(server.url, workers=0)).relays
    watched = [await watched_worker(worker_process, environment(server.url, provider.base_url)) for _ in range(2)]
    stand = Stand(relays, [worker for worker, _port in watched])
    async with Crowd(session, stand.relays) as crowd:
        await crowd.start(200, request(tokens=70, per_second=6))
        await eventually(lambda: crowd.have(3), 30)
        server.kill()
        await eventually(passed(5), 10)
        assert await start_refused(session, stand.relays[0], request(1, 0))
        stand.check_alive()
        server.restart()
        await crowd.ended(60)
        crowd.check_whole(said(70))
    check_provider(provider, 200)
    assert max([await longest_gap_s(session, port) for _worker, port in watched]) <= 2.5
    stand.check_alive()


@pytest.mark.parametrize("how", ["killed", "hung", "by hand"])
async def test_fifty_streams_outlive_a_failover(
    session: aiohttp.ClientSession, tmp_path: Path, provider: MessagesServer, build: Build, how: str
) -> None:
    """Three Sentinels promote a replica: what it had not received is written again, and nobody is taken over."""
    async with SentinelSet(tmp_path, password=PASSWORD) as servers:
        # A long lease: this is about the failover, not about a worker that a busy machine lets starve meanwhile.
        stand = await build(servers.url, TAILRACE_LEASE_S="5")
        async with Crowd(session, stand.relays) as crowd:
            await crowd.start(50, request(tokens=90, per_second=10))
            await eventually(lambda: crowd.have(5), 30)
            old = await servers.primary()
            if how == "killed":
                old.kill()
            elif how == "hung":
                old.pause()
            else:
                await servers.fail_over()
            await crowd.ended(60)
            crowd.check_whole(said(90))
            assert await servers.primary() is not old
        check_provider(provider, 50)
        stand.check_alive()
        for part in stand.parts:
            part.end()


@pytest.mark.parametrize("how", ["full", "read-only"])
async def test_streams_wait_while_redis_refuses_writes_and_starts_are_told_to_come_back(
    session: aiohttp.ClientSession, redis_server: StartRedis, provider: MessagesServer, build: Build, how: str
) -> None:
    """``maxmemory`` reached under noeviction, or a primary made a replica for some seconds: then they go on."""
    server = redis_server()
    stand = await build(server.url)
    async with Crowd(session, stand.relays) as crowd, Redis(port=server.port) as operator:
        await crowd.start(20, request(tokens=60, per_second=10))
        await eventually(lambda: crowd.have(5), 20)
        if how == "full":
            await operator.config_set("maxmemory", "1")
        else:
            await operator.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
        for _ in range(3):
            assert await start_refused(session, stand.relays[0], request(1, 0))
        await eventually(passed(3), 10)
        assert not any(follower.kinds("end") for follower in crowd.followers)
        if how == "full":
            await operator.config_set("maxmemory", "0")
        else:
            await operator.execute_command("REPLICAOF", "NO", "ONE")
        await crowd.ended(40)
        crowd.check_whole(said(60))
    check_provider(provider, 20)
    stand.check_alive()


@pytest.mark.parametrize("detached_s", [15.0, 2.0])
async def test_streams_wait_while_redis_refuses_the_password_and_go_on_when_it_is_right_again(
    session: aiohttp.ClientSession, redis_server: StartRedis, provider: MessagesServer, build: Build, detached_s: float
) -> None:
    """Shorter than ``detached_s`` nothing is lost; after it the calls are stopped, and later attempts finish."""
    server = redis_server()
    async with Redis(port=server.port) as operator:
        await operator.config_set("requirepass", PASSWORD)
        url = server.url.replace("127.0.0.1", f":{PASSWORD}@127.0.0.1")
        stand = await build(url, TAILRACE_DETACHED_S=str(detached_s))
        async with Crowd(session, stand.relays) as crowd:
            await crowd.start(10, request(tokens=80, per_second=10))
            await eventually(lambda: crowd.have(5), 20)
            await operator.config_set("requirepass", "another")
            for kind in ("normal", "pubsub"):
                await operator.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            assert await start_refused(session, stand.relays[0], request(1, 0))
            await eventually(passed(5), 10)
            stopped = [call for call in provider.calls if call.disconnected.is_set()]
            assert len(stopped) == (10 if detached_s < 5 else 0)
            await operator.config_set("requirepass", PASSWORD)
            await crowd.ended(40)
            crowd.check_whole(said(80), attempts=2 if stopped else 1)
        stand.check_alive()
        await operator.config_set("requirepass", "")
    assert len(provider.calls) == 10 + len(stopped)


async def test_a_log_that_lost_what_its_reader_has_is_repaired_by_its_worker(
    session: aiohttp.ClientSession, redis_server: StartRedis, provider: MessagesServer, build: Build
) -> None:
    """Redis comes back without its last second, or even without the claim and the stream; the worker has it all."""
    server = redis_server(appendfsync="no")
    stand = await build(server.url, relays=1, workers=1)
    before = server.written_bytes
    async with Crowd(session, stand.relays) as crowd:
        await crowd.start(10, request(tokens=80, per_second=10))
        await eventually(lambda: crowd.have(5), 20)
        middle = server.written_bytes
        await crowd.start(5, request(tokens=80, per_second=10))
        await eventually(lambda: crowd.have(15), 20)
        server.lose_after(middle)
        await eventually(lambda: crowd.have(30), 20)
        server.lose_after(before)
        await crowd.ended(40)
        crowd.check_whole(said(80))
    check_provider(provider, 15)
    stand.check_alive()


@pytest.mark.parametrize("lost", ["the claim as well", "the text alone"])
async def test_what_redis_and_the_worker_have_both_lost_is_told_by_a_reset(
    session: aiohttp.ClientSession,
    redis_server: StartRedis,
    provider: MessagesServer,
    build: Build,
    worker_process: StartService,
    lost: str,
) -> None:
    """Another attempt says something else in the lost entries' places: the reader is told, never given a mixture."""
    server = redis_server(appendfsync="no")
    settings = {"TAILRACE_START_GRACE_S": "1", "TAILRACE_REDIS_TIMEOUT_S": "0.5"}
    stand = await build(server.url, relays=1, workers=1, **settings)
    stand.workers[0].pause()  # so that the stream is queued when its Redis is remembered
    first, second = "abcdefghij" * 20, "0123456789" * 20
    provider.say(Script(text=first, per_second=20), Script(text=second, per_second=100))
    async with Crowd(session, stand.relays) as crowd:
        await crowd.start(1, request(tokens=1, per_second=0))
        kept = server.written_bytes
        stand.workers[0].resume()
        await eventually(lambda: crowd.have(5), 20)
        kept = server.written_bytes if lost == "the text alone" else kept
        had = len(crowd.followers[0].kinds("delta"))
        await eventually(lambda: crowd.have(had + 30), 20)
        stand.workers[0].kill()
        server.lose_after(kept)
        env = environment(server.url, provider.base_url, **settings)
        await worker_process(**env).ready()
        await crowd.ended(40)
        follower = crowd.followers[0]
    assert [reset["keep_blocks"] for reset in follower.kinds("reset")][:1] == [0]
    text = follower.text
    at = len(text) - len(second)
    assert (text[:at], text[at:]) == (first[:at], second)
    assert at < had + 30, "what was lost is not in the text"
    assert follower.since_fork == sorted(set(follower.since_fork))
