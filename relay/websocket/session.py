"""One socket's session: what its client says, and the streams that it follows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from aiohttp import WSMsgType, web
from redis.exceptions import RedisError

from relay.links import Reader
from relay.services import Services
from relay.state import owned_record
from relay.websocket.closing import CloseCode
from relay.websocket.followed import Followed, Wish
from relay.websocket.handshake import Access
from relay.websocket.messages import (
    Ack,
    Cancel,
    ClientMessage,
    Create,
    Follow,
    NotJsonError,
    Ping,
    Unsubscribe,
    id_in,
    parse,
)
from relay.websocket.sender import ClientGoneError, Sender
from relay.websocket.words import say, say_error
from shared.errors import (
    InvalidRequestError,
    LimitError,
    NotFoundError,
    TailraceError,
    UnauthorizedError,
    UnavailableError,
)
from shared.tasks import end_tasks

Work = Callable[[], Coroutine[Any, Any, None]]

_MOST_AT_ONCE = 32
"""Requests of one socket that may wait for Redis or a worker at a time."""


class Session:
    """Serves one socket. Messages are heard one after the other, and acted upon side by side."""

    def __init__(self, services: Services, access: Access, log: structlog.typing.FilteringBoundLogger) -> None:
        """Serve a client that may do what ``access`` says; ``log`` knows the connection."""
        self._services = services
        self.access = access
        self.log = log
        self.leaving = False
        self._followed: dict[str, Followed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests = 0
        self._wake: Callable[[], None] | None = None
        self._socket: web.WebSocketResponse
        self._sender: Sender
        self._group: asyncio.TaskGroup

    def leave(self) -> None:
        """Say goodbye soon: this relay is about to go."""
        self.leaving = True
        if self._wake is not None:
            self._wake()

    async def run(self, socket: web.WebSocketResponse, sender: Sender) -> None:
        """Return when the open socket is closed, by whichever side, and nothing of it is left."""
        self._socket, self._sender, self._wake = socket, sender, sender.poke
        async with asyncio.TaskGroup() as group:
            self._group = group
            listening = group.create_task(self._listen(), name="socket.listen")
            listening.add_done_callback(lambda _: sender.poke())
            try:
                with suppress(ClientGoneError):
                    while not (self.leaving or listening.done()):
                        await sender.send_answers()
                if self.leaving and not listening.done():
                    await end_tasks([listening])  # else two would wait for the client's close frame
                    await self._say_goodbye()
            finally:
                for task in (listening, *self._tasks):
                    task.cancel()

    def _begin(self, work: Work, name: str) -> None:
        """Have the work done beside all else, as long as the client is there.

        It is called once its task begins, which that of a client that leaves at once never does.
        """
        task = self._group.create_task(_while_there(work), name=f"socket.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        """Act on what the client says until the socket is closed."""
        while True:
            heard = await self._socket.receive()
            if heard.type is WSMsgType.TEXT:
                try:
                    self._hear(heard.data)
                    continue
                except NotJsonError:
                    pass
            elif heard.type is not WSMsgType.BINARY:
                return
            error = InvalidRequestError("every message is the text of one JSON object")
            await self._sender.close(CloseCode.NOT_JSON, say_error(error))
            return

    def _hear(self, text: str) -> None:
        """Act on one message, or have it acted upon. Raises ``NotJsonError``."""
        try:
            message = parse(text)
        except InvalidRequestError as error:
            self._sender.answer(say_error(error, id_in(text)))
            return
        try:
            self._act(message)
        except TailraceError as error:
            self._sender.answer(say_error(error, message.id))

    def _act(self, message: ClientMessage) -> None:
        """Do what the message asks for, at once or in a task. Raises ``TailraceError``."""
        match message:
            case Ping():
                self._sender.answer(say("pong", message.id))
            case Ack():
                if message.stream in self._followed:  # else it has crossed the last word on the stream
                    self._followed[message.stream].acknowledge(message.offset)
            case Unsubscribe():
                self._unsubscribe(message)
            case Follow():
                wish = Wish(message.stream, message.id, message.offset, message.format, message.credit)
                self._follow(wish, message.token)
            case Create():
                self._request(lambda: self._create(message), message)
            case Cancel():
                self._request(lambda: self._cancel(message), message)

    def _unsubscribe(self, message: Unsubscribe) -> None:
        """Leave a stream. Raises ``NotFoundError``."""
        followed = self._followed.get(message.stream)
        if followed is None:
            text = "stream: this socket does not follow it"
            raise NotFoundError(text)
        followed.leave("asked", message.id)

    def _request(self, work: Work, message: ClientMessage) -> None:
        """Have a request acted upon. Raises ``LimitError``."""
        if self._requests >= _MOST_AT_ONCE:
            text = f"this socket has {_MOST_AT_ONCE} requests that wait for their answers; wait for some of them"
            raise LimitError(text, retry_after_s=1)
        self._requests += 1
        self._begin(lambda: self._answered(work, message.id), message.type)

    async def _answered(self, work: Work, request_id: str | None) -> None:
        """Do the work; what goes wrong is its answer."""
        try:
            await work()
        except TailraceError as error:
            self._sender.answer(say_error(error, request_id))
        except (RedisError, OSError) as error:
            self.log.warning("socket.redis_lost", error=type(error).__name__)
            away = UnavailableError("the service's memory does not answer; try again shortly", retry_after_s=1)
            self._sender.answer(say_error(away, request_id))
        finally:
            self._requests -= 1

    async def _create(self, message: Create) -> None:
        """Start a stream, say so, and follow it if wished."""
        tenant = self._tenant()
        if message.follow:
            self._check_room()
        # Shielded: a client that goes away must not leave the start order half done.
        starting = self._services.starter.start(tenant, message.request, message.key, followed=message.follow)
        started = await asyncio.shield(starting)
        stream_id = started.stream_id
        self._sender.answer(say("created", message.id, stream=stream_id, attached=started.attached))
        if message.follow and stream_id not in self._followed:
            self._follow(Wish(stream_id, message.id, "", message.format, message.credit))

    async def _cancel(self, message: Cancel) -> None:
        """End a stream and say how it ended."""
        tenant = self._tenant()
        record = await owned_record(self._services.log, message.stream, tenant)
        if not record.ended_ms:
            await asyncio.shield(self._services.canceller.cancel(message.stream, record))
            record = await owned_record(self._services.log, message.stream, tenant)
        self._sender.answer(say("cancelled", message.id, stream=message.stream, status=record.status))

    def _tenant(self) -> str:
        """Return on whose behalf the client may do as it likes. Raises ``UnauthorizedError``."""
        if self.access.link is not None:
            message = "this socket was opened with a link, which only reads; open one with an API key"
            raise UnauthorizedError(message)
        return self.access.tenant

    def _check_room(self) -> None:
        """Raise ``LimitError`` when the socket follows as many streams as it may."""
        most = self._services.settings.socket_streams
        if len(self._followed) >= most:
            message = f"a socket follows at most {most} streams; unsubscribe from one, or open another socket"
            raise LimitError(message, retry_after_s=1)

    def _follow(self, wish: Wish, token: str | None = None) -> None:
        """Begin to follow a stream. Raises ``InvalidRequestError`` or ``LimitError``."""
        if wish.stream_id in self._followed:
            message = "stream: this socket follows it already; unsubscribe from it first"
            raise InvalidRequestError(message, field="stream")
        self._check_room()
        followed = self._followed[wish.stream_id] = Followed(self._services, self._sender, wish, self.log)
        self._begin(lambda: self._told(followed, wish, token), "follow")

    async def _told(self, followed: Followed, wish: Wish, token: str | None) -> None:
        """Follow a stream to its last word, before which the client cannot follow it again."""
        last = await followed.run(lambda: self._reader(wish.stream_id, token))
        del self._followed[wish.stream_id]
        if last is not None:
            self._sender.answer(last)

    async def _reader(self, stream_id: str, token: str | None) -> Reader:
        """Return as whom the client reads a stream. Raises ``UnauthorizedError``."""
        if token is not None:
            return await self._services.links.holder(token, stream_id)
        if self.access.link is None:
            return Reader(self.access.tenant)
        if stream_id == self.access.stream_id:
            return self.access.link
        message = "this socket was opened with a link to another stream; send this one's 'token' along"
        raise UnauthorizedError(message)

    async def _say_goodbye(self) -> None:
        """Send the client away, to come back elsewhere after a moment."""
        reconnect_in_ms = round(random.uniform(0, self._services.settings.retry_ms))  # noqa: S311 - spreads clients
        await self._sender.close(CloseCode.DRAINING, say("goodbye", reconnect_in_ms=reconnect_in_ms))


async def _while_there(work: Work) -> None:
    """Do the work until it is done or the client has gone."""
    with suppress(ClientGoneError):
        await work()
