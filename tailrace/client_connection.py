"""One open event connection: bytes in, frames out, with the silence it may keep bounded. Knows nothing of resuming."""

from __future__ import annotations

import asyncio

import aiohttp
import msgspec

from shared.errors import TailraceError
from shared.sse import SseEvent, SseLimitError, SseParser
from tailrace.client_errors import ConnectionLostError, UnexpectedAnswerError, error_told
from tailrace.client_http import reason_of


class EventConnection:
    """A response whose body is an event stream. Reads only when asked: the socket pushes back on a slow reader."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Take a response whose headers have been read; it is closed by ``close``."""
        self._response = response
        self._parser = SseParser()
        self._goodbye: TailraceError | None = None
        self._opened_at = asyncio.get_running_loop().time()

    @property
    def lifetime_s(self) -> float:
        """Seconds since the connection's first byte."""
        return asyncio.get_running_loop().time() - self._opened_at

    async def read(self, idle_s: float) -> list[SseEvent]:
        """Return the frames that one network read completed: none where it brought comments or a part of a frame.

        Raises the error with which the relay has said goodbye; ``ConnectionLostError`` when the connection is cut, was
        closed by the server, or keeps silent, without even a comment, for ``idle_s``; ``UnexpectedAnswerError`` for a
        frame beyond all bounds. A frame that is not complete is never returned.
        """
        try:
            async with asyncio.timeout(idle_s):
                piece = await self._response.content.readany()
        except TimeoutError as error:
            message = f"the connection fell silent for {idle_s:g} s"
            raise ConnectionLostError(message) from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"the connection was lost: {reason_of(error)}"
            raise ConnectionLostError(message) from error
        if not piece:
            message = "the server closed the connection before the end of the answer"
            raise self._goodbye or ConnectionLostError(message)
        try:
            frames = self._parser.feed(piece)
        except SseLimitError as error:
            raise UnexpectedAnswerError(str(error)) from error
        return [frame for frame in frames if not self._is_goodbye(frame)]

    def _is_goodbye(self, frame: SseEvent) -> bool:
        """Tell whether the frame is the relay's own error, which no log holds, and keep it if so.

        It has no offset. An error of the answer itself has one and is for the reader.
        """
        if frame.event != "error" or frame.id is not None or frame.data is None:
            return False
        try:
            self._goodbye = error_told(msgspec.json.decode(frame.data)) or self._goodbye
        except msgspec.DecodeError:
            return False
        return self._goodbye is not None

    def close(self) -> None:
        """Close the connection; the stream itself is not touched. Idempotent."""
        self._response.close()
