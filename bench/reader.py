"""The load generator's side: reads one answer, noting when its tokens came, and nothing else."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast

from bench.plan import BenchError
from bench.provider import TOKEN_MARK
from bench.target import Target
from bench.wire import ChunkedBody, split_head

_SHOWN_BYTES = 500
_OK = "HTTP/1.1 200 "


@dataclass
class Reading:
    """One answer as it came. Times are seconds of ``time.perf_counter``."""

    asked_s: float = 0.0
    """Before the connection was opened."""
    first_s: float | None = None
    last_s: float = 0.0
    tokens: int = 0
    received_bytes: int = 0
    """All that came, heads and framing too."""
    whole: bool = False
    end: bytes = b""
    """What came last: it mostly says why, where tokens are missing."""
    gaps_s: list[float] = field(default_factory=list)
    """Between one token and the next; 0 for those that came together."""

    @property
    def first_token_ms(self) -> float:
        """Milliseconds from asking to the first token."""
        assert self.first_s is not None
        return (self.first_s - self.asked_s) * 1000

    def note(self, count: int, now_s: float) -> None:
        """Take in that ``count`` tokens came together."""
        if self.first_s is None:
            self.first_s = now_s
        else:
            self.gaps_s.append(now_s - self.last_s)
        self.gaps_s.extend([0.0] * (count - 1))
        self.last_s = now_s
        self.tokens += count


class Reader(asyncio.Protocol):
    """One connection, one answer. ``done`` is its reading, or a ``BenchError``."""

    def __init__(self, request: bytes, reading: Reading) -> None:
        """Take the request to send and where to note what comes."""
        self.done: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        self._request = request
        self._reading = reading
        self._head = b""
        self._body: ChunkedBody | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        cast(asyncio.Transport, transport).write(self._request)  # uvloop's is one in all but its bases

    def connection_lost(self, error: Exception | None) -> None:
        """Fail, unless the answer is whole."""
        self._fail(f"the connection ended before the answer did ({error or 'closed'})")

    def data_received(self, data: bytes) -> None:
        """Count the tokens in ``data``."""
        now_s = time.perf_counter()
        self._reading.received_bytes += len(data)
        if self._body is None:
            self._head += data
            if (parted := split_head(self._head)) is None:
                return
            head, data = parted
            if not head.first.startswith(_OK):
                self._fail(f"it answered {head.first.partition(' ')[2]}: {data[:200].decode(errors='replace')}")
                return
            self._body = ChunkedBody()
        piece = self._body.feed(data)
        if count := piece.count(TOKEN_MARK):
            self._reading.note(count, now_s)
        self._reading.end = piece or self._reading.end
        if self._body.complete and not self.done.done():
            self._reading.whole = True
            self.done.set_result(self._reading)

    def _fail(self, problem: str) -> None:
        if not self.done.done():
            self.done.set_exception(BenchError(problem))


async def read_answer(
    target: Target, tokens: int, rate: float, deadline_s: float, reading: Reading | None = None
) -> Reading:
    """Ask ``target`` for an answer on a connection of its own and return it once it is whole.

    ``reading`` is where it is noted as it comes.
    Raises ``BenchError`` when it fails, brings another number of tokens, or is not whole after ``deadline_s``.
    """
    reading = reading or Reading()
    request = target.request(tokens, rate)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(deadline_s):
            reading.asked_s = time.perf_counter()
            transport, reader = await loop.create_connection(lambda: Reader(request, reading), "127.0.0.1", target.port)
            try:
                await reader.done
            finally:
                transport.abort()
    except TimeoutError:
        problem = f"after {deadline_s:.0f} s only {reading.tokens} of {tokens} tokens had come"
    except (BenchError, OSError) as error:
        problem = str(error)
    else:
        problem = ""
        if reading.tokens != tokens:
            end = " ".join(reading.end[-_SHOWN_BYTES:].decode(errors="replace").split())
            problem = f"{reading.tokens} tokens came instead of {tokens}; it ended with: {end}"
    if problem:
        message = f"{target.title} did not give the answer: {problem}"
        raise BenchError(message)
    return reading
