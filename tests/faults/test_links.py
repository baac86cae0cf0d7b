"""The wires of the fault suite break as they are told to, at the byte they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.faults.links import Fate, Link
from tests.support import eventually

HELLO = b"0123456789"


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """Give a wire to a server that says what it hears."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with server, Link(lambda: [server.sockets[0].getsockname()[1]]) as link:
        yield link


async def _connect(link: Link) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", link.port)


async def _read_into(heard: bytearray, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(100):
        heard += data


async def test_a_healthy_wire_carries_both_ways_and_ends_with_either_end(link: Link) -> None:
    """All of it arrives, and nothing is left."""
    reader, writer = await _connect(link)
    writer.write(HELLO)
    assert await reader.readexactly(10) == HELLO
    assert len(link) == 1
    writer.close()
    await eventually(lambda: len(link) == 0)


@pytest.mark.parametrize("after", [0, 4, 10, 14, 19])
async def test_a_cut_comes_after_so_many_bytes(link: Link, after: int) -> None:
    """Both directions counted: ten go there, the rest come back."""
    link.draw = lambda: Fate("cut", after)
    reader, writer = await _connect(link)
    writer.write(HELLO)
    heard = bytearray()
    with pytest.raises(ConnectionResetError):
        await _read_into(heard, reader)
    assert heard == HELLO[: max(after - 10, 0)]
    assert link.struck == 1
    writer.close()


async def test_a_wire_that_hangs_passes_nothing_and_tells_nobody(link: Link) -> None:
    """Until it is healed, when it is cut."""
    reader, writer = await _connect(link)
    writer.write(HELLO)
    await reader.readexactly(10)
    link.strike(lambda: Fate("hang", 3))
    writer.write(HELLO)
    heard = asyncio.create_task(reader.read(100))
    await eventually(lambda: link.struck == 1)
    assert not heard.done()
    link.heal()
    with pytest.raises(ConnectionResetError):
        await heard
    writer.close()


async def test_a_frozen_link_passes_everything_once_it_thaws(link: Link) -> None:
    """On connections that were there, and on those that came meanwhile."""
    reader, writer = await _connect(link)
    writer.write(HELLO)
    await reader.readexactly(10)
    link.freeze()
    later, later_writer = await _connect(link)
    for one in (writer, later_writer):
        one.write(HELLO)
    heard = [asyncio.create_task(one.readexactly(10)) for one in (reader, later)]
    done, _ = await asyncio.wait(heard, timeout=0.1)
    assert not done
    link.thaw()
    assert await asyncio.gather(*heard) == [HELLO, HELLO]
    for one in (writer, later_writer):
        one.close()


async def test_a_slow_wire_is_slow_for_its_time_and_loses_nothing(link: Link) -> None:
    """At 2000 bytes a second, a thousand bytes each way take half a second or more."""
    link.draw = lambda: Fate("slow", bytes_per_s=2000, lasts_s=60)
    reader, writer = await _connect(link)
    began_s = asyncio.get_running_loop().time()
    writer.write(b"x" * 1000)
    assert await reader.readexactly(1000) == b"x" * 1000
    assert asyncio.get_running_loop().time() - began_s >= 0.5
    writer.close()


async def test_a_dead_target_is_a_reset() -> None:
    """As a port on which nobody listens."""
    async with Link(list) as link:
        reader, writer = await _connect(link)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
