"""A hushed connection: its bytes come when somebody takes them, its end by itself. Real sockets, both event loops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
import uvloop

from tests.support import eventually
from tests.worker.test_sweep import CALL
from worker.providers.body import body_of
from worker.providers.hushed_socket import HushedSocket
from worker.providers.messages_decoder import MessagesDecoder
from worker.providers.patience import Patience
from worker.providers.sleeper import SleepingReader
from worker.sweep import Sweep, Swept

Run = Callable[[Coroutine[None, None, None]], None]
Case = Callable[["Talk"], Awaitable[None]]
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass
class Talk:
    """An answer that is under way: who says it, and who reads it."""

    server: asyncio.StreamWriter
    response: aiohttp.ClientResponse

    def say(self, data: bytes) -> None:
        """Send a piece of the body."""
        self.server.write(b"%x\r\n%b\r\n" % (len(data), data))

    def hush(self) -> HushedSocket:
        """Hush the reader's connection."""
        hushed = HushedSocket.of(self.response.connection)
        assert hushed is not None
        return hushed

    @property
    def come(self) -> int:
        """How many bytes of the body the reader has."""
        return self.response.content.total_bytes


@asynccontextmanager
async def talking() -> AsyncIterator[Talk]:
    """Begin an answer over loopback TCP."""
    writers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_HEAD)
        writers.put_nowait(writer)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, aiohttp.ClientSession() as session, session.get(url) as response:
        writer = await writers.get()
        try:
            yield Talk(writer, response)
        finally:
            writer.close()


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def on_loop(request: pytest.FixtureRequest) -> Callable[[Case], None]:
    """Give what runs a case on each loop in turn, with an answer under way."""
    run: Run = request.param

    async def talk(case: Case) -> None:
        async with asyncio.timeout(20), talking() as one:
            await case(one)

    return lambda case: run(talk(case))


def test_bytes_wait_until_they_are_taken(on_loop: Callable[[Case], None]) -> None:
    """Nobody is woken for them: the loop reads on beside, and they are where they were."""

    async def case(talk: Talk) -> None:
        hushed = talk.hush()
        talk.say(b"one")
        await _others_have_talked()
        assert talk.come == 0
        receive_and_take(hushed)
        assert await talk.response.content.readany() == b"one"
        receive_and_take(hushed)
        talk.say(b"two")
        talk.say(b"three")
        await _others_have_talked()
        receive_and_take(hushed)
        assert talk.response.content.read_nowait() == b"twothree"
        hushed.close()

    on_loop(case)


def receive_and_take(hushed: HushedSocket) -> None:
    """Do what a sweep does for each of many, one after the other."""
    hushed.receive()
    hushed.take()


def test_a_socket_that_is_left_is_the_loops_again(on_loop: Callable[[Case], None]) -> None:
    """With what came meanwhile, and its descriptor open."""

    async def case(talk: Talk) -> None:
        hushed = talk.hush()
        talk.say(b"one")
        await _others_have_talked()
        hushed.close()
        hushed.close()
        del hushed
        assert await talk.response.content.readany() == b"one"
        talk.say(b"two")
        assert await talk.response.content.readany() == b"two"

    on_loop(case)


def test_much_at_once_is_told_all_the_same(on_loop: Callable[[Case], None]) -> None:
    """So that a provider is read on where nobody comes by."""

    async def case(talk: Talk) -> None:
        hushed = talk.hush()
        talk.say(b"x" * 40_000)
        await eventually(lambda: talk.come > 20_000)
        hushed.close()

    on_loop(case)


def test_the_end_is_told_by_itself(on_loop: Callable[[Case], None]) -> None:
    """A connection that ends in the middle, with bytes that nobody has taken: they come, and then the failure."""

    async def case(talk: Talk) -> None:
        hushed = talk.hush()
        talk.say(b"one")
        talk.server.close()
        await eventually(lambda: talk.response.content.exception() is not None)
        receive_and_take(hushed)
        hushed.close()
        body = body_of(talk.response)
        assert await body.read() == b"one"
        with pytest.raises(aiohttp.ClientPayloadError):
            await body.read()

    on_loop(case)


def test_an_end_that_is_taken_is_the_loops_to_see(on_loop: Callable[[Case], None]) -> None:
    """Whoever takes finds nothing there; the answer fails as ever."""

    async def case(talk: Talk) -> None:
        hushed = talk.hush()
        talk.server.close()
        async with asyncio.timeout(5):
            while talk.response.content.exception() is None:
                receive_and_take(hushed)
                await asyncio.sleep(0)
        hushed.close()

    on_loop(case)


def test_an_answer_that_is_over_is_not_hushed(on_loop: Callable[[Case], None]) -> None:
    """Its connection is given back, and may be another's."""

    async def case(talk: Talk) -> None:
        talk.say(b"one")
        talk.server.write(b"0\r\n\r\n")
        assert await talk.response.content.read() == b"one"
        assert HushedSocket.of(talk.response.connection) is None

    on_loop(case)


def test_an_answer_that_ends_while_its_task_sleeps_gives_its_connection_back_as_it_was(
    on_loop: Callable[[Case], None],
) -> None:
    """Its end comes with so much that the loop reads it, and nobody else comes by."""

    async def case(talk: Talk) -> None:
        assert talk.response.connection is not None
        assert talk.response.connection.transport is not None
        under = talk.response.connection.transport.get_extra_info("socket")
        swept = Swept(Sweep(), lambda _batch: True)
        until_needed = SleepingReader(talk.response, MessagesDecoder(CALL), Patience(), 60, swept).sleep
        sleeping = asyncio.create_task(until_needed())
        await eventually(lambda: under.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) > 1)
        talk.say(b": " + b"x" * 20_000)
        talk.server.write(b"0\r\n\r\n")
        assert not await asyncio.wait_for(sleeping, 5)
        assert talk.response.connection is None
        assert under.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1

    on_loop(case)


async def _others_have_talked() -> None:
    """Return when a connection beside has carried something back and forth: whoever was told of bytes has read them."""
    async with talking() as other:
        other.say(b"x")
        assert await other.response.content.readany() == b"x"
