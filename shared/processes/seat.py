"""A child's side: its number among its siblings, and what it tells its parent and asks of it."""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType
from typing import Self

import structlog
from prometheus_client import generate_latest

from shared.errors import ConfigurationError
from shared.metrics import OF_THE_SYSTEM
from shared.processes.link import Link, Message, Ready, Refused, Report, ReportAsked, SumAsked, Summed
from shared.processes.summing import Family, families_of, rendered, snapshot
from shared.tasks import end_tasks

_SUM_S = 3.0
"""Longest wait for the sum; the parent waits for a child that does not answer for less."""


class Seat:
    """One process's place among several of one program. Open while the block runs; every log line has its number."""

    def __init__(self, number: int, link_fd: int, port: int) -> None:
        """Take the process's number, the inherited end of its link to the parent, and the port all listen on."""
        self.number = number
        self.port = port
        self._end = socket.socket(fileno=link_fd)
        self._asked = 0
        self._one_sum = asyncio.Lock()
        self._sums: dict[int, asyncio.Future[list[Family]]] = {}

    async def __aenter__(self) -> Self:
        """Open the link; from here on the parent is answered."""
        structlog.contextvars.bind_contextvars(process=self.number)
        self._link = await Link.open(self._end)
        self._listening = asyncio.create_task(self._listen(), name="process.link")
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Send the last word: the metrics as they ended, and why the process could not start, if it could not."""
        if isinstance(error, ConfigurationError):
            self._link.send(Refused(str(error)))
        self._link.send(Report(snapshot()))
        await end_tasks([self._listening])
        await self._link.aclose()

    def ready(self) -> None:
        """Tell the parent that this process serves."""
        self._link.send(Ready())

    async def sum(self) -> list[Family]:
        """Return the metrics of all processes, those that have ended included. Raises ``OSError`` without an answer."""
        async with asyncio.timeout(_SUM_S), self._one_sum:
            self._asked += 1
            number = self._asked
            self._sums[number] = asyncio.get_running_loop().create_future()
            try:
                self._link.send(SumAsked(number))
                return await self._sums[number]
            finally:
                del self._sums[number]

    async def _listen(self) -> None:
        """Answer the parent until it has gone; the process goes with it, by its tether."""
        async for message in self._link.messages():
            self._take(message)

    def _take(self, message: Message) -> None:
        match message:
            case ReportAsked():
                self._link.send(Report(snapshot()))
            case Summed(number, families):
                waiting = self._sums.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(families)


async def exposition(seat: Seat | None) -> bytes:
    """Return the metrics in the Prometheus text format: of all processes, or of the one there is without a seat.

    What belongs to the whole system is not added up but as this process has just found it. Raises ``OSError`` when the
    sum is not to be had: a part of it would look like counters that fall.
    """
    if seat is None:
        return generate_latest()
    return rendered([*await seat.sum(), *families_of(*OF_THE_SYSTEM)])
