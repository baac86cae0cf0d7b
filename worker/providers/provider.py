"""What a provider is: something that turns a request into canonical events, and nothing more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from shared.events import Event
from worker.llm import Call, Finish
from worker.sweep import Swept


class Provider(Protocol):
    """One way to reach LLMs. Safe for any number of concurrent calls."""

    def stream(self, call: Call, swept: Swept | None = None, /) -> AsyncGenerator[Sequence[Event | Finish], None]:
        """Yield the call's events as they arrive: all that one network read brought, together.

        The first is a ``step`` start; blocks are numbered from ``call.first_block``. Deltas are never held back.
        Ends with a ``Finish`` as the very last item, after ``step`` stop and every ``block_stop``. Raises
        ``ProviderError`` for any failure, including a stream cut before its own end. Closing the iterator or
        cancelling the task closes the provider's connection.

        With ``swept``, batches may be handed to its ``take`` instead, in order with what is yielded, while the iterator
        is being waited for; what that refuses is yielded.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        ...
