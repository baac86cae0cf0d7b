"""How an SDK's calls reach a provider: by aiohttp, over connections that are kept for the next call.

A new connection for each call would delay every first token. A server may close a kept one at any time, without a word.
So it is looked at before it is used again; without TLS it is not used within milliseconds of an answer's end, which is
when servers close that never keep one. What remains is a server that closes it in the very moment in which the call is
under way: that costs the stream an attempt, since nobody can know whether the server has begun with the call.
"""

from __future__ import annotations

import base64
import select
import ssl
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import NamedTuple, cast
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

import aiohttp
import httpx2
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from shared.errors import ConfigurationError

ANSWER = "aiohttp"
"""The extension of an SDK's answer that is aiohttp's own: to read its body through fewer layers."""

_CONNECT_S = 10.0
_KEEP_TLS_S = 15.0
"""How long an idle connection is kept for the next call; longer invites the server to close it under a request."""
_KEEP_PLAIN_S = 0.25
"""The same without TLS, where connecting is cheap, and a server of a local model may spare a thread for each."""
_REST_PLAIN_S = 0.005
"""How long one without TLS is left alone after an answer. llama.cpp promises to keep it, and closes after 0.2 ms."""
_CLOSED = select.POLLIN | select.POLLRDHUP if hasattr(select, "POLLRDHUP") else select.POLLIN


class Head(NamedTuple):
    """All that is sent of a call before its body."""

    method: str
    url: str
    headers: dict[str, str]


@dataclass
class Exchange:
    """One call that an SDK sends, as whoever has it sent sees it."""

    given: aiohttp.ClientResponse | None = None
    """What the SDK is given as its answer, with nothing sent: the call has been sent already."""
    sent: tuple[Head | None, bytes] = (None, b"")
    """What it has sent: a call's head and body."""

    def take_given(self) -> aiohttp.ClientResponse | None:
        """Return what is given, once."""
        given, self.given = self.given, None
        return given

    def take_sent(self) -> tuple[Head | None, bytes]:
        """Return what was sent, and hold it no longer: a connection that was made for it holds this for its life."""
        sent, self.sent = self.sent, (None, b"")
        return sent


EXCHANGE: ContextVar[Exchange] = ContextVar("exchange")
"""The exchange of the call that is being sent through an SDK."""


class Transport(httpx2.AsyncBaseTransport):
    """One server's connections, ``calls`` at most. Its errors are ``aiohttp.ClientError``."""

    def __init__(self, base_url: str, calls: int) -> None:
        """Take the address. Opens no connection yet. Raises ``ConfigurationError`` for a proxy that cannot be used."""
        server = urlsplit(base_url)
        self._calls = calls
        self._proxy, told = _proxy_to(server)
        self._has_tls = server.scheme == "https"
        # What a proxy is told is for it alone: with TLS it is the tunnel that is asked for so, else every call.
        self._tunnel_headers = told if self._has_tls else {}
        self._headers = {"accept-encoding": "identity"} | ({} if self._has_tls else told)
        # A context of now: aiohttp's own is made when it is imported.
        self._tls = httpx2.create_ssl_context() if self._has_tls else True
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send, and return the answer's head; its body is read as it comes. Cancelling it closes the connection."""
        exchange = EXCHANGE.get(None) or Exchange()
        if (answer := exchange.take_given()) is None:
            headers = {**request.headers, **self._headers}
            headers.pop("content-length", None)  # which aiohttp says itself, as it is for each call
            head = Head(request.method, str(request.url), headers)
            data = await request.aread()
            exchange.sent = (head, data)
            answer = await self.send(head, data)
        extensions = {ANSWER: answer}
        return httpx2.Response(answer.status, headers=answer.raw_headers, stream=_Pieces(answer), extensions=extensions)

    async def send(self, head: Head, data: bytes) -> aiohttp.ClientResponse:
        """Send a call, and return its answer when its head has come. Cancelling it closes the connection."""
        return await self._open_session().request(
            head.method,
            head.url,
            headers=head.headers,
            data=data or None,
            allow_redirects=False,
            proxy=self._proxy,
            proxy_headers=self._tunnel_headers,
        )

    def _open_session(self) -> aiohttp.ClientSession:
        """Return the session, which can be made only where a loop runs."""
        if self._session is None:
            kept_s, rest_s = (_KEEP_TLS_S, 0.0) if self._has_tls else (_KEEP_PLAIN_S, _REST_PLAIN_S)
            connector = _Connector(rest_s, limit=self._calls, ssl=self._tls, keepalive_timeout=kept_s)
            # The other waits than for a connection are limited by Patience.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.CookieJar(unsafe=True),  # also of a server that is named by its address
            )
        return self._session

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        if self._session is not None:
            await self._session.close()


class _Connector(aiohttp.TCPConnector):
    """Gives out no kept connection that its server has closed, though the event loop has yet to hear of it.

    Nor one whose last answer ended less than ``rest_s`` ago: its server may be about to.
    """

    def __init__(self, rest_s: float, *, limit: int, ssl: bool | ssl.SSLContext, keepalive_timeout: float) -> None:
        super().__init__(limit=limit, ssl=ssl, keepalive_timeout=keepalive_timeout)
        self._rest_s = rest_s
        self._resting_since = WeakKeyDictionary[ResponseHandler, float]()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # as aiohttp calls it
    ) -> Connection:
        """Return a connection that is open, a kept or a new one. Those that would not do are closed."""
        while self._is_doubtful(connection := await super().connect(req, traces, timeout)):
            connection.close()
        protocol = cast("ResponseHandler", connection.protocol)  # None only once it is released
        connection.add_callback(partial(self._let_rest, protocol))
        return connection

    def _let_rest(self, protocol: ResponseHandler) -> None:
        """Note when a connection's answer has ended."""
        self._resting_since[protocol] = monotonic()

    def _is_doubtful(self, connection: Connection) -> bool:
        """Tell whether a kept connection is closed or may be about to be. A new one is what it is."""
        since_s = self._resting_since.get(cast("ResponseHandler", connection.protocol))
        return since_s is not None and (monotonic() - since_s < self._rest_s or _is_closed(connection))


def _is_closed(connection: Connection) -> bool:
    """Tell whether there is anything to read before anything was asked: mostly the end of the connection."""
    under = connection.transport.get_extra_info("socket") if connection.transport else None
    if under is None or under.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(under.fileno(), _CLOSED)
    return bool(poll.poll(0))


class _Pieces(httpx2.AsyncByteStream):
    """An answer's body, for SDKs that read it themselves."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._answer.content.iter_any():
            yield piece

    async def aclose(self) -> None:
        """Leave the connection to the next call, or close it where the body has not come to its end."""
        self._answer.release()
        await self._answer.wait_for_close()


def _proxy_to(server: SplitResult) -> tuple[str | None, dict[str, str]]:
    """Return the proxy that the environment names for a server, and what it is told to let a call pass.

    Raises ``ConfigurationError`` for one that speaks no HTTP.
    """
    host = server.hostname or ""
    named = {} if proxy_bypass(host) or proxy_bypass(server.netloc) else getproxies()
    address = named.get(server.scheme) or named.get("all")
    if not address:
        return None, {}
    proxy = urlsplit(address if "://" in address else f"http://{address}")
    if proxy.scheme not in ("http", "https"):
        message = f"the proxy for {host} is a {proxy.scheme} proxy, and only HTTP proxies can be used; see NO_PROXY"
        raise ConfigurationError(message)
    told = {}
    if proxy.username is not None:
        user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        told = {"proxy-authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
    return proxy._replace(netloc=proxy.netloc.rpartition("@")[2]).geturl(), told
