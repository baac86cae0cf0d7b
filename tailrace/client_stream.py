"""One answer as it is read: events once and in order, over as many connections as that takes."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from shared.answer import Answer
from shared.events import EndEvent, Event, ResetEvent, StartEvent, decode_event
from shared.sse import SseEvent
from tailrace.client_errors import AnswerFailedError, UnexpectedAnswerError
from tailrace.client_http import Call, Http, stream_path
from tailrace.client_link import Link
from tailrace.client_retry import Timeouts
from tailrace.client_types import StreamState

NOW = "now"
"""The offset of whoever wants only what comes."""


class AnswerStream:
    """An answer to be read with ``async for``, as often as wanted and from where the last reading stopped.

    Lazy: the request goes out when ``async with`` is entered or the first event is asked for. Leaving, breaking off
    or being cancelled closes the connection and nothing else: the answer goes on, and ``cancel`` is what stops it.
    Events are read only as fast as they are taken. One task reads at a time.
    """

    def __init__(
        self,
        http: Http,
        timeouts: Timeouts,
        *,
        start: Call | None = None,
        stream_id: str | None = None,
        offset: str | None = None,
    ) -> None:
        """Take either the request that starts the stream or the id of one that exists, and where to read on from."""
        self.offset = offset
        """The offset of the last event given out; a later ``follow`` can go on from it."""
        self.answer = Answer()
        """What the events given out so far add up to; stays empty when reading began in the middle."""
        self.ended = False
        """Whether there is nothing left to read."""
        self._http = http
        self._timeouts = timeouts
        self._link = Link(http, timeouts, start, stream_id)
        self._whole = offset is None
        self._pending: deque[SseEvent] = deque()
        """What one network read brought and has not been given out: bounded by the size of a read."""
        self._reader: object = None
        self._waiting = False

    def __repr__(self) -> str:
        """Name the stream and the place in it."""
        return f"AnswerStream(id={self.id!r}, offset={self.offset!r}, ended={self.ended})"

    @property
    def id(self) -> str | None:
        """The stream's id; ``None`` until the start has been answered."""
        return self._link.id

    @property
    def text(self) -> str:
        """The text given out so far, without what a reset has discarded."""
        return self.answer.text

    async def __aenter__(self) -> Self:
        """Connect, so that ``id`` is known. Raises what the start or the first connection failed with."""
        while not self._link.connected and not self.ended:
            await self._advance()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection; the answer goes on."""
        self.close()

    def close(self) -> None:
        """Close the connection; the answer goes on, and a new ``async for`` reads on. Idempotent."""
        self._reader = None
        self._pending.clear()
        self._link.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Give the events after ``offset``, up to the end event.

        Raises a ``TailraceError`` when the stream cannot be read on, ``RuntimeError`` when another task is reading.
        """
        return self._events()

    async def result(self) -> Answer:
        """Read to the end and return the whole answer, also when reading began in its middle.

        ``status`` tells completed, cancelled and incomplete apart; raises ``AnswerFailedError`` for a failed answer,
        and otherwise as reading does.
        """
        async for _event in self:
            pass
        if not self._whole:
            return await AnswerStream(self._http, self._timeouts, stream_id=self.id).result()
        if self.answer.end is None:
            message = "the relay says there is nothing to read, but the end has not been told"
            raise UnexpectedAnswerError(message, stream_id=self.id)
        if self.answer.status == "failed":
            told = self.answer.error
            message = told.message if told else "the answer failed without saying why"
            code = told.code if told else "internal"
            raise AnswerFailedError(message, answer=self.answer, failure_code=code, stream_id=self.id)
        return self.answer

    async def cancel(self) -> StreamState:
        """Stop the answer for every reader and return how it ended. Raises ``RuntimeError`` before it has begun."""
        if self.id is None:
            message = "the stream has not begun: enter it or read from it before cancelling it"
            raise RuntimeError(message)
        return await self._http.ask(Call("POST", stream_path(self.id) + "/cancel"), StreamState)

    async def _events(self) -> AsyncIterator[Event]:
        """Yield events until the end. A reading that was left in the middle loses its turn to the next one."""
        if self._waiting:
            message = "another task is reading this stream; to read it twice, follow it a second time"
            raise RuntimeError(message)
        reader = self._reader = object()
        self._link.progress()
        try:
            while self._pending or not self.ended:
                event = await self._next()
                if event is not None:
                    yield event
                if self._reader is not reader:
                    message = "this reading is over: the stream was closed, or is being read elsewhere"
                    raise RuntimeError(message)
        finally:
            if self._reader is reader:
                self.close()

    async def _next(self) -> Event | None:
        """Return the next event, or ``None`` after one step towards it."""
        if self._pending:
            return self._take(self._pending.popleft())
        await self._advance()
        return None

    async def _advance(self) -> None:
        """Let the link do one step."""
        self._waiting = True
        try:
            if self.offset == NOW and self.id is not None:
                # Not left to the relay: after a cut before the first event, its "now" would be a later one.
                self.offset = (await self._http.ask(Call("GET", stream_path(self.id)), StreamState)).offset
            frames = await self._link.step(self.offset)
        finally:
            self._waiting = False
        if frames is None:
            self.ended = True
        else:
            self._pending.extend(frames)

    def _take(self, frame: SseEvent) -> Event | None:
        """Return the event to give out, ``None`` for what is none or is known; moves the offset."""
        if frame.data is None:
            return None
        try:
            event = decode_event(frame.data)
        except ValueError as error:
            message = f"an event after {self.offset or 'the start'} cannot be understood: {error}"
            raise UnexpectedAnswerError(message, stream_id=self.id) from error
        if isinstance(event, ResetEvent):
            # Always taken, also when it leads back: after a failover of Redis the log may be shorter than what was
            # read of it. Without an id it leads back to before the start, in another stream.
            if event.keep_blocks == 0 and (self.offset is None or (frame.id or "") < self.offset):
                self.answer = Answer()
            self.offset = frame.id
        elif frame.id is not None and self.offset is not None and frame.id <= self.offset:
            return None
        else:
            self.offset = frame.id or self.offset
        self._note(event)
        return event

    def _note(self, event: Event) -> None:
        """Keep what the event says about the stream."""
        self._link.progress()
        if isinstance(event, StartEvent):
            self._link.id = event.stream_id
        self.ended = isinstance(event, EndEvent)
        if self._whole:
            self.answer.apply(event)
