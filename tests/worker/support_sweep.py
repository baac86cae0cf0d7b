"""A provider that is read as under load: in a sweep, as far as its answers allow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from shared.errors import ProviderError
from shared.events import Event
from worker.llm import Call, Finish
from worker.providers.provider import Provider
from worker.sweep import Sweep, Swept

_EVERY_S = 0.002


class SweptProvider:
    """Tells what ``provider`` tells, in its order. ``swept`` counts the batches that came by the sweep."""

    def __init__(self, provider: Provider) -> None:
        """Take over the provider."""
        self._provider = provider
        self.swept = 0

    async def stream(
        self, call: Call, _swept: Swept | None = None, /
    ) -> AsyncGenerator[Sequence[Event | Finish], None]:
        """Yield the answer's events; see ``Provider``."""
        taken: list[Event | Finish] = []

        def take(batch: Sequence[Event | Finish]) -> bool:
            if isinstance(batch[-1], Finish):
                return False
            taken.extend(batch)
            self.swept += 1
            return True

        async with sweeping() as sweep, aclosing(self._provider.stream(call, Swept(sweep, take))) as batches:
            try:
                async for batch in batches:
                    yield [*taken, *batch]
                    taken.clear()
            except ProviderError:
                if taken:
                    yield taken
                raise

    async def aclose(self) -> None:
        """Close the connections."""
        await self._provider.aclose()


@asynccontextmanager
async def sweeping() -> AsyncIterator[Sweep]:
    """Run a sweep every few milliseconds, and end it at last."""
    sweep, loop = Sweep(), asyncio.get_running_loop()

    timers: list[asyncio.TimerHandle] = []

    def run() -> None:
        sweep.run()
        timers[:] = [loop.call_later(_EVERY_S, run)]

    run()
    try:
        yield sweep
    finally:
        timers[0].cancel()
        sweep.end()
