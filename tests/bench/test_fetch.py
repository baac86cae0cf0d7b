"""bench/fetch.py and bench/listeners.py: readers that parse next to nothing, against real servers."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.fetch import fetch
from bench.listeners import Listeners
from bench.plan import BenchError
from bench.provider import Conversation
from bench.target import DIRECT
from tests.support import Process


@pytest.fixture
async def provider() -> AsyncIterator[int]:
    """Give the port of a provider that answers in this process."""
    server = await asyncio.get_running_loop().create_server(Conversation, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.fixture
async def static(tmp_path: Path) -> AsyncIterator[int]:
    """Give the port of the server that a resume and a fan-out are held against, with one file to send."""
    (tmp_path / "long.txt").write_bytes(b"0123456789" * 100_000)
    process = Process([sys.executable, "-m", "bench.static_server", str(tmp_path)], tmp_path / "log").start()
    yield int((await process.event("bench.listening"))["port"])
    process.end()


async def test_a_chunked_answer_is_put_together(provider: int) -> None:
    """Also when it comes in many pieces, each chunk by itself."""
    body = DIRECT.at(provider, {}).request(40, 400.0).partition(b"\r\n\r\n")[2]
    answer = await fetch(provider, "POST", "/v1/messages", body)
    assert answer.status == 200
    assert answer.body.count(b"~") == 40
    assert answer.body.endswith(b'data: {"type":"message_stop"}\n\n')
    assert answer.seconds > 0.09


async def test_a_long_file_comes_whole(static: int) -> None:
    """A body whose length was announced."""
    answer = await fetch(static, "GET", "/files/long.txt")
    assert (answer.status, len(answer.body)) == (200, 1_000_000)


async def test_nobody_there_is_told_in_a_sentence() -> None:
    """With what was asked."""
    with pytest.raises(BenchError, match="GET /x got no answer"):
        await fetch(1, "GET", "/x")


async def test_all_listeners_hear_what_is_played(static: int) -> None:
    """Every frame once, and the end."""
    listeners = Listeners()
    request = f"GET /events HTTP/1.1\r\nhost: 127.0.0.1:{static}\r\n\r\n".encode()
    try:
        await listeners.open(static, lambda _number: request, 30)
        await listeners.until(lambda one: one.received_bytes > 0, 5.0, "were not let in")
        play = json.dumps({"frames": [f"data: ~{number}\n\n" for number in range(7)], "per_second": 200}).encode()
        assert json.loads((await fetch(static, "POST", "/play", play)).body) == {"readers": 30}
        await listeners.until(lambda one: one.tokens == 7, 5.0, "did not hear all")
        assert listeners.tokens == 210
    finally:
        await listeners.close()


async def test_what_is_played_to_those_who_have_left_does_not_keep_others_waiting(static: int) -> None:
    """A round of the fan-out ends in the middle of what is played, and the next one must find its own readers alone."""
    request = f"GET /events HTTP/1.1\r\nhost: 127.0.0.1:{static}\r\n\r\n".encode()
    play = json.dumps({"frames": ["data: ~\n\n"] * 100, "per_second": 50}).encode()
    for _round in range(3):
        listeners = Listeners()
        try:
            await listeners.open(static, lambda _number: request, 5)
            await listeners.until(lambda one: one.received_bytes > 0, 5.0, "were not let in")
            assert json.loads((await fetch(static, "POST", "/play", play)).body) == {"readers": 5}
            await listeners.until(lambda one: one.tokens >= 3, 5.0, "heard nothing")
        finally:
            await listeners.close()


async def test_a_refused_listener_is_told_with_the_reason(static: int) -> None:
    """It would otherwise be waited for until the deadline."""
    listeners = Listeners()
    try:
        await listeners.open(static, lambda _number: b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n", 2)
        with pytest.raises(BenchError, match="404 Not Found"):
            await listeners.until(lambda one: one.tokens > 0, 5.0, "heard nothing")
    finally:
        await listeners.close()
