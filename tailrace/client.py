"""The Python client: starts, follows and cancels streams on a relay, and comes back by itself when cut."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from shared.answer import Answer
from shared.errors import GoneError
from tailrace.client_http import SSE, Call, Http, header_text, stream_path
from tailrace.client_retry import Reconnect, Timeouts
from tailrace.client_stream import AnswerStream
from tailrace.client_types import ModelInfo, ModelPage, Options, Page, StreamState

Messages = str | Sequence[Mapping[str, Any]]


class Client:
    """A client of one Tailrace address, to be used as ``async with Client(url) as client``.

    Safe for any number of streams at once. Every method that asks the relay raises a ``TailraceError``: the relay's
    own errors by their classes (``shared.errors``), those of the way to it from ``tailrace.client_errors``.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8080",
        api_key: str | None = None,
        *,
        timeouts: Timeouts | None = None,
        on_reconnect: Callable[[Reconnect], None] | None = None,
    ) -> None:
        """Take the relay's address, the tenant's key, how long to wait, and who is told before each new try.

        Raises ``ValueError`` for an address or a key that cannot be one.
        """
        self.timeouts = timeouts or Timeouts()
        self._http = Http(base_url, api_key, self.timeouts, on_reconnect)

    def __repr__(self) -> str:
        """Name the address, never the key."""
        return f"Client({self._http.base_url!r})"

    async def __aenter__(self) -> Self:
        """Open the client; nothing is sent yet."""
        await self._http.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection; the streams go on."""
        await self._http.aclose()

    def stream(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        idempotency_key: str | None = None,
        timeouts: Timeouts | None = None,
        **options: Unpack[Options],
    ) -> AnswerStream:
        """Return an answer to read: ``async for event in client.stream("Hello")``, or ``async with`` for more.

        The start is sent once, however often it must be repeated on the way: under ``idempotency_key``, a fresh one
        if none is given. ``messages`` is a text or turns in the Anthropic Messages shape.
        """
        key = header_text(idempotency_key or secrets.token_hex(16), "an idempotency key")
        turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
        body: dict[str, Any] = {"messages": turns, **options}
        if model is not None:
            body["model"] = model
        start = Call("POST", "/v1/streams", body, {"Accept": SSE, "Idempotency-Key": key})
        return AnswerStream(self._http, timeouts or self.timeouts, start=start)

    async def ask(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        timeouts: Timeouts | None = None,
        **options: Unpack[Options],
    ) -> Answer:
        """Return the finished answer. Raises ``AnswerFailedError`` if it failed; ``status`` tells the other endings."""
        return await self.stream(messages, model=model, timeouts=timeouts, **options).result()

    def follow(self, stream_id: str, offset: str | None = None, *, timeouts: Timeouts | None = None) -> AnswerStream:
        """Return a stream that exists, to be read after ``offset``; from its start without one, ``"now"`` for its end.

        Raises ``InvalidRequestError`` for what cannot be a stream's id, ``ValueError`` for what cannot be an offset.
        """
        stream_path(stream_id)
        place = None if offset is None else header_text(offset, "an offset")
        return AnswerStream(self._http, timeouts or self.timeouts, stream_id=stream_id, offset=place)

    async def status(self, stream_id: str) -> StreamState:
        """Return the stream as it stands."""
        return await self._http.ask(Call("GET", stream_path(stream_id)), StreamState)

    async def cancel(self, stream_id: str) -> StreamState:
        """Stop a stream for every reader and return how it ended; one that had ended before is left as it was."""
        return await self._http.ask(Call("POST", stream_path(stream_id) + "/cancel"), StreamState)

    async def delete(self, stream_id: str) -> None:
        """Cancel a stream and erase it; nothing happens to one that is erased already."""
        try:
            await self._http.ask(Call("DELETE", stream_path(stream_id)), type(None))
        except GoneError:
            # What the relay answers when the first try did it and only its answer was lost.
            return

    async def list(
        self,
        *,
        status: str | None = None,
        metadata: Mapping[str, str] | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page:
        """Return the tenant's streams, newest first, of one status and with all of ``metadata`` where given."""
        params = {f"metadata.{name}": value for name, value in (metadata or {}).items()} | {"limit": str(limit)}
        if status is not None:
            params["status"] = status
        if cursor is not None:
            params["cursor"] = cursor
        return await self._http.ask(Call("GET", "/v1/streams", params=params), Page)

    async def models(self) -> Sequence[ModelInfo]:
        """Return the models that can be asked for."""
        return (await self._http.ask(Call("GET", "/v1/models"), ModelPage)).models
