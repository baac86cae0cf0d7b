"""What the decoders have in common that tell an answer of server-sent events by ``Telling``."""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from shared.events import Event
from shared.sse import SseLimitError, SseParser
from worker.llm import Call, Finish
from worker.providers import failures
from worker.providers.telling import Telling


class SseDecoder(ABC):
    """Decodes one answer. Feed it every chunk; it is done when ``finished`` is true, and cut if that never happens."""

    def __init__(self, call: Call) -> None:
        """Take the call whose answer this is."""
        self._parser = SseParser()
        self._telling = Telling(call)

    @property
    def finished(self) -> bool:
        """Whether the provider has ended its answer."""
        return self._telling.finished

    @property
    def begun(self) -> bool:
        """Whether the provider has said anything of its answer; that there will be one does not count."""
        return self._telling.begun

    def feed(self, chunk: bytes) -> list[Event | Finish]:
        """Return the events that ``chunk`` completes. Raises ``ProviderError`` for an error in it or a malformed one.

        Events completed by a chunk that then raises are not lost: ``rest`` returns them.
        """
        try:
            for sse in self._parser.feed(chunk):
                if sse.data is not None and not self._telling.finished:
                    self._on_event(sse.event, sse.data)
        except (SseLimitError, msgspec.DecodeError, UnicodeDecodeError):
            raise failures.malformed() from None
        return self._telling.take()

    def rest(self) -> list[Event | Finish]:
        """Return events decoded and not yet returned."""
        return self._telling.take()

    @abstractmethod
    def at_end(self) -> list[Event | Finish]:
        """Return the finish where the body's end is the answer's, and nothing where it was cut."""

    @abstractmethod
    def _on_event(self, name: str, data: bytes) -> None:
        """Take in one event. Raises ``ProviderError``, and ``msgspec.DecodeError`` for a malformed one."""
