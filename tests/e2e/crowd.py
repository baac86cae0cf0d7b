"""Many streams and their readers against real relays: started together, followed to their ends, checked one by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from tests.messages_script import token
from tests.support import free_port
from tests.support_services import Service
from tests.support_sse import SseEvent, SseReader

MODEL = "wire"
_RECONNECT_S = 0.1
_PORT_RACES = 3


def environment(redis_url: str, provider_url: str, **more: str) -> dict[str, str]:
    """Return settings for relays and workers on the Redis and the provider, with short waits."""
    model = {"provider": "anthropic", "base_url": provider_url, "max_tokens": 32_000, "continuation": "prefill"}
    return {
        "TAILRACE_REDIS_URL": redis_url,
        "TAILRACE_REDIS_TIMEOUT_S": "2",
        "TAILRACE_MODELS": json.dumps({MODEL: model}),
        "ANTHROPIC_API_KEY": "not-a-key",
        "TAILRACE_RETRY_MS": "100",
        "TAILRACE_WORKER_DRAIN_S": "0.5",
        "TAILRACE_RELAY_DRAIN_S": "0.5",
    } | more


def request(tokens: int, per_second: float) -> dict[str, Any]:
    """Return a request that the wire-true provider answers with so many numbered tokens."""
    script = json.dumps({"tokens": tokens, "per_second": per_second})
    return {"model": MODEL, "messages": [{"role": "user", "content": script}]}


def said(tokens: int) -> str:
    """Return what the provider says in so many tokens."""
    return "".join(map(token, range(tokens)))


@dataclass
class Follower:
    """One reader of one stream, which comes back after each loss of its connection, until it has the end."""

    stream_id: str
    events: list[SseEvent] = field(default_factory=list)
    connections: int = 0

    async def follow(self, session: aiohttp.ClientSession, relays: Sequence[Service]) -> None:
        """Read to the end event, at whichever relay answers."""
        while not self.events or self.events[-1].event != "end":
            relay = relays[self.connections % len(relays)]
            self.connections += 1
            headers = {"Last-Event-ID": self.events[-1].id} if self.events else {}
            reader = SseReader(session, f"{relay.url}/v1/streams/{self.stream_id}/events", headers=headers)
            try:
                async with reader:
                    if reader.response.status == 200:
                        while (event := await reader.next(60)) is not None:
                            self.events.append(event)
                            if event.event == "end":
                                return
            except (aiohttp.ClientError, ConnectionError):
                pass
            await asyncio.sleep(_RECONNECT_S)

    @property
    def text(self) -> str:
        """The text that the events add up to, resets considered."""
        told: dict[int, str] = {}
        for event in self.events:
            data = event.json()
            if event.event == "delta":
                told[data["block"]] = told.get(data["block"], "") + data.get("text", "")
            elif event.event == "reset":
                told = {block: text for block, text in told.items() if block < data["keep_blocks"]}
        return "".join(told[block] for block in sorted(told))

    def kinds(self, name: str) -> list[dict[str, Any]]:
        """Return the data of the events called ``name``."""
        return [event.json() for event in self.events if event.event == name]

    @property
    def since_fork(self) -> list[str]:
        """The offsets of what was told since the stream was last told anew."""
        at = max((number for number, event in enumerate(self.events) if event.event == "start"), default=0)
        return [event.id for event in self.events[at:]]


class Crowd:
    """Streams and a follower of each; ``async with Crowd(session, relays) as crowd``."""

    def __init__(self, session: aiohttp.ClientSession, relays: Sequence[Service]) -> None:
        """Use ``relays`` in turn."""
        self._session = session
        self._relays = relays
        self._tasks: list[asyncio.Task[None]] = []
        self.followers: list[Follower] = []

    async def __aenter__(self) -> Self:
        """Nothing to do before ``start``."""
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Let go of whoever still reads."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def start(self, count: int, body: dict[str, Any]) -> None:
        """Start so many streams and follow each."""
        stream_ids = await asyncio.gather(*(self._start_one(number, body) for number in range(count)))
        self.followers += [Follower(stream_id) for stream_id in stream_ids]
        for number, follower in enumerate(self.followers[-count:]):
            turn = number % len(self._relays)
            relays = [*self._relays[turn:], *self._relays[:turn]]
            self._tasks.append(asyncio.create_task(follower.follow(self._session, relays)))

    async def _start_one(self, number: int, body: dict[str, Any]) -> str:
        url = f"{self._relays[number % len(self._relays)].url}/v1/streams"
        async with self._session.post(url, json=body) as answer:
            assert answer.status == 201, await answer.text()
            started: dict[str, Any] = await answer.json()
            return str(started["id"])

    def have(self, deltas: int) -> bool:
        """Tell whether every follower has so many deltas."""
        return all(len(follower.kinds("delta")) >= deltas for follower in self.followers)

    async def ended(self, deadline_s: float) -> None:
        """Return when every follower has its end. Raises ``AssertionError`` at the deadline."""
        _done, pending = await asyncio.wait(self._tasks, timeout=deadline_s)
        late = [one.stream_id for one, task in zip(self.followers, self._tasks, strict=True) if task in pending]
        assert not pending, f"{len(pending)} streams have no end after {deadline_s} s, such as {late[:3]}"
        for task in self._tasks:
            task.result()

    def check_whole(self, text: str, *, attempts: int | None = 1) -> None:
        """Check that every follower has the text once, in order, with one end, in so many attempts."""
        for follower in self.followers:
            assert follower.text == text, follower.stream_id
            offsets = follower.since_fork
            assert offsets == sorted(set(offsets)), follower.stream_id
            assert [end["status"] for end in follower.kinds("end")] == ["completed"], follower.stream_id
            made = follower.kinds("attempt")
            assert attempts in (None, len(made)), (follower.stream_id, made)


async def watched_worker(start: Callable[..., Service], env: Mapping[str, str]) -> tuple[Service, int]:
    """Start a worker, and return it, ready, with the port of its metrics: another one if the first was taken."""
    for _race in range(_PORT_RACES):
        port = free_port()
        worker = start(**env, TAILRACE_WORKER_METRICS_PORT=str(port))
        try:
            return await worker.ready(30), port
        except AssertionError:
            if "cannot be listened on" not in worker.output():
                raise
    message = "no port was free for long enough"
    raise AssertionError(message)


async def start_refused(session: aiohttp.ClientSession, relay: Service, body: dict[str, Any]) -> bool:
    """Tell whether a start is answered within a few seconds by 503 with a time to come back. 201 is "not yet"."""
    timeout = aiohttp.ClientTimeout(total=8)
    async with session.post(f"{relay.url}/v1/streams", json=body, timeout=timeout) as answer:
        if answer.status == 201:
            return False
        assert answer.status == 503, await answer.text()
        assert int(answer.headers["Retry-After"]) >= 1
        return True
