"""Nothing a client sends may give a 500 or hang: requests put together at random, well-formed and not."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from shared.offset import new_stream_id
from tests.relay.api import Answer, Api, script
from tests.relay.conftest import MakeApi, StartWorker

METHODS = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")
ODD = (
    "",
    "0",
    "-1",
    "1e9",
    "nan",
    "null",
    "now",
    "\x00",
    "\u0663",
    "é😀",
    "../..",
    "%2e",
    "a" * 300,
    "[]",
    "{}",
    "9" * 40,
    "'; DROP",
    "*",
)
NAMES = ("offset", "mode", "wait", "limit", "cursor", "status", "metadata.a", "metadata.", "x")
HEADERS = (
    b"Last-Event-ID",
    b"Idempotency-Key",
    b"Accept",
    b"Content-Type",
    b"Content-Encoding",
    b"Authorization",
    b"x-api-key",
    b"Origin",
    b"Range",
    b"If-None-Match",
    b"Expect",
    b"Upgrade",
    b"Cookie",
    b"Access-Control-Request-Method",
)
GOOD: dict[str, Any] = {
    "messages": script(tokens=3),
    "max_tokens": 5,
    "metadata": {"a": "b"},
    "stop": ["x"],
    "temperature": 1,
    "tools": [{"name": "t"}],
    "when_abandoned": {"cancel_after_s": 5},
}


class Chaos:
    """Makes requests out of a seed."""

    def __init__(self, seed: int, streams: list[str]) -> None:
        """Draw from ``seed``; ``streams`` are ids that exist."""
        self._draw = random.Random(seed)
        self._streams = streams

    def path(self) -> str:
        """Return a path, most often one of ours, with a query."""
        stream = self._draw.choice([*self._streams, new_stream_id(), self._draw.choice(ODD)])
        stem = self._draw.choice(("/v1/streams", "/v1/streams/{}", "/v1/streams/{}/events", "/v1/streams/{}/cancel"))
        return (stem if self._draw.random() < 0.95 else "/{}").format(stream)

    def query(self) -> list[tuple[str, str]]:
        """Return query parameters, some twice; no wait is long."""
        names = self._draw.choices(NAMES, k=self._draw.randrange(4))
        values = [
            *ODD,
            "sse",
            "poll",
            "0.1",
            "queued",
            "1.1",
            f"{self._draw.choice(self._streams)[:4]}-00000001-00000002-000",
        ]
        return [(name, self._draw.choice(values)) for name in names]

    def body(self) -> bytes:
        """Return a body: good, good with one value gone wrong, or with bytes gone wrong."""
        fields = dict(GOOD)
        if self._draw.random() < 0.7:
            wrong: list[Any] = [None, True, -1, 0, 10**30, 1e308, "", "x", [], {}, [[]], {"a": {"b": []}}, *ODD]
            fields[self._draw.choice([*GOOD, "model", "provider", "system", "y"])] = self._draw.choice(wrong)
        body = bytearray(json.dumps(fields).encode())
        for _ in range(self._draw.choice((0, 0, 1, 3))):
            body[self._draw.randrange(len(body))] = self._draw.randrange(256)
        return bytes(body[: self._draw.choice((len(body), len(body), self._draw.randrange(len(body))))])

    def raw(self) -> bytes:
        """Return a request whose headers hold bytes of any kind."""
        body = self.body()
        lines = [f"{self._draw.choice(METHODS)} {self.path().split(chr(0))[0]} HTTP/1.1".encode(), b"Host: x"]
        lines += [b"Connection: close", b"Content-Length: %d" % len(body), b"Content-Type: application/json"]
        for name in self._draw.choices(HEADERS, k=self._draw.randrange(5)):
            value = bytes(self._draw.randrange(256) for _ in range(self._draw.randrange(12)))
            lines.append(name + b": " + value.translate(None, b"\r\n"))
        return b"\r\n".join(lines) + b"\r\n\r\n" + body


def is_fine(answer: Answer) -> bool:
    """Tell whether an answer is none of our own mistakes: a success, or a refusal that names what to do."""
    if answer.status < 400:
        return True
    if answer.status >= 500:
        return False
    as_json = "json" in answer.headers.get("Content-Type", "") and bool(answer.body)
    return not as_json or bool(answer.error()["message"])


@pytest.mark.parametrize("seed", range(4))
async def test_no_request_is_answered_with_a_mistake_of_ours(
    make_api: MakeApi, start_worker: StartWorker, seed: int
) -> None:
    """Methods, paths, queries, headers and bodies at random; each answered, and none with a 500."""
    await start_worker()
    api = await make_api(cors_origins=["https://chat.example"])
    chaos = Chaos(seed, [await api.finished(), await api.finished(), await api.start()])
    for _ in range(25):
        requests = [(chaos.path(), chaos.query(), chaos.body()) for _ in range(8)]
        answers = await asyncio.gather(*(sent(api, at, request) for at, request in enumerate(requests)))
        wrong = [pair for pair in zip(requests, answers, strict=True) if not is_fine(pair[1])]
        assert wrong == []
    assert (await api.get("/healthz")).status == 200
    assert await api.finished()


async def sent(api: Api, at: int, request: tuple[str, list[tuple[str, str]], bytes]) -> Answer:
    """Send one request, every other one a POST."""
    path, query, body = request
    method = "POST" if at % 2 else METHODS[at % len(METHODS)]
    return await api.ask(method, path, params=query, data=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("seed", range(4))
async def test_no_bytes_in_headers_are_answered_with_a_mistake_of_ours(
    make_api: MakeApi, start_worker: StartWorker, seed: int
) -> None:
    """As HTTP libraries of others, or their attackers, may send them."""
    await start_worker()
    api = await make_api(api_keys={"acme": "key"} if seed % 2 else {})
    known = api.having(x_api_key="key")
    chaos = Chaos(seed, [await known.finished(), await known.start()])
    for _ in range(60):
        request = chaos.raw()
        head = await status_of(api, request)
        assert 200 <= head < 500, request
    assert await known.finished()


async def status_of(api: Api, request: bytes) -> int:
    """Return the status of the answer to some bytes; its body may be of any length, or an event stream."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(10):
            writer.write(request)
            line = await reader.readline()
    finally:
        writer.close()
    assert line, f"no answer to {request!r}"
    return int(line.split()[1])
