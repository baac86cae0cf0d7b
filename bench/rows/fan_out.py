"""One stream, 1,000 readers: CPU per delivered event, against aiohttp that writes the same bytes to as many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from statistics import median

from bench import names
from bench.fetch import Answer, events_path, events_request, fetch, start_stream
from bench.listeners import Listeners
from bench.plan import BenchError, Plan
from bench.progress import tell
from bench.provider import TOKEN_MARK
from bench.row import Family, Findings, Row, Table
from bench.stand import Stand
from bench.turns import rotated
from bench.window import cpu_by_part, cpu_since

_READERS = 1_000
_PER_SECOND = 20.0
"""Tokens of the stream: 20,000 deliveries a second, which leaves a core of two to the readers."""
_OPEN_S = 4.0
"""For all readers to come, and the CPU of that to be over."""
_OPEN_WITHIN_S = 30.0
_MARGIN_S = 0.5
_BROADCASTER = "aiohttp writing the same bytes"
_START_S, _SLOWNESS = 120.0, 5

Cost = dict[str, float]
"""Microseconds of CPU per delivered event, by process."""


async def measure(plan: Plan) -> Findings:
    """Measure. Raises ``BenchError``."""
    readers = plan.scaled(_READERS)
    ours: list[Cost] = []
    theirs: list[Cost] = []
    async with Stand().running() as stand:
        await stand.provider()
        await stand.redis()
        await stand.worker()
        relay_port = await stand.relay()
        static_port = await stand.helper("static", "bench.static_server", str(stand.directory))
        frames = await _frames(relay_port, _tokens(plan))
        tailrace, broadcaster = stand.pids("redis", "relay", "worker"), stand.pids("static")
        for number in range(plan.rounds):
            tell(f"fan-out, round {number + 1} of {plan.rounds}: {readers} readers")
            for who in rotated(("ours", "theirs"), number):
                if who == "ours":
                    ours.append(await _tailrace(relay_port, tailrace, readers, plan))
                else:
                    theirs.append(await _broadcast(static_port, broadcaster, readers, frames, plan))
    ratio = median(sum(our.values()) / sum(their.values()) for our, their in zip(ours, theirs, strict=True))
    our_us, their_us = (median(sum(one.values()) for one in rounds) for rounds in (ours, theirs))
    what = f"1 stream, {readers} readers: CPU per delivered event"
    row = Row(names.FAN_OUT, what, our_us, _BROADCASTER, their_us, "us", "ratio", ratio, 1.3)
    parts = [(name, f"{median(one[name] for one in ours):.1f}") for name in tailrace]
    table = Table(f"Where the CPU of {readers} readers goes", ("process", "us per delivered event"), parts)
    return Findings([row], [table], {"readers": readers, "fan_out_us": {"ours": ours, "theirs": theirs}})


def _tokens(plan: Plan) -> int:
    """Return the tokens of a stream that lasts until all have come and been looked at."""
    return round(_PER_SECOND * (_OPEN_S + plan.window_s + 2 * _MARGIN_S))


async def _frames(relay_port: int, tokens: int) -> list[str]:
    """Return the frames of the tokens of a stream, as a reader of Tailrace gets them."""
    stream_id = await start_stream(relay_port, tokens, _PER_SECOND)
    answer: Answer = await fetch(relay_port, "GET", events_path(stream_id), accept="text/event-stream")
    return [f"{frame}\n\n" for frame in answer.body.decode().split("\n\n") if TOKEN_MARK.decode() in frame]


async def _tailrace(port: int, pids: Mapping[str, int], readers: int, plan: Plan) -> Cost:
    """Return what an event costs while all readers follow one stream."""
    stream_id = await start_stream(port, _tokens(plan), _PER_SECOND)
    request = events_request(port, stream_id)
    listeners = Listeners()
    try:
        began_s = asyncio.get_running_loop().time()
        await listeners.open(port, lambda _number: request, readers)
        await listeners.until(lambda one: one.tokens > 0, _OPEN_WITHIN_S, "did not get the stream's first token")
        await asyncio.sleep(began_s + _OPEN_S - asyncio.get_running_loop().time())
        return await _look(listeners, pids, plan)
    finally:
        await listeners.close()


async def _broadcast(port: int, pids: Mapping[str, int], readers: int, frames: list[str], plan: Plan) -> Cost:
    """Return what an event costs the server that only writes."""
    request = f"GET /events HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode()
    listeners = Listeners()
    try:
        await listeners.open(port, lambda _number: request, readers)
        await listeners.until(lambda one: one.received_bytes > 0, _OPEN_WITHIN_S, "were not let in")
        await fetch(port, "POST", "/play", json.dumps({"frames": frames, "per_second": _PER_SECOND}).encode())
        await asyncio.sleep(_MARGIN_S)
        return await _look(listeners, pids, plan)
    finally:
        await listeners.close()


async def _look(listeners: Listeners, pids: Mapping[str, int], plan: Plan) -> Cost:
    before, before_s = listeners.tokens, cpu_by_part(pids)
    await asyncio.sleep(plan.window_s)
    used_s, delivered = cpu_since(pids, before_s), listeners.tokens - before
    expected = len(listeners.all) * _PER_SECOND * plan.window_s
    if delivered < expected * 0.9:
        message = f"only {delivered} of {expected:.0f} events were delivered: this machine is too busy or too slow"
        raise BenchError(message)
    return {name: part_s / delivered * 1e6 for name, part_s in used_s.items()}


def _limit_s(plan: Plan) -> float:
    return _START_S + _SLOWNESS * plan.rounds * 2 * (_OPEN_S + plan.window_s + 2)


FAMILY = Family("fan-out", (names.FAN_OUT,), measure, _limit_s)
