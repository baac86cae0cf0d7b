"""What an SDK says before the body of a call: kept where it is always the same, and asked for wherever it may not."""

from __future__ import annotations

import asyncio
import gc
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from worker.providers.body import Body, sdk_body
from worker.providers.heads import Heads
from worker.providers.transport import Exchange, Transport

BODY = {"say": "é"}


class Place:
    """A server, a client of it as SDKs have them, and the heads of the calls."""

    def __init__(self) -> None:
        """Begin with a server that answers, and a client that always says the same."""
        self.by_sdk = 0
        """Calls that the client was asked to send."""
        self.seen: list[tuple[dict[str, str], bytes]] = []
        """The headers and bodies that the server has had."""
        self.sdk_body = BODY
        """What the client sends as a body, whatever it is asked to."""
        self.sdk_headers = {"x-key": "k"}
        self.status = 200
        self.encoding = "identity"
        self.cookie = ""

    async def serve(self, request: web.Request) -> web.Response:
        """Answer one call."""
        self.seen.append((dict(request.headers), await request.read()))
        body = gzip.compress(b"ok") if self.encoding == "gzip" else b"ok"
        headers = {"content-encoding": self.encoding} | ({"set-cookie": self.cookie} if self.cookie else {})
        return web.Response(body=body, status=self.status, headers=headers)

    def point_to(self, url: str) -> None:
        """Make the clients of the server, which is at ``url`` now."""
        self._url = url
        self.transport = Transport(url, 10)
        self._client = httpx2.AsyncClient(transport=self.transport)
        self._heads = Heads(self.transport)

    async def call(self, kind: str = "usual") -> bytes:
        """Send one call, and return its answer."""
        async with AsyncExitStack() as stack:
            body = await self._heads.send(kind, BODY, stack, partial(self._by_sdk, stack))
            return await body.read()

    async def _by_sdk(self, stack: AsyncExitStack) -> Body:
        self.by_sdk += 1
        opened = self._client.stream("POST", self._url, json=self.sdk_body, headers=self.sdk_headers)
        response = await stack.enter_async_context(opened)
        response.raise_for_status()
        return await sdk_body(response, stack)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """Give a server with its client."""
    place = Place()
    app = web.Application()
    app.router.add_post("/", place.serve)
    async with TestServer(app) as server:
        place.point_to(str(server.make_url("/")))
        yield place
        await place.transport.aclose()


async def test_from_the_third_call_of_a_kind_on_the_sdk_is_not_asked(place: Place) -> None:
    """The server sees no difference."""
    assert [await place.call() for _ in range(5)] == [b"ok"] * 5
    assert place.by_sdk == 2
    assert place.seen == [place.seen[0]] * 5


async def test_a_kind_is_known_by_itself(place: Place) -> None:
    """What the head of one says is not said for another."""
    for _ in range(3):
        await place.call()
    place.sdk_headers = {"x-key": "k", "x-more": "m"}
    for _ in range(3):
        await place.call("more")
    assert place.by_sdk == 4
    assert ["x-more" in headers for headers, _ in place.seen] == [False] * 3 + [True] * 3


async def test_a_head_that_changes_is_never_known(place: Place) -> None:
    """As one that has a number of its own in each call."""
    for number in range(5):
        place.sdk_headers = {"x-number": str(number)}
        await place.call()
    assert place.by_sdk == 5


async def test_an_sdk_that_sends_another_body_sends_every_call(place: Place) -> None:
    """It knows of something that we do not."""
    place.sdk_body = {"say": "é", "more": "1"}
    for _ in range(4):
        await place.call()
    assert place.by_sdk == 4


async def test_a_refusal_is_told_by_the_sdk_of_the_call_that_was_sent(place: Place) -> None:
    """Nothing is sent twice. What was known of the kind is asked for again."""
    for _ in range(3):
        await place.call()
    place.status = 429
    with pytest.raises(httpx2.HTTPStatusError, match="429"):
        await place.call()
    assert len(place.seen) == 4
    place.status, place.sdk_headers = 200, {"x-key": "another"}
    await place.call()
    assert place.seen[-1][0]["x-key"] == "another"


async def test_calls_that_are_refused_together_are_each_told_so(place: Place) -> None:
    """As by a provider that is overloaded."""
    for _ in range(3):
        await place.call()
    place.status = 429
    told = await asyncio.gather(*(place.call() for _ in range(5)), return_exceptions=True)
    assert [type(one) for one in told] == [httpx2.HTTPStatusError] * 5
    assert len(place.seen) == 8


async def test_what_was_sent_is_not_held_by_the_connection(place: Place) -> None:
    """A transport keeps the context in which it was made."""
    await place.call()
    assert not [one for one in gc.get_objects() if isinstance(one, Exchange) and one.sent[1]]


async def test_a_cookie_is_sent_back(place: Place) -> None:
    """By every call, also to a server that is named by its address: a balancer may go by it."""
    place.cookie = "node=1"
    for number in range(5):
        if number == 3:
            place.cookie = "node=2"
        await place.call()
    assert [headers.get("Cookie") for headers, _ in place.seen] == [None, *["node=1"] * 3, "node=2"]


async def test_an_answer_that_is_compressed_all_the_same_is_read_by_the_sdk(place: Place) -> None:
    """It was asked not to be."""
    for _ in range(3):
        await place.call()
    place.encoding = "gzip"
    assert await place.call() == b"ok"
    assert len(place.seen) == 4


async def test_of_too_many_kinds_some_are_asked_for_again(place: Place) -> None:
    """Clients may name what kinds are made of."""
    for number in range(100):
        assert await place.call(str(number)) == b"ok"
        assert await place.call(str(number)) == b"ok"
    assert place.by_sdk == 200
    await place.call("99")
    await place.call("0")
    assert place.by_sdk == 201


async def test_what_json_cannot_hold_is_not_sent(place: Place) -> None:
    """Numbers that are none."""
    with pytest.raises(ValueError, match="JSON"):
        await Heads(place.transport).send("", {"odd": float("nan")}, AsyncExitStack(), _never)
    assert place.seen == []


async def _never(*_: Any) -> Body:
    raise AssertionError
