"""The clients: they read in every mode there is, and come back by themselves, at another relay, when theirs is gone."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any, Literal

import aiohttp
import msgspec

from shared.errors import TailraceError
from tailrace.client import Client
from tailrace.client_retry import Reconnect, Timeouts
from tests.faults.answers import Answer
from tests.faults.checker import SseParser, Transcript
from tests.faults.pace import pause

Mode = Literal["post", "events", "poll", "wait", "client"]
STARTERS: tuple[Mode, ...] = ("post", "post", "post", "client", "wait")
FOLLOWERS: tuple[Mode, ...] = ("events", "poll", "events", "post", "wait")
IDLE_S = 3.0
"""Silence after which a reader goes elsewhere; relays of the suite send a heartbeat every second."""
_BROKEN = (aiohttp.ClientError, TimeoutError, OSError)
_AGAIN = frozenset((429, 500, 503))
_POLL_S = 1
_WAIT_S = 4
_TIMEOUTS = Timeouts(first_byte_s=IDLE_S, idle_s=IDLE_S, start_s=50, lost_s=50)


class ReadingError(Exception):
    """The relay has answered what no reader should see; there is no sense in asking again."""


class Reader:
    """Reads one answer to its end in one mode. ``run`` it once."""

    def __init__(self, answer: Answer, mode: Mode, session: aiohttp.ClientSession, rng: random.Random) -> None:
        """Take the answer, whose first reader begins it, and a session without connection reuse."""
        self.answer = answer
        self.mode = mode
        self.transcript = Transcript(mode, answer.expected)
        self.at = -1
        """Which relay it is at; -1 while it is at none."""
        self._session = session
        self._rng = rng
        self._starts = not answer.transcripts
        self._next = rng.randrange(1000)
        self._reading = ""
        answer.transcripts.append(self.transcript)

    async def run(self, relays: Sequence[int], front: int, begins_s: float) -> None:
        """Read until the end. ``relays`` are ports, ``front`` the port of whichever relay lives."""
        await pause(begins_s)
        if self.mode == "client":
            self.transcript.began_s = asyncio.get_running_loop().time()
            await self._by_client(front)
            return
        reads = {"post": self._by_post, "events": self._by_events, "poll": self._by_poll, "wait": self._by_wait}
        if not self._starts and self.mode in ("events", "poll"):
            await self.answer.known.wait()
        self.transcript.began_s = asyncio.get_running_loop().time()
        while not self.transcript.ended:
            self.at = self._next % len(relays)
            self._note_stream()
            try:
                await reads[self.mode](f"http://127.0.0.1:{relays[self.at]}/v1/streams")
            except _BROKEN:
                self.transcript.broke()
                self._next += 1
                await pause(self._rng.uniform(0.02, 0.2))
            except ReadingError as error:
                self.transcript.problems.append(str(error))
                return
            finally:
                self.at = -1

    async def _by_post(self, url: str) -> None:
        """Start with SSE, or attach by the same key; once the stream has a name, follow it."""
        if self.transcript.offset and self._reading:
            await self._by_events(url)
            return
        headers = {"Accept": "text/event-stream", "Idempotency-Key": self.answer.key}
        async with self._session.post(url, json=self.answer.body, headers=headers) as response:
            await self._take_sse(response)

    async def _by_events(self, url: str) -> None:
        """Follow with SSE from the offset, which goes as a header or as a parameter."""
        offset = self.transcript.offset
        request: dict[str, Any] = {"headers": {"Accept": "text/event-stream"}}
        if offset and self._rng.random() < 0.5:
            request["headers"]["Last-Event-ID"] = offset
        elif offset:
            request["params"] = {"offset": offset}
        async with self._session.get(f"{url}/{self.answer.stream_id}/events", **request) as response:
            if response.status == 404:
                await self._begin_again(url)
                return
            await self._take_sse(response)

    async def _by_poll(self, url: str) -> None:
        """Ask for what follows the offset, again and again."""
        params = {"mode": "poll", "wait": str(_POLL_S)}
        if self.transcript.offset:
            params["offset"] = self.transcript.offset
        async with self._session.get(f"{url}/{self.answer.stream_id}/events", params=params) as response:
            if response.status == 404:
                await self._begin_again(url)
                return
            await self._expect(response)
            told = await response.json()
        for event in told["events"]:
            self._tell(event["id"], event["event"], event["data"])
        if told["events"] and told["offset"] != self.transcript.offset:
            self.transcript.problems.append(f"a poll ends at {told['offset']!r}, after {self.transcript.offset!r}")
        if told["done"] != self.transcript.ended:
            message = f"a poll says done={told['done']} while the end was{'' if self.transcript.ended else ' not'} told"
            raise ReadingError(message)

    async def _by_wait(self, url: str) -> None:
        """Ask for the finished answer, under the same key."""
        headers = {"Idempotency-Key": self.answer.key}
        params = {"wait": str(_WAIT_S)}
        waits = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=_WAIT_S + 3)
        request: dict[str, Any] = {"json": self.answer.body, "headers": headers, "params": params, "timeout": waits}
        async with self._session.post(url, **request) as response:
            await self._expect(response, 200, 202)
            state = await response.json()
        self.answer.named(state["id"])
        if response.status == 200:
            self.transcript.state(state, asyncio.get_running_loop().time())

    async def _by_client(self, front: int) -> None:
        """Read with the Python client, which does all by itself."""
        told = self.transcript
        body = {name: value for name, value in self.answer.body.items() if name != "messages"}
        async with Client(f"http://127.0.0.1:{front}", timeouts=_TIMEOUTS, on_reconnect=self._reconnects) as client:
            stream = client.stream(self.answer.prompt, idempotency_key=self.answer.key, **body)
            try:
                async for event in stream:
                    fields = msgspec.to_builtins(event)
                    if stream.id:
                        self.answer.named(stream.id)
                    self._tell(stream.offset or "", fields["type"], fields)
            except TailraceError as error:
                told.problems.append(f"the client gave up: {error}")
                return
        if told.ended and stream.text != told.text:
            told.problems.append("the client's own text is not what its events add up to")

    def _reconnects(self, _told: Reconnect) -> None:
        self.transcript.broke()

    async def _take_sse(self, response: aiohttp.ClientResponse) -> None:
        """Read one SSE answer to its end, clean or not."""
        if response.status == 204 and not self.transcript.ended:
            message = "204, as if all were told, but the end was not"
            raise ReadingError(message)
        await self._expect(response)
        self._reading = response.headers["X-Stream-Id"]
        self.answer.named(self._reading)
        parser = SseParser()
        async for data in response.content.iter_any():
            for frame in parser.feed(data):
                if frame.name == "error" and frame.id == self.transcript.offset:
                    return  # not of the log: the relay's reason to leave
                self._tell(frame.id, frame.name, json.loads(frame.data))

    async def _expect(self, response: aiohttp.ClientResponse, *statuses: int) -> None:
        """Raise for any other answer: as broken what may pass, as an error what will not."""
        if response.status in (statuses or (200,)):
            return
        text = await response.text()
        if response.status == 500:
            self.transcript.problems.append(f"500: {text}")
        if response.status in _AGAIN:
            message = f"{response.status}: {text}"
            raise aiohttp.ClientError(message)
        message = f"{response.request_info.url} answered {response.status}: {text}"
        raise ReadingError(message)

    async def _begin_again(self, url: str) -> None:
        """Start again, under the same key: a 404 soon after the start says that Redis has lost it."""
        headers = {"Idempotency-Key": self.answer.key}
        async with self._session.post(url, json=self.answer.body, headers=headers) as response:
            await self._expect(response, 200, 201)
            self.answer.named((await response.json())["id"])

    def _note_stream(self) -> None:
        """Discard everything if the answer has become another stream."""
        if self._reading not in ("", self.answer.stream_id):
            self.transcript.fork()
        self._reading = self.answer.stream_id

    def _tell(self, event_id: str, name: str, data: dict[str, Any]) -> None:
        self.transcript.tell(event_id, name, data, asyncio.get_running_loop().time())


async def whole_log(answer: Answer, session: aiohttp.ClientSession, port: int) -> Transcript:
    """Return what a reader is told who comes when all is over. Raises what a reader may meet."""
    reader = Reader(answer, "events", session, random.Random(0))
    answer.transcripts.remove(reader.transcript)
    async with asyncio.timeout(10):
        await reader.run([port], port, 0)
    return reader.transcript
