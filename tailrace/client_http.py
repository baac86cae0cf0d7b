"""Single HTTP requests to a relay: sent with a first-byte timeout, every failure a typed error, retried on demand."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from shared.errors import InvalidRequestError, TailraceError
from shared.offset import is_stream_id
from tailrace.client_errors import ConnectionLostError, ForeignAnswerError, UnexpectedAnswerError, error_of
from tailrace.client_retry import Reconnect, Recovery, Timeouts

_MOST_BYTES = 67_108_864
"""Largest JSON answer: twice the largest stream a relay keeps by default."""
_MOST_ERROR_BYTES = 65_536
_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")
_SUCCESS = frozenset((200, 201, 202, 204))
SSE = "text/event-stream"
T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """One request: how, where, and what it carries."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)


def header_text(text: str, what: str) -> str:
    """Return ``text`` if a header can carry it. Raises ``ValueError``, without the text, which may be a secret."""
    if _HEADER_TEXT.fullmatch(text) is None:
        message = f"{what} must be visible ASCII characters without spaces"
        raise ValueError(message)
    return text


def stream_path(stream_id: str) -> str:
    """Return the path of a stream. Raises ``InvalidRequestError`` for what cannot be a stream's id."""
    if not is_stream_id(stream_id):
        message = f"{stream_id[:40]!r} is not a stream id: those are 26 letters and digits"
        raise InvalidRequestError(message)
    return f"/v1/streams/{stream_id}"


class Http:
    """A connection pool to one address. Opened and closed by the client that owns it."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        timeouts: Timeouts,
        notify: Callable[[Reconnect], None] | None = None,
    ) -> None:
        """Take where the relay is and the key to it. Raises ``ValueError`` where either cannot be one."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            message = "the address of a relay looks like http://HOST:PORT, without user, password or query"
            raise ValueError(message)
        self.base_url = base_url.rstrip("/")
        self.timeouts = timeouts
        self.notify = notify
        self._headers = {"Accept-Encoding": "identity"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {header_text(api_key, 'an API key')}"
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        """Name the address, never the key."""
        return f"Http({self.base_url!r})"

    async def open(self) -> Self:
        """Open the pool. Idempotent. As many connections as there are streams read: each caller bounds its own."""
        if self._session is None:
            unlimited = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
            self._session = aiohttp.ClientSession(
                headers=self._headers, timeout=unlimited, connector=aiohttp.TCPConnector(limit=0)
            )
        return self

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def send(self, call: Call, wait_s: float) -> aiohttp.ClientResponse:
        """Return the answer once its headers are there; the body is the caller's to read and close.

        Raises ``ConnectionLostError`` when no answer begins within ``wait_s``, otherwise the error the answer tells.
        """
        if self._session is None:
            message = "use the client inside 'async with': it is not open"
            raise RuntimeError(message)
        url = self.base_url + call.path
        try:
            async with asyncio.timeout(wait_s):
                response = await self._session.request(
                    call.method,
                    url,
                    json=call.body,
                    headers=call.headers,
                    params=call.params,
                    allow_redirects=False,
                )
        except TimeoutError as error:
            message = f"{url} did not begin to answer within {wait_s:g} s"
            raise ConnectionLostError(message) from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"{self.base_url} cannot be reached: {reason_of(error)}"
            raise ConnectionLostError(message) from error
        if response.status in _SUCCESS:
            return response
        try:
            body = await self._body(response, _MOST_ERROR_BYTES, wait_s)
        finally:
            response.close()
        raise error_of(response.status, response.headers, body, url)

    async def events(self, call: Call, wait_s: float) -> aiohttp.ClientResponse | None:
        """Return an event stream that has begun, or ``None`` when there is nothing left to tell (204)."""
        response = await self.send(call, wait_s)
        if response.status == 204:  # noqa: PLR2004
            response.close()
            return None
        if response.content_type != SSE:
            response.close()
            message = f"{self.base_url}{call.path} answered with {response.content_type}, not with events; "
            raise ForeignAnswerError(message + "is this the address of a relay?")
        return response

    async def once(self, call: Call, wait_s: float) -> Any:
        """Return what a plain request is answered, decoded from JSON; ``None`` for an answer without content."""
        response = await self.send(call, wait_s)
        try:
            body = await self._body(response, _MOST_BYTES, wait_s)
        finally:
            response.close()
        if response.status == 204:  # noqa: PLR2004
            return None
        if len(body) > _MOST_BYTES:
            message = f"{self.base_url}{call.path} answered with more than {_MOST_BYTES} bytes"
            raise UnexpectedAnswerError(message)
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            message = f"{self.base_url}{call.path} answered with {response.content_type}, not with JSON; "
            raise ForeignAnswerError(message + "is this the address of a relay?") from error

    async def ask(self, call: Call, kind: type[T]) -> T:
        """Return what a plain request is answered, as a ``kind``; asks again within ``start_s`` where that may help.

        Raises ``UnexpectedAnswerError`` for an answer that is no ``kind``, else what the last try failed with.
        """
        recovery = Recovery(self.timeouts.start_s, None, self.notify)
        while True:
            try:
                return msgspec.convert(await self.once(call, self.timeouts.first_byte_s), kind)
            except TailraceError as error:
                await recovery.pause(error)
            except msgspec.ValidationError as error:
                message = f"the answer to {call.method} {call.path} is not what this client knows: {error}"
                raise UnexpectedAnswerError(message) from error

    async def _body(self, response: aiohttp.ClientResponse, most_bytes: int, wait_s: float) -> bytes:
        """Return the body, or no more than ``most_bytes`` and one read of it.

        Raises ``ConnectionLostError`` when it is cut or not there within ``wait_s``.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(wait_s):
                while size <= most_bytes and (piece := await response.content.readany()):
                    pieces.append(piece)
                    size += len(piece)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            message = f"the answer of {self.base_url} was cut: {reason_of(error)}"
            raise ConnectionLostError(message) from error
        return b"".join(pieces)


def reason_of(error: BaseException) -> str:
    """Return in a few words what went wrong on the way, without the library's wrapping."""
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        return os.strerror(cause.errno) if cause.errno and cause.errno > 0 else str(cause.strerror or cause)
    if isinstance(error, TimeoutError):
        return "it fell silent"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "the connection was cut"
    return str(error) or type(error).__name__
