"""What a decoder is: the bytes of one provider's answer in, canonical events out."""

from __future__ import annotations

from typing import Protocol

from shared.events import Event
from worker.llm import Finish


class Decoder(Protocol):
    """Bytes of one answer in, canonical events out. Pure."""

    @property
    def finished(self) -> bool:
        """Whether the provider has ended its answer."""
        ...

    @property
    def begun(self) -> bool:
        """Whether the provider has said anything of its answer; pings and the message's head do not count."""
        ...

    def feed(self, chunk: bytes) -> list[Event | Finish]:
        """Return the events that ``chunk`` completes. Raises ``ProviderError``; ``rest`` has what came before it."""
        ...

    def rest(self) -> list[Event | Finish]:
        """Return events decoded and not yet returned."""
        ...

    def at_end(self) -> list[Event | Finish]:
        """Return what the proper end of the body completes: the finish, or nothing where the answer was cut."""
        ...
