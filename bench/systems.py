"""The systems that are measured against each other, started side by side on one stand, with one provider."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from bench.plan import BenchError
from bench.reader import read_answer
from bench.stand import Stand
from bench.target import DIRECT, OURS, PROXY, SDK_SERVER, TUTORIAL, Target

_WARM_UP_ANSWERS = 20
_WARM_UP_TOKENS = 3
_WARM_UP_RATE = 200.0
_PATIENCE_S = 20.0
_SLOTS = 256
"""The worker's default."""
_SPARE_SLOTS = 16
_HELPERS = {PROXY: "bench.proxy", SDK_SERVER: "bench.sdk_server", TUTORIAL: "bench.tutorial"}


async def start_systems(stand: Stand, wanted: Collection[Target], most_streams: int) -> dict[str, Target]:
    """Start a provider and the systems, have each answer a little, and return where they are, by name.

    Raises ``BenchError``.
    """
    provider_port = await stand.provider()
    places: dict[str, Target] = {}
    try:
        async with asyncio.TaskGroup() as group:
            for target, module in _HELPERS.items():
                if target in wanted:
                    group.create_task(_start_helper(stand, target, module, places))
            if set(OURS) & set(wanted):
                group.create_task(_start_tailrace(stand, most_streams, places))
    except* BenchError as errors:
        raise BenchError(str(errors.exceptions[0])) from None
    if DIRECT in wanted:
        places[DIRECT.name] = DIRECT.at(provider_port, {})
    # By the order asked for: starting up took them in any.
    targets = {target.name: places[target.name] for target in wanted}
    for place in targets.values():
        await warm_up(place)
    return targets


async def warm_up(target: Target) -> None:
    """Have a system answer a little, so that it is not measured while it imports or connects."""
    for _answer in range(_WARM_UP_ANSWERS):
        await read_answer(target, _WARM_UP_TOKENS, _WARM_UP_RATE, _PATIENCE_S)


def slots_for(streams: int) -> int:
    """Return the slots that a worker must be told to run so many streams; 0 where its default will do."""
    return streams + _SPARE_SLOTS if streams + _SPARE_SLOTS > _SLOTS else 0


async def _start_helper(stand: Stand, target: Target, module: str, places: dict[str, Target]) -> None:
    port = await stand.helper(target.name, module, stand.provider_url)
    places[target.name] = target.at(port, stand.pids(target.name))


async def _start_tailrace(stand: Stand, most_streams: int, places: dict[str, Target]) -> None:
    await stand.redis()
    await stand.worker(slots=slots_for(most_streams))
    port = await stand.relay()
    for target in OURS:
        places[target.name] = target.at(port, stand.pids("redis", "relay", "worker"))
