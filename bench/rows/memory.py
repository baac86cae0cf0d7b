"""The memory of an open reader: 10,000 of them on one relay process, on streams that are silent most of the time."""

from __future__ import annotations

import asyncio
import resource
from statistics import median

from bench import names
from bench.cpu import rss_bytes
from bench.fetch import events_request, start_stream
from bench.listeners import Listeners
from bench.plan import BenchError, Plan
from bench.progress import tell
from bench.row import Family, Findings, Row, Table
from bench.stand import Stand

_READERS = 10_000
_STREAMS = 10
_TOKENS, _PER_SECOND = 40, 0.05
"""Of each stream: a token every 20 s, which is silence to a provider's patience and to nobody's memory."""
_SPARE_FILES = 200
_FIRST_READERS = 100
"""Come and go before the memory is first looked at, so that what is needed once is there."""
_SETTLED_S = 2.0
_OPEN_WITHIN_S = 30.0
_KIB = 1024
_ROUND_S = 45.0


async def measure(plan: Plan) -> Findings:
    """Measure, with a new relay for each round. Raises ``BenchError``, also where too few files may be open."""
    readers = plan.scaled(_READERS)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < readers + _SPARE_FILES:
        message = (
            f"{names.MEMORY} needs {readers + _SPARE_FILES} open files per process, the limit is {files}: ulimit -n"
        )
        raise BenchError(message)
    rounds: list[dict[str, float]] = []
    async with Stand().running() as stand:
        await stand.provider()
        await stand.redis()
        await stand.worker()
        for number in range(plan.rounds):
            tell(f"memory, round {number + 1} of {plan.rounds}: {readers} readers")
            rounds.append(await _round(stand, readers))
    reached_kib = median(one["per_reader_bytes"] for one in rounds) / _KIB
    what = f"memory per open SSE reader, {readers} readers on one relay"
    row = Row(names.MEMORY, what, reached_kib, "", None, "KiB", "amount", reached_kib, 16.0)
    lines = [
        tuple(f"{one[name] / _KIB:.1f}" for name in ("before_bytes", "after_bytes", "per_reader_bytes"))
        for one in rounds
    ]
    table = Table("Memory of a relay in each round, KiB", ("without readers", f"with {readers}", "per reader"), lines)
    return Findings([row], [table], {"readers": readers, "memory": rounds})


async def _round(stand: Stand, readers: int) -> dict[str, float]:
    """Return the resident memory of a new relay without and with its readers."""
    port = await stand.relay()
    streams = [await start_stream(port, _TOKENS, _PER_SECOND) for _stream in range(_STREAMS)]
    requests = [events_request(port, stream_id) for stream_id in streams]
    listeners = Listeners()
    try:
        await _open(listeners, port, requests, min(_FIRST_READERS, readers))
        await listeners.close()
        await asyncio.sleep(_SETTLED_S)
        before = rss_bytes(stand.pid("relay"))
        await _open(listeners, port, requests, readers)
        await asyncio.sleep(_SETTLED_S)
        after = rss_bytes(stand.pid("relay"))
        if any(one.lost for one in listeners.all):
            message = "readers were cut off while the memory was measured"
            raise BenchError(message)
    finally:
        await listeners.close()
        await stand.end("relay")
    return {"before_bytes": before, "after_bytes": after, "per_reader_bytes": (after - before) / readers}


async def _open(listeners: Listeners, port: int, requests: list[bytes], count: int) -> None:
    await listeners.open(port, lambda number: requests[number % len(requests)], count)
    await listeners.until(lambda one: one.tokens > 0, _OPEN_WITHIN_S, "did not get the stream's first token")


def _limit_s(plan: Plan) -> float:
    return 60.0 + plan.rounds * (_ROUND_S + plan.scaled(_READERS) / 100)


FAMILY = Family("memory", (names.MEMORY,), measure, _limit_s)
