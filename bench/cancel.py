"""How fast a cancel works: ``python -m bench.cancel``, without a baseline, since the tutorial has nothing of the kind.

A stream is followed through one relay and cancelled through another, while other streams run. Measured from before
the request to cancel is sent: until it is answered, and until the reader at the other relay has the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp
import uvloop

from bench.percentile import percentile
from bench.plan import BenchError
from bench.stand import Stand
from shared.models import Model

_TARGET_MS = 100.0
_DEADLINE_S = 600.0
_PATIENCE_S = 10.0
_SLOTS = 256
_FOR_EVER = 100_000
_WAIT_BETWEEN_S = 0.0137
"""No multiple of a token's time, so that cancels come at all moments between two tokens."""


async def start_relays(stand: Stand) -> tuple[str, str]:
    """Start a provider, Redis, a worker and two relays; return the relays' URLs. Raises ``BenchError``."""
    await stand.provider()
    await stand.redis()
    stand.models = {
        "endless": Model(provider="anthropic", base_url=stand.provider_url, max_tokens=_FOR_EVER),
        "silent": Model(provider="sim", max_tokens=_FOR_EVER),
    }
    stand.settings["TAILRACE_MAX_TOKENS_CAP"] = str(_FOR_EVER)
    await stand.worker(slots=_SLOTS)
    near, far = await stand.relay("near"), await stand.relay("far")
    return f"http://127.0.0.1:{near}", f"http://127.0.0.1:{far}"


@dataclass(frozen=True)
class When:
    """A moment in a stream's life."""

    title: str
    body: dict[str, Any]
    after: str
    """The event at which it has come."""
    count: int = 1


@dataclass
class Waits:
    """What was measured at one moment, in milliseconds."""

    answered_ms: list[float] = field(default_factory=list)
    seen_ms: list[float] = field(default_factory=list)


def _body(model: str, **script: float) -> dict[str, Any]:
    return {"model": model, "max_tokens": _FOR_EVER, "messages": [{"role": "user", "content": json.dumps(script)}]}


RUNNING = _body("endless", tokens=_FOR_EVER // 10, per_second=50)
SILENT = _body("silent", tokens=1, first_token_ms=600_000)
MOMENTS = (
    When("mid-stream", RUNNING, "delta", 5),
    When("before the first token", SILENT, "attempt"),
    When("queued", SILENT, "start"),
)


class Run:
    """One run against a stand that runs."""

    def __init__(self, session: aiohttp.ClientSession, relays: tuple[str, str]) -> None:
        """Ask through the first relay and read through the second."""
        self._session = session
        self._near, self._far = relays

    @asynccontextmanager
    async def others(self, body: dict[str, Any], count: int) -> AsyncIterator[None]:
        """Have so many other streams run meanwhile, each with a reader of its own at each relay."""
        stream_ids = [await self._start(body) for _ in range(count)]
        async with asyncio.TaskGroup() as group:
            urls = (self._near, self._far)
            readers = [group.create_task(self._drain(url, one)) for one in stream_ids for url in urls]
            yield
            for reader in readers:
                reader.cancel()

    async def measure(self, when: When, samples: int) -> Waits:
        """Return the waits of so many streams, one after the other. Raises ``BenchError``."""
        waits = Waits()
        for _ in range(samples):
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await self._cancel_one(when, waits)
            except (TimeoutError, aiohttp.ClientError) as error:
                message = f"a cancel {when.title} has failed: {error!r}"
                raise BenchError(message) from None
            await asyncio.sleep(_WAIT_BETWEEN_S)
        return waits

    async def _cancel_one(self, when: When, waits: Waits) -> None:
        stream_id = await self._start(when.body)
        async with self._session.get(f"{self._far}/v1/streams/{stream_id}/events") as reader:
            for _ in range(when.count):
                await _next(reader, when.after)
            began_s = time.perf_counter()
            seen = asyncio.create_task(_next(reader, "end"))
            try:
                async with self._session.post(f"{self._near}/v1/streams/{stream_id}/cancel") as answer:
                    state = await answer.json()
                waits.answered_ms.append((time.perf_counter() - began_s) * 1000)
                waits.seen_ms.append((await seen - began_s) * 1000)
            finally:
                seen.cancel()
        if state["status"] != "cancelled":
            message = f"a stream that was to be cancelled {when.title} is {state['status']}"
            raise BenchError(message)

    async def _start(self, body: dict[str, Any]) -> str:
        async with self._session.post(f"{self._near}/v1/streams", json=body) as answer:
            if answer.status != HTTPStatus.CREATED:
                message = f"a stream could not be started: {answer.status}"
                raise BenchError(message)
            return str((await answer.json())["id"])

    async def _drain(self, url: str, stream_id: str) -> None:
        """Read a stream and drop it."""
        async with self._session.get(f"{url}/v1/streams/{stream_id}/events") as answer:
            async for _ in answer.content.iter_any():
                pass


async def _next(reader: aiohttp.ClientResponse, name: str) -> float:
    """Return when the next event of that name came. Raises ``BenchError`` when none does."""
    line = b"event: %s\n" % name.encode()
    async for one in reader.content:
        if one == line:
            return time.perf_counter()
    message = f"a stream ended without {name!r}"
    raise BenchError(message)


async def measure(samples: int, load: int) -> dict[str, Waits]:
    """Return what was measured, by moment. Raises ``BenchError``."""
    measured: dict[str, Waits] = {}
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        Stand().running() as stand,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        run = Run(session, await start_relays(stand))
        async with run.others(RUNNING, load):
            for when in MOMENTS[:2]:
                measured[when.title] = await run.measure(when, samples)
            async with run.others(SILENT, _SLOTS - load):  # the worker is full: what comes now has to wait
                measured[MOMENTS[2].title] = await run.measure(MOMENTS[2], samples)
    return measured


def text_of(measured: dict[str, Waits], samples: int, load: int) -> str:
    """Return the table."""
    lines = [
        f"{samples} cancels each, while {load} streams of 50 tokens per second run, each with two readers",
        "",
        "| cancelled | answered, p50 | p99 | seen at the other relay, p50 | p99 | target, p99 |",
        "|---|---|---|---|---|---|",
    ]
    for title, waits in measured.items():
        shown = [percentile(ms, share) for ms in (waits.answered_ms, waits.seen_ms) for share in (0.5, 0.99)]
        missed = ": missed" if max(shown) > _TARGET_MS else ""
        cells = " | ".join(f"{value:.1f} ms" for value in shown)
        lines.append(f"| {title} | {cells} | {_TARGET_MS:.0f} ms{missed} |")
    return "\n".join(lines)


def _within(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isdecimal() and least <= int(text) <= most):
            message = f"{text} is not a number from {least} to {most}"
            raise argparse.ArgumentTypeError(message)
        return int(text)

    return read


def main() -> int:
    """Measure and print; return the exit code: 1, with a sentence, when it could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.cancel", description="Measures how fast a cancel works.")
    parser.add_argument("--samples", type=_within(1, 5000), default=200, help="cancels at each moment (200)")
    parser.add_argument("--load", type=_within(0, _SLOTS - 1), default=50, help="other streams that run (50)")
    given = parser.parse_args()

    async def bounded() -> dict[str, Waits]:
        async with asyncio.timeout(_DEADLINE_S):
            return await measure(given.samples, given.load)

    try:
        print(text_of(uvloop.run(bounded()), given.samples, given.load))
    except TimeoutError:
        print(f"bench: not done after {_DEADLINE_S:.0f} s: this machine is too slow or too busy", file=sys.stderr)
        return 1
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
