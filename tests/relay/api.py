"""A client of the HTTP API for tests: plain requests with a deadline, and readers of event streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDict

from tests.support_sse import SseReader


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, decoded."""
        return json.loads(self.body)

    def error(self) -> dict[str, Any]:
        """Return the error in the body, which has nothing else."""
        (error,) = self.json().values()
        assert {"code", "message", "retryable"} <= error.keys() <= {*error, "retry_after_s", "stream_id"}
        return dict(error)


def script(**fields: Any) -> list[dict[str, str]]:
    """Return the messages that have the simulated model answer by this script."""
    return [{"role": "user", "content": json.dumps(fields)}]


class Api:
    """Speaks to one relay, with one set of headers."""

    def __init__(self, session: aiohttp.ClientSession, url: str, **headers: str) -> None:
        """Take the relay's URL and headers for every request; ``_`` stands for ``-``."""
        self.session = session
        self.url = url
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def having(self, **headers: str) -> Api:
        """Return the same client with more headers."""
        return Api(self.session, self.url, **self.headers, **headers)

    async def ask(self, method: str, path: str, *, deadline_s: float = 10.0, **request: Any) -> Answer:
        """Return the answer to one request. Raises ``AssertionError`` when there is none within ``deadline_s``."""
        headers = self.headers | request.pop("headers", {})
        try:
            async with (
                asyncio.timeout(deadline_s),
                self.session.request(method, self.url + path, headers=headers, **request) as response,
            ):
                return Answer(response.status, response.headers, await response.read())
        except TimeoutError:
            message = f"{method} {path} was not answered within {deadline_s:g} s"
            raise AssertionError(message) from None

    async def get(self, path: str, **request: Any) -> Answer:
        """GET."""
        return await self.ask("GET", path, **request)

    async def post(self, path: str = "/v1/streams", **request: Any) -> Answer:
        """POST, to the start of streams unless said otherwise."""
        return await self.ask("POST", path, **request)

    async def start(self, **fields: Any) -> str:
        """Start a stream (by default a short one) and return its id."""
        answer = await self.post(json={"messages": script(tokens=5)} | fields)
        assert answer.status == 201, answer
        return str(answer.json()["id"])

    async def finished(self, **fields: Any) -> str:
        """Start a stream, wait for its end and return its id."""
        answer = await self.post("/v1/streams?wait=10", json={"messages": script(tokens=5)} | fields)
        assert answer.status == 200, answer
        return str(answer.json()["id"])

    async def state(self, stream_id: str) -> dict[str, Any]:
        """Return a stream's state."""
        answer = await self.get(f"/v1/streams/{stream_id}")
        assert answer.status == 200, answer
        return dict(answer.json())

    async def poll(self, stream_id: str, query: str = "", **request: Any) -> Answer:
        """Ask for the next events as JSON."""
        return await self.get(f"/v1/streams/{stream_id}/events?mode=poll{query}", **request)

    def follow(self, stream_id: str, query: str = "", **request: Any) -> SseReader:
        """Return a reader of the stream's events, not connected yet."""
        headers = self.headers | request.pop("headers", {})
        url = f"{self.url}/v1/streams/{stream_id}/events{query}"
        return SseReader(self.session, url, headers=headers, **request)

    async def raw(self, data: bytes, deadline_s: float = 10.0) -> Answer:
        """Send bytes as they are, on a connection of their own, and return the answer, which must tell its length."""
        host, port = self.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            async with asyncio.timeout(deadline_s):
                writer.write(data)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.strip().split("\r\n")
                headers = CIMultiDict({name: value for name, _, value in (line.partition(": ") for line in lines)})
                body = await reader.readexactly(int(headers["Content-Length"]))
        except TimeoutError:
            message = f"{data[:60]!r} was not answered within {deadline_s:g} s"
            raise AssertionError(message) from None
        finally:
            writer.close()
        return Answer(int(first.split(" ")[1]), headers, body)
