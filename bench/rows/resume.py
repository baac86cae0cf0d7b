"""A resume in the middle of a long finished stream, against the same bytes from a static file.

Two relays: one as it is, which has told the stream before and keeps it in memory for a while, as the kernel does the
file; and one that keeps nothing, so that each resume is read from Redis, as a relay's first is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import median

from bench import names
from bench.fetch import Answer, events_path, fetch, start_stream
from bench.plan import BenchError, Plan
from bench.progress import tell
from bench.provider import TOKEN_MARK
from bench.redis_info import info
from bench.row import Family, Findings, Row, Table
from bench.stand import Stand
from bench.turns import rotated

_EVENTS = 5_000
_PER_SECOND = 250.0
"""Slow enough that each token becomes an entry of its own, as at the pace of a real answer."""
_OWN_ENTRY = 0.9
"""The least part of the tokens of which that must be true: on a busy machine some come together."""
_READS = 20
"""Of each, in a round."""
_FIRST_EVENTS = 100
"""Of the stream that warms everything up."""
_OK = 200
_FILE = "resume.txt"
_FILE_TITLE = "static file of the same bytes, by aiohttp"
_IDS = re.compile(rb"^id: (\S+)$", re.MULTILINE)
_START_S, _LIMIT_S = 120.0, 300.0


@dataclass(frozen=True)
class Place:
    """Where the bytes can be had."""

    title: str
    port: int
    path: str


async def measure(plan: Plan) -> Findings:
    """Measure, reading from both in turns. Raises ``BenchError``."""
    tokens = plan.scaled(_EVENTS)
    async with Stand().running() as stand:
        await stand.provider()
        await stand.redis()
        await stand.worker()
        relay_port = await stand.relay()
        await _make_stream(relay_port, min(tokens, _FIRST_EVENTS))
        tell(f"resume: making a stream of {tokens} events")
        before = await info(stand.redis_ports["redis"])
        stream_id, body = await _make_stream(relay_port, tokens)
        after = await info(stand.redis_ports["redis"])
        stand.settings["TAILRACE_KEPT_LOGS_BYTES"] = "0"
        path = events_path(stream_id, _offset_in_the_middle(body))
        kept, read = Place("Tailrace", relay_port, path), Place("Tailrace", await stand.relay("relay that reads"), path)
        expected = (await _read(kept)).body
        (stand.directory / _FILE).write_bytes(expected)
        places = (kept, read, Place(_FILE_TITLE, await _static_server(stand), f"/files/{_FILE}"))
        await _round(places, len(expected))  # to warm up
        rounds = []
        for number in range(plan.rounds):
            tell(f"resume, round {number + 1} of {plan.rounds}")
            rounds.append(await _round(places, len(expected)))
    per_event = (after["used_memory"] - before["used_memory"]) / tokens
    line = (str(len(expected)), str(expected.count(TOKEN_MARK)), f"{per_event:.0f}")
    head = ("bytes of the resume", "tokens in it", "memory in Redis per token of the stream, bytes")
    data = {"resume_ms": rounds, "resume_bytes": len(expected), "redis_bytes_per_token": per_event}
    return Findings(_rows(tokens, rounds), [Table("The stream that was resumed", head, [line])], data)


async def _static_server(stand: Stand) -> int:
    return await stand.helper("static", "bench.static_server", str(stand.directory))


async def _make_stream(relay_port: int, tokens: int) -> tuple[str, bytes]:
    """Return the id of a finished stream and all that its reader got."""
    stream_id = await start_stream(relay_port, tokens, _PER_SECOND)
    body = (await _read(Place("Tailrace", relay_port, events_path(stream_id)))).body
    if body.count(TOKEN_MARK) != tokens:
        message = f"a stream of {tokens} tokens was read with {body.count(TOKEN_MARK)}"
        raise BenchError(message)
    if (events := len(_IDS.findall(body))) < _OWN_ENTRY * tokens:
        message = f"a stream of {tokens} tokens was told in {events} events: too many have come together"
        raise BenchError(message)
    return stream_id, body


def _offset_in_the_middle(body: bytes) -> str:
    offsets = _IDS.findall(body)
    return str(offsets[len(offsets) // 2].decode())


async def _read(place: Place) -> Answer:
    answer = await fetch(place.port, "GET", place.path, accept="text/event-stream")
    if answer.status != _OK:
        message = f"{place.title} answered {answer.status} to a reader"
        raise BenchError(message)
    return answer


async def _round(places: tuple[Place, ...], length: int) -> tuple[float, ...]:
    """Return the median of each place's milliseconds until the last byte."""
    waits_ms: dict[Place, list[float]] = {place: [] for place in places}
    for read in range(_READS):
        for place in rotated(places, read):
            answer = await _read(place)
            if len(answer.body) != length:
                message = f"{place.title} gave {len(answer.body)} bytes to a reader instead of {length}"
                raise BenchError(message)
            waits_ms[place].append(answer.seconds * 1000)
    return tuple(median(waits_ms[place]) for place in places)


def _rows(tokens: int, rounds: list[tuple[float, ...]]) -> list[Row]:
    """Return the resume that has a target, and the one that is read from Redis."""
    kept_ms, read_ms, theirs_ms = (median(side) for side in zip(*rounds, strict=True))
    kept_ratio = median(kept / theirs for kept, _, theirs in rounds)
    read_ratio = median(read / theirs for _, read, theirs in rounds)
    what = f"resume in the middle of a finished stream of {tokens} tokens, to the last byte"
    return [
        Row(names.RESUME, what, kept_ms, _FILE_TITLE, theirs_ms, "ms", "ratio", kept_ratio, 3.0),
        Row(names.RESUME, f"{what}, not told before", read_ms, _FILE_TITLE, theirs_ms, "ms", "ratio", read_ratio),
    ]


def _limit_s(plan: Plan) -> float:
    return _START_S + _LIMIT_S + plan.rounds * _READS


FAMILY = Family("resume", (names.RESUME,), measure, _limit_s)
