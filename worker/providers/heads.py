"""What an SDK says of a call besides its body, kept: to say the same again takes it longer than all the rest of a call.

The head of a call (address, credentials, versions) depends on nothing but its kind, which the provider names. When the
SDK has sent two calls of a kind with the very same head, and with the bodies that we would have sent, those that follow
are sent without it. An answer that is not plain, a refusal above all, goes through the SDK: it knows what that means.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Any

import aiohttp

from worker.providers.body import Body, body_of
from worker.providers.transport import EXCHANGE, Exchange, Head, Transport

_MOST_KINDS = 64
"""Heads kept of one server: clients may name features that headers ask for, and so make kinds."""


class Heads:
    """The heads of the calls to one server."""

    def __init__(self, transport: Transport) -> None:
        """Take what sends the calls, those of the SDK too."""
        self._transport = transport
        self._said_once: dict[Hashable, Head] = {}
        self._known: dict[Hashable, Head] = {}

    async def send(
        self, kind: Hashable, body: dict[str, Any], stack: AsyncExitStack, by_sdk: Callable[[], Awaitable[Body]]
    ) -> Body:
        """Send a call and return its answer's body; ``stack`` closes it. ``by_sdk`` sends it through the SDK.

        Raises what ``by_sdk`` does, ``aiohttp.ClientError``, ``OSError``, and ``ValueError`` for what JSON cannot hold.
        """
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        exchange = Exchange()
        if (head := self._known.get(kind)) is not None:
            answer = await self._transport.send(head, data)
            stack.callback(answer.close)
            if _is_plain(answer):
                return body_of(answer)
            if self._known.get(kind) is head:  # others may have been refused in the meantime
                del self._known[kind]
            exchange.given = answer
        token = EXCHANGE.set(exchange)
        try:
            answered = await by_sdk()
        finally:
            EXCHANGE.reset(token)
            said, sent = exchange.take_sent()
        if said is not None and json.loads(sent) == body:
            self._note(kind, said)
        return answered

    def _note(self, kind: Hashable, head: Head) -> None:
        """Take in a head that the SDK has sent: it is known if it was the same the time before."""
        if self._said_once.get(kind) == head:
            self._keep(self._known, kind, head)
        self._keep(self._said_once, kind, head)

    def _keep(self, heads: dict[Hashable, Head], kind: Hashable, head: Head) -> None:
        """Keep a head, in place of all others where there are too many."""
        if len(heads) >= _MOST_KINDS:
            heads.clear()
        heads[kind] = head


def _is_plain(answer: aiohttp.ClientResponse) -> bool:
    """Tell whether an answer is a body to be read as it comes."""
    return answer.status == HTTPStatus.OK and answer.headers.get("content-encoding", "identity") == "identity"
