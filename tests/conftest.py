"""Fixtures of every test: a real Redis, killable servers and services, and the checks that nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.support import Process
from tests.support_cluster import ClusterSet
from tests.support_redis import RedisProcess, Server, clear, engine, find_binary, keys_without_expiry, start_shared
from tests.support_services import Service

StartRedis = Callable[..., RedisProcess]
StartService = Callable[..., Service]

_LAST_TURNS_S = 0.2
_USED = pytest.StashKey[str]()

hypothesis.settings.register_profile("tailrace", deadline=None, print_blob=True)
hypothesis.settings.load_profile("tailrace")


def pytest_report_header() -> str:
    """Say which Redis the tests are going to use."""
    version = engine()
    return f"redis: testcontainers, on Docker {version}" if version else f"redis: {find_binary()[1]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which Redis the tests have used; the header is not shown under ``-q``."""
    if used := config.stash.get(_USED, ""):
        terminalreporter.write_line(f"redis: {used}")


@pytest.fixture(scope="session")
def redis_session(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Server]:
    """Run the Redis that all tests share: a container where an engine answers, otherwise a private server."""
    server = start_shared(tmp_path_factory.mktemp("redis"))
    pytestconfig.stash[_USED] = server.label
    yield server
    server.end()


@pytest.fixture
def redis_url(redis_session: Server) -> Iterator[str]:
    """Give the URL of an empty Redis. Fails the test if it leaves a key that would stay for ever."""
    clear(redis_session.url)
    yield redis_session.url
    _refuse_lasting_keys(redis_session.url)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """Give a client of the empty Redis; answers are bytes."""
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(scope="session")
def cluster_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSet]:
    """Run the Redis Cluster of three primaries that tests share which do not break it."""
    servers = ClusterSet(tmp_path_factory.mktemp("cluster"), lasting=True)
    try:
        asyncio.run(servers.start())
        yield servers
    finally:
        servers.end()


@pytest.fixture
async def cluster(cluster_session: ClusterSet) -> AsyncIterator[ClusterSet]:
    """Give the cluster, empty. Fails the test if it leaves a key that would stay for ever."""
    await cluster_session.clear()
    yield cluster_session
    if names := await cluster_session.keys_without_expiry():
        pytest.fail(f"keys without an expiry were left in the cluster: {', '.join(names)}", pytrace=False)


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRedis]:
    """Start servers of the test's own: ``redis_server(maxmemory="50mb")``; options are spelled with ``_`` for ``-``.

    Each can be killed, paused, and started again on its port and data. Keys without expiry are looked for as ever.
    """
    servers: list[RedisProcess] = []

    def start(**options: str) -> RedisProcess:
        flags = {name.replace("_", "-"): value for name, value in options.items()}
        servers.append(RedisProcess(tmp_path_factory.mktemp("redis"), flags).start())
        return servers[-1]

    yield start
    try:
        for server in servers:
            if server.running:
                server.resume()
                _refuse_lasting_keys(server.url)
    finally:
        for server in servers:
            server.end()


def _refuse_lasting_keys(url: str) -> None:
    if keys := keys_without_expiry(url):
        pytest.fail(f"keys without an expiry were left in Redis: {', '.join(keys)}", pytrace=False)


@pytest.fixture
def relay_process(redis_url: str, tmp_path: Path) -> Iterator[StartService]:
    """Start real relays, each by its settings.

    ``relay = await relay_process(TAILRACE_SIM="true").ready()``; then ``relay.url``.
    """
    yield from _services("relay", "relay.listening", redis_url, tmp_path)


@pytest.fixture
def worker_process(redis_url: str, tmp_path: Path) -> Iterator[StartService]:
    """Start real workers, each by its settings; they are used as ``relay_process`` is."""
    yield from _services("worker", "worker.ready", redis_url, tmp_path)


def _services(module: str, ready_event: str, redis_url: str, logs: Path) -> Iterator[StartService]:
    services: list[Service] = []

    def start(**env: str) -> Service:
        log = logs / f"{module}-{len(services)}.log"
        service = Service(module, ready_event, log, {"TAILRACE_REDIS_URL": redis_url, "TAILRACE_PORT": "0"} | env)
        services.append(service)
        service.start()
        return service

    yield start
    for service in services:
        service.end()
    if told := [service.tail() for service in services if "Traceback (most recent call last)" in service.output()]:
        pytest.fail(f"a service printed a traceback:\n{told[0]}", pytrace=False)


@pytest.fixture(autouse=True)
def _nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a task pending or a child process alive."""
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("_no_task_left_pending")
    before = set(Process.alive)
    yield
    left = {process for process in Process.alive - before if not process.lasting}
    names = [process.name for process in left if process.running]
    for process in left:
        process.end()
    if names:
        pytest.fail(f"child processes were left running: {', '.join(names)}", pytrace=False)


@pytest.fixture
async def _no_task_left_pending() -> AsyncIterator[None]:
    """Fail a test after which the loop still has tasks, once those that are about to end have had a moment."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if not left:
        return
    _done, pending = await asyncio.wait(left, timeout=_LAST_TURNS_S)
    names = sorted(f"{task.get_name()} ({task.get_coro()})" for task in pending)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    if names:
        pytest.fail(f"tasks were left pending: {'; '.join(names)}", pytrace=False)
