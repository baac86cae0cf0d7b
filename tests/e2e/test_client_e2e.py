"""The Python client and the command against real relays and workers: what dies in between goes unnoticed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.errors import GoneError, InvalidOffsetError, NotFoundError, UnauthorizedError, UnknownModelError
from tailrace import AnswerStream, Client, Event, Reconnect, ResetEvent, Timeouts
from tests.conftest import StartService
from tests.support import Process, clean_environment, eventually, free_port
from tests.support_services import Service

PATIENT = Timeouts(first_byte_s=10.0, idle_s=10.0, start_s=20.0, lost_s=30.0)


def question(tokens: int, per_second: float = 0.0, **script: object) -> str:
    """Return what makes the simulated model say so many words at such a pace."""
    return json.dumps({"tokens": tokens, "per_second": per_second, **script})


def words(count: int) -> str:
    """Return what it then says."""
    return " ".join(f"w{index}" for index in range(count))


@pytest.fixture
async def relay(relay_process: StartService) -> Service:
    """Give a relay on a port that it can be started on again."""
    return await relay_process(TAILRACE_SIM="true", TAILRACE_PORT=str(free_port()), TAILRACE_RETRY_MS="100").ready()


@pytest.fixture
async def worker(worker_process: StartService) -> Service:
    """Give a worker."""
    return await worker_process(TAILRACE_SIM="true").ready()


@pytest.fixture
def notes() -> list[Reconnect]:
    """Give the list of what the client says before it tries again."""
    return []


@pytest.fixture
async def client(relay: Service, worker: Service, notes: list[Reconnect]) -> AsyncIterator[Client]:
    """Give a client of a system that works."""
    assert worker.running
    async with Client(relay.url, timeouts=PATIENT, on_reconnect=notes.append) as opened:
        yield opened


async def read(stream: AnswerStream) -> list[Event]:
    """Return the events of a stream."""
    return [event async for event in stream]


async def test_a_question_is_answered(client: Client) -> None:
    """Asked, looked at and found again."""
    answer = await client.ask(question(50), metadata={"chat": "7"})
    assert (answer.text, answer.status) == (words(50), "completed")
    (summary,) = (await client.list(metadata={"chat": "7"})).streams
    state = await client.status(summary.id)
    assert (state.text, state.status) == (words(50), "completed")
    assert state.usage == answer.usage
    assert "sim" in {model.id for model in await client.models()}


async def test_readers_from_anywhere_get_the_same_events(client: Client) -> None:
    """One who asked, one who follows from the start, one from the middle, one by ``now``."""
    asked = client.stream(question(100, 200))
    async with asked:
        assert asked.id is not None
        seen, latecomer = await asyncio.gather(read(asked), read(client.follow(asked.id)))
        assert seen == latecomer
        whole = client.follow(asked.id)
        offsets = [whole.offset async for _event in whole]
        for place in range(0, len(offsets), 7):
            assert await read(client.follow(asked.id, offsets[place])) == seen[place + 1 :]
        assert await read(client.follow(asked.id, "now")) == []


async def test_a_relay_that_is_killed_and_comes_back_loses_and_repeats_nothing(
    client: Client, relay: Service, notes: list[Reconnect]
) -> None:
    """Twice in one answer; the worker goes on meanwhile."""
    asked = client.stream(question(300, 150))
    seen = []
    for deaths_before in (50, 150):
        async for event in asked:
            seen.append(event)
            if len(seen) == deaths_before:
                relay.kill()
                relay.start()
                await relay.ready()
                break
    reading = asyncio.create_task(read(asked))
    await eventually(lambda: "w200" in asked.text, 20)
    relay.kill()
    relay.start()
    seen += await reading
    assert asked.id is not None
    assert notes
    assert seen == await read(client.follow(asked.id))
    assert (await asked.result()).text == words(300)


async def test_a_worker_that_is_killed_is_taken_over_and_the_answer_is_whole(
    client: Client, worker: Service, worker_process: StartService
) -> None:
    """The reader sees a second attempt, and no word twice."""
    await worker_process(TAILRACE_SIM="true").ready()
    asked = client.stream(question(200, 100))
    reading = asyncio.create_task(read(asked))
    await eventually(lambda: "w30" in asked.text, 20)
    worker.kill()
    seen = await reading
    answer = await asked.result()
    assert answer.text == words(200)
    assert not any(isinstance(event, ResetEvent) for event in seen)


async def test_a_cancelled_answer_ends_for_every_reader(client: Client) -> None:
    """With what there was of it."""
    asked = client.stream(question(10_000, 100))
    async with asked:
        assert asked.id is not None
        readers = asyncio.gather(asked.result(), client.follow(asked.id).result())
        await eventually(lambda: "w10" in asked.text, 20)
        state = await client.cancel(asked.id)
        first, second = await readers
    assert state.status == first.status == second.status == "cancelled"
    assert first.text == second.text == state.text


async def test_leaving_an_answer_does_not_cancel_it(client: Client) -> None:
    """Whoever comes back finds it whole."""
    asked = client.stream(question(100, 200))
    async for _event in asked:
        break
    assert asked.id is not None
    assert (await client.follow(asked.id).result()).text == words(100)


async def test_refusals_have_their_classes(client: Client) -> None:
    """As the relay itself sends them."""
    with pytest.raises(UnknownModelError):
        await client.ask("Hi", model="nobody")
    with pytest.raises(NotFoundError):
        await client.status("a" * 26)
    asked = client.stream(question(1))
    await asked.result()
    assert asked.id is not None
    with pytest.raises(InvalidOffsetError):
        await read(client.follow(asked.id, "zzzz-00000001-00000001-000"))
    await client.delete(asked.id)
    await client.delete(asked.id)
    with pytest.raises(GoneError):
        await read(client.follow(asked.id))


async def test_a_wrong_key_is_refused(relay_process: StartService) -> None:
    """And the right one is not."""
    relay = await relay_process(TAILRACE_SIM="true", TAILRACE_API_KEYS='{"acme": "right-key"}').ready()
    async with Client(relay.url, "wrong-key") as client:
        with pytest.raises(UnauthorizedError):
            await client.models()
    async with Client(relay.url, "right-key") as client:
        assert await client.models()


# The command


class Terminal:
    """Starts ``tailrace`` commands; output and notes go to one file each."""

    def __init__(self, where: Path, url: str) -> None:
        """Take a directory and the relay."""
        self._where, self._env = where, clean_environment({"TAILRACE_URL": url})
        self.started: list[Process] = []

    def type(self, *arguments: str) -> Process:
        """Start a command."""
        log = self._where / f"tailrace-{len(self.started)}.log"
        process = Process([sys.executable, "-m", "tailrace", *arguments], log, env=self._env)
        self.started.append(process.start())
        return process


@pytest.fixture
async def terminal(relay: Service, worker: Service, tmp_path: Path) -> AsyncIterator[Terminal]:
    """Give a terminal whose relay works."""
    assert worker.running
    opened = Terminal(tmp_path, relay.url)
    yield opened
    for process in opened.started:
        process.end()


async def test_a_question_left_by_ctrl_c_can_be_resumed(terminal: Terminal) -> None:
    """By the very command that the first one named."""
    asked = terminal.type("ask", question(200, 60))
    await eventually(lambda: "w20" in asked.output(), 20)
    asked.interrupt()
    hint = await asked.line("goes on without you")
    assert await asked.ended() == 130
    resumed = terminal.type(*hint.split("'")[1].split()[1:])
    assert await resumed.ended() == 0
    assert resumed.output() == words(200) + "\n"


async def test_a_question_cancelled_by_ctrl_c_twice_is_cancelled(terminal: Terminal) -> None:
    """``tailrace status`` and ``tailrace follow`` agree on it."""
    asked = terminal.type("ask", question(10_000, 60))
    await eventually(lambda: "w10" in asked.output(), 20)
    asked.interrupt()
    hint = await asked.line("goes on without you")
    asked.interrupt()
    assert await asked.ended() == 130
    assert "tailrace: cancelled\n" in asked.output()
    stream_id = hint.split("--resume ")[1].split("'")[0]
    status = terminal.type("status", stream_id)
    assert await status.ended() == 0
    assert "status       cancelled" in status.output()
    followed = terminal.type("follow", stream_id)
    assert await followed.ended() == 1
    assert "the answer is cancelled" in followed.output()


async def test_relay_and_worker_can_be_started_by_the_command(
    redis_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """``tailrace relay`` and ``tailrace worker`` are the services themselves."""
    env = {"TAILRACE_REDIS_URL": redis_url, "TAILRACE_PORT": "0", "TAILRACE_SIM": "true"}
    services = []
    for name in ("relay", "worker"):
        command = [sys.executable, "-m", "tailrace", name]
        services.append(Process(command, tmp_path / f"{name}.log", env=clean_environment(env)).start())
        request.addfinalizer(services[-1].end)
    url = str((await services[0].event("relay.listening"))["url"])
    async with Client(url, timeouts=PATIENT) as client:
        assert (await client.ask(question(3))).text == words(3)
    for service in services:
        service.terminate()
        assert await service.ended(30) == 0
