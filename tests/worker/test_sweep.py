"""Reading in a sweep: what an answer brings is taken while its task sleeps, and the task is woken for all else.

What a provider does is tested both ways in ``test_providers``; here, that it happens, when, and how it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from itertools import pairwise

import pytest
from redis.asyncio import Redis

from shared.errors import ProviderError
from shared.events import DeltaEvent, Event
from shared.models import Model
from shared.stream_log import MAX_APPENDS, StreamLog
from tests.faults.links import Fate, Link
from tests.messages_script import Script, whole_text
from tests.messages_server import MessagesServer
from tests.support import eventually
from tests.support_redis import RedisProcess
from tests.worker.support_sweep import sweeping
from tests.worker.test_publisher import SETTINGS, granted, publishing
from worker.llm import Call, Finish
from worker.providers.anthropic import AnthropicProvider
from worker.providers.upstream import Limits
from worker.sweep import Sweep, Swept

CALL = Call(Model(provider="anthropic"), "m-1", [{"role": "user", "content": "hi"}], 1000)
LIMITS = Limits(first_token_s=20, idle_s=0.5, calls=10)


@pytest.fixture
async def server() -> AsyncIterator[MessagesServer]:
    """Give a Messages server."""
    async with MessagesServer() as running:
        yield running


@pytest.fixture
async def provider(server: MessagesServer) -> AsyncIterator[AnthropicProvider]:
    """Give a provider that talks to it."""
    talking = AnthropicProvider(api_key="sk-test", limits=LIMITS, base_url=server.base_url)
    yield talking
    await talking.aclose()


class Reader:
    """Reads one answer, and counts the batches that the sweep has brought, of which it takes ``most``."""

    def __init__(self, provider: AnthropicProvider, sweep: Sweep, most: int = 1000) -> None:
        """Read with ``sweep``."""
        self.taken = self.refused = 0
        self._most = most
        self.events: list[Event | Finish] = []
        self._batches = provider.stream(CALL, Swept(sweep, self._take))

    def _take(self, batch: Sequence[Event | Finish]) -> bool:
        """Take a plain batch, unless there were enough."""
        if isinstance(batch[-1], Finish) or self.taken == self._most:
            self.refused += 1
            return False
        self.taken += 1
        self.events += batch
        return True

    async def read(self) -> str:
        """Return the text, as it came. Raises ``ProviderError``."""
        async with aclosing(self._batches) as batches:
            async for batch in batches:
                self.events += batch
        return "".join(event.text or "" for event in self.events if isinstance(event, DeltaEvent))


async def test_a_paced_answer_is_read_while_its_task_sleeps(
    server: MessagesServer, provider: AnthropicProvider
) -> None:
    """In order, and all of it but its beginning and its end."""
    script = Script(tokens=100, per_second=500)
    server.say(script)
    async with sweeping() as sweep:
        reader = Reader(provider, sweep)
        assert await reader.read() == whole_text(script)
    assert reader.taken > 10
    assert reader.refused <= 1


@pytest.mark.parametrize("frames", [1, 2])
async def test_nothing_is_swept_before_the_first_token(
    server: MessagesServer, provider: AnthropicProvider, frames: int
) -> None:
    """It waits for nothing: until it is there, the answer's own task reads. A block that opens is not it."""
    server.say(Script(tokens=1, stall_at=frames))
    async with sweeping() as sweep:
        reader = Reader(provider, sweep)
        reading = asyncio.create_task(reader.read())
        await eventually(lambda: server.calls and server.calls[0].sent_frames == frames)
        await eventually(lambda: len(reader.events) == frames + 1)
        assert not sweep.asleep
        reading.cancel()
        await asyncio.wait([reading])


async def test_what_is_not_taken_is_told_in_its_place(server: MessagesServer, provider: AnthropicProvider) -> None:
    """As by a writer that is full: its task tells it, and waits for room."""
    script = Script(tokens=60, per_second=500)
    server.say(script)
    async with sweeping() as sweep:
        reader = Reader(provider, sweep, most=5)
        assert await reader.read() == whole_text(script)
    assert reader.taken == 5
    assert reader.refused > 1


async def test_a_sweep_that_ends_leaves_reading_to_the_task(
    server: MessagesServer, provider: AnthropicProvider
) -> None:
    """Nobody comes by any more, and the answer is read to its end all the same."""
    script = Script(tokens=200, per_second=500)
    server.say(script)
    async with sweeping() as sweep:
        reader = Reader(provider, sweep)
        reading = asyncio.create_task(reader.read())
        await eventually(lambda: reader.taken > 5)
    taken = reader.taken
    assert await asyncio.wait_for(reading, 10) == whole_text(script)
    assert reader.taken == taken


async def test_a_sweep_that_does_not_come_by_makes_no_provider_silent(
    server: MessagesServer, provider: AnthropicProvider
) -> None:
    """Longer than a provider may say nothing: what it has sent meanwhile counts, though nobody has read it."""
    script = Script(tokens=60, per_second=50)
    server.say(script)
    sweep = Sweep()
    sweep.run()  # on, and never again
    assert await asyncio.wait_for(Reader(provider, sweep).read(), 20) == whole_text(script)


async def test_a_provider_that_falls_silent_while_its_task_sleeps_is_told_of(
    server: MessagesServer, provider: AnthropicProvider
) -> None:
    """As if its task had read it."""
    server.say(Script(tokens=50, per_second=500, stall_at=30))
    async with sweeping() as sweep:
        reader = Reader(provider, sweep)
        with pytest.raises(ProviderError, match="fell silent"):
            await reader.read()
    assert reader.taken


class BrokenReader(Reader):
    """Cannot take what it reads."""

    def _take(self, batch: Sequence[Event | Finish]) -> bool:
        """Fail by a defect."""
        raise LookupError(batch)


async def test_a_defect_costs_its_own_answer_alone(server: MessagesServer, provider: AnthropicProvider) -> None:
    """Its task fails by it; the answers beside it are read on."""
    script = Script(tokens=100, per_second=500)
    server.say(script, script)
    async with sweeping() as sweep:
        whole, broken = Reader(provider, sweep), BrokenReader(provider, sweep)
        told = await asyncio.gather(broken.read(), whole.read(), return_exceptions=True)
    assert isinstance(told[0], LookupError)
    assert told[1] == whole_text(script)
    assert whole.taken > 10


class Asleep:
    """Somebody who sleeps, and counts who comes by."""

    def __init__(self) -> None:
        """Sleep."""
        self.receives = self.reads = self.wakes = 0

    def receive(self) -> None:
        """Note it."""
        self.receives += 1

    def read(self, _now_s: float, /) -> None:
        """Note it."""
        self.reads += 1

    def wake(self) -> None:
        """Note it."""
        self.wakes += 1


async def test_the_publisher_sweeps_between_commits_and_ends_when_there_are_none(redis: Redis) -> None:
    """Whoever sleeps is read after a commit, and woken as soon as nothing more is to be written."""
    stream_log = StreamLog(redis, SETTINGS)
    writer, asleep = await granted(stream_log), Asleep()
    async with publishing(stream_log) as publisher:
        publisher.sweep.join(asleep)
        for _ in range(2):  # the first is urgent, and no reason to read the others
            publisher.write(writer, [DeltaEvent(0, text="w")])
            await writer.flushed()
        await eventually(lambda: asleep.wakes > 0)
        assert not publisher.sweep.on
    assert asleep.reads == 1


async def test_all_receive_before_anybody_is_read() -> None:
    """What is in the kernel is taken from it in a row."""
    all_asleep = [Asleep() for _ in range(5)]
    received: list[int] = []

    class Last(Asleep):
        def receive(self) -> None:
            received.extend(asleep.receives - asleep.reads for asleep in all_asleep)

    sweep = Sweep()
    for asleep in (*all_asleep, Last()):
        sweep.join(asleep)
    sweep.run()
    assert received == [1] * 5
    assert [asleep.reads for asleep in all_asleep] == [1] * 5


@pytest.mark.parametrize(("answers", "runs"), [(1, 1), (79, 1), (80, 2), (200, 2)])
async def test_many_answers_are_read_in_halves(answers: int, runs: int) -> None:
    """Each once in as many runs, and in each run about as many, also where answers come and go between them."""
    sweep = Sweep()
    all_asleep = [Asleep() for _ in range(answers)]
    for asleep in all_asleep:
        sweep.join(asleep)
    assert sweep.runs == runs
    read = [0]
    for _ in range(runs):
        sweep.run()
        read.append(sum(asleep.reads for asleep in all_asleep))
    assert {asleep.reads for asleep in all_asleep} == {1}
    assert max(after - before for before, after in pairwise(read)) <= -(-answers // runs)
    sweep.leave(all_asleep[0])
    sweep.join(come := Asleep())
    for _ in range(runs):
        sweep.run()
    assert {asleep.reads for asleep in all_asleep[1:]} <= {2}
    assert come.reads == 1


async def test_all_that_wait_are_written_before_the_next_sweep(redis: Redis) -> None:
    """More streams than one append may carry: the others wait for no pause between two."""
    stream_log = StreamLog(redis, SETTINGS)
    writers = [await granted(stream_log) for _ in range(MAX_APPENDS * 2 + 1)]
    asleep = Asleep()
    async with publishing(stream_log, most_apart_s=1.0) as publisher:
        publisher.sweep.join(asleep)
        for writer in writers:
            writer.eager = False  # as if it had told its first token
            publisher.write(writer, [DeltaEvent(0, text="w")])
        await asyncio.gather(*(writer.flushed() for writer in writers))
        assert asleep.reads == 0
        await eventually(lambda: asleep.reads == 1)


async def test_what_cannot_be_written_yet_delays_nobody(redis_server: Callable[..., RedisProcess]) -> None:
    """A stream that asks while an append of its own is in flight makes the publisher rest only once it is written."""
    server = redis_server()
    async with Link(lambda: [server.port]) as link, Redis(port=link.port, socket_timeout=10) as client:
        stream_log = StreamLog(client, SETTINGS)
        writer, asleep = await granted(stream_log), Asleep()
        async with publishing(stream_log, most_apart_s=1.0) as publisher:
            publisher.sweep.join(asleep)
            link.strike(lambda: Fate("hang"))
            publisher.write(writer, [DeltaEvent(0, text="first")])
            await eventually(lambda: writer.in_flight)
            publisher.write(writer, [DeltaEvent(0, text="second")])
            await eventually(lambda: asleep.wakes == 1)
            assert asleep.reads == 0
            link.heal()
            await asyncio.wait_for(writer.flushed(), 10)


async def test_a_redis_that_is_away_ends_the_sweep(redis_server: Callable[..., RedisProcess]) -> None:
    """Nobody comes by while the publisher waits for it, and the providers go on."""
    server = redis_server()
    async with Redis.from_url(server.url, socket_timeout=1, socket_connect_timeout=1) as client:
        stream_log = StreamLog(client, SETTINGS)
        writer, asleep = await granted(stream_log), Asleep()
        async with publishing(stream_log) as publisher:
            publisher.sweep.join(asleep)
            publisher.write(writer, [DeltaEvent(0, text="first")])
            await writer.flushed()
            publisher.sweep.run()
            server.kill()
            publisher.write(writer, [DeltaEvent(0, text="w")])
            await eventually(lambda: asleep.wakes > 0)
            assert not publisher.sweep.on
            server.start()
            await writer.flushed()
