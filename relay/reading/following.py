"""Following a stream for a route, in any dialect: as SSE, by long-poll, or as the whole answer once it has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import msgspec
from aiohttp import web

from relay.connections import Connection
from relay.dialects.dialect import Dialect
from relay.dialects.place import NO_PLACE, NOTHING, Had
from relay.dialects.telling import Frame, Past, Survey
from relay.keyless import finds_again
from relay.parsing import place_of
from relay.reading import native
from relay.reading.first_token import FirstTokenClock
from relay.reading.sse import SseWriter
from relay.reading.subscription import Subscription
from relay.reading.voice import DialectVoice, NativeVoice, Voice
from relay.respond import json_answer, stream_headers
from relay.services import SERVICES
from relay.state import fold_log, log_pages, owned_record
from relay.unreadable import reads_log
from shared.errors import GoneError, OverloadedError, ProviderError
from shared.metrics import RESUMES
from shared.offset import START, Offset
from shared.record import Record
from shared.stream_log import StreamLog


@dataclass(frozen=True, slots=True)
class Reading:
    """What a client asked to read."""

    stream_id: str
    record: Record
    asked_ms: int = field(default_factory=lambda: int(time.time() * 1000))
    """When, in Unix milliseconds."""
    most_s: float | None = None
    """For how long the client may read; None: without an end."""


@dataclass(frozen=True)
class Telling:
    """How a client is told it: the dialect, what the client had, and what the log holds, where that is known."""

    dialect: Dialect
    had: Had = NOTHING
    past: Past | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


async def telling_of(request: web.Request, stream_id: str, dialect: Dialect) -> Telling:
    """Return how the client asked to be told the stream in ``dialect``: after what it has. Raises ``RedisError``.

    Raises ``InvalidOffsetError`` too.
    """
    place = place_of(request, stream_id)
    if place is not None:
        return Telling(dialect, Had(place))
    past = await survey(request.app[SERVICES].log, stream_id, dialect)
    return Telling(dialect, past.now(), past)


async def follow(request: web.Request, reading: Reading, offset: Offset | None) -> web.StreamResponse:
    """Answer in the native dialect with SSE after ``offset``, None: from now; 204 to a reader that has the end."""
    async with _subscription(request, reading, offset or START) as subscription:
        if offset is None:
            await subscription.skip_to_now()
        if reading.record.ended_ms and await _nothing_left(subscription):
            return web.Response(status=204, headers=stream_headers(reading.stream_id))
        if offset != START:
            RESUMES.inc()
        return await _write(request, reading, subscription, NativeVoice(subscription), {})


async def follow_in(request: web.Request, reading: Reading, telling: Telling) -> web.StreamResponse:
    """Answer in a dialect with SSE after what the client had; 204 to a reader whose offset is the end's.

    The answer's headers are the dialect's, those of ``telling``, and those of every answer about a stream.
    """
    had = telling.had
    async with _subscription(request, reading) as subscription:
        if reading.record.ended_ms:
            await refuse_if_gone(subscription)
        past = telling.past or await past_of(request.app[SERVICES].log, reading, telling)
        if past is not None and past.end is not None and had.place > NO_PLACE and had.has(past.end):
            return web.Response(status=204, headers=stream_headers(reading.stream_id))
        if had:
            RESUMES.inc()
        voice = DialectVoice(reading.stream_id, telling.dialect, had, past)
        headers = {**telling.dialect.headers, **telling.headers}
        return await _write(request, reading, subscription, voice, headers)


async def poll(request: web.Request, reading: Reading, offset: Offset | None, wait_s: float) -> web.Response:
    """Answer in the native dialect with the next events as JSON, waiting for some up to ``wait_s``."""
    async with _brief(request, reading, offset or START) as subscription:
        if offset is None:
            await subscription.skip_to_now()
        done = bool(reading.record.ended_ms) and await _nothing_left(subscription)
        # What the log has already does not count as waiting, not even under ?wait=0.
        events = [] if done else native.json_events(reading.stream_id, await subscription.read())
        async with _polling(request, reading, subscription) as connection:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    while not (events or done or subscription.ended or connection.leaving):
                        events = native.json_events(reading.stream_id, await subscription.read())
        told = subscription.offset.text(reading.stream_id)
        body = {"events": events, "offset": told, "done": done or subscription.ended}
    return json_answer(body, headers=stream_headers(reading.stream_id))


async def poll_in(request: web.Request, reading: Reading, telling: Telling, wait_s: float) -> web.Response:
    """Answer in a dialect with the next wire events as JSON, waiting for some up to ``wait_s``.

    ``offset`` is null until the client has anything; after an error that is not in the log it stays where it was.
    """
    async with _brief(request, reading) as subscription:
        if reading.record.ended_ms:
            await refuse_if_gone(subscription)
        past = telling.past or await past_of(request.app[SERVICES].log, reading, telling)
        voice = DialectVoice(reading.stream_id, telling.dialect, telling.had, past)
        tail, told = await subscription.tail(), list[Frame]()
        while not (told or voice.ended or subscription.offset.entry >= tail):
            told = voice.tell(await subscription.read())
        async with _polling(request, reading, subscription) as connection:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    while not (told or voice.ended or connection.leaving):
                        told = voice.tell(await subscription.read())
    places = [telling.had.place, *(place for _, place in told if place is not None)]
    offset = places[-1].text(reading.stream_id) if places[-1] > NO_PLACE else None
    events = [_as_json(reading.stream_id, frame) for frame in told]
    body = {"events": events, "offset": offset, "done": voice.ended}
    return json_answer(body, headers=stream_headers(reading.stream_id))


async def whole(request: web.Request, reading: Reading, dialect: Dialect, wait_s: float) -> web.Response:
    """Answer with the whole answer in the dialect's non-streaming form, once it has ended.

    Raises ``ProviderError`` for one that failed, and ``OverloadedError`` when it has not ended within ``wait_s``: one
    that is worth a retry only if that finds this stream, since a second one would cost as much again.
    """
    services = request.app[SERVICES]
    stream_id = reading.stream_id
    await wait_for_end(request, reading, wait_s)
    answer = await fold_log(services.log, stream_id)
    record = await owned_record(services.log, stream_id, reading.record.tenant)
    if answer.end is None:
        message = f"the answer is still being made; it goes on, and can be followed at /v1/streams/{stream_id}/events"
        unfinished = OverloadedError(message, retry_after_s=1, stream_id=stream_id)
        unfinished.retryable = finds_again(request, record)
        raise unfinished
    if answer.error is not None and answer.end.status == "failed":
        kind = answer.end.stop_reason or answer.error.code
        failed = ProviderError(
            answer.error.message,
            kind=kind,
            retryable=answer.error.retryable,
            retry_after_s=answer.error.retry_after_s,
        )
        failed.stream_id = stream_id
        raise failed
    assert dialect.whole is not None
    return json_answer(dialect.whole(stream_id, record, answer), headers=stream_headers(stream_id))


async def wait_for_end(request: web.Request, reading: Reading, wait_s: float) -> None:
    """Return when the stream has ended, when ``wait_s`` has passed, or when this relay must go."""
    if reading.record.ended_ms:
        return
    async with _brief(request, reading) as subscription:
        with request.app[SERVICES].connections.opened(reading.record.tenant, "wait", subscription) as connection:
            async with request.app[SERVICES].viewers.watching(reading.stream_id, reading.record):
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        while not (subscription.ended or connection.leaving):
                            await subscription.read()


async def survey(stream_log: StreamLog, stream_id: str, dialect: Dialect) -> Past:
    """Return what the log holds now, as the dialect tells it. Raises ``RedisError``, ``UnreadableError``."""
    found = Survey(stream_id, dialect)
    with reads_log(stream_id):
        async for page in log_pages(stream_log, stream_id):
            found.read(page)
        return found.past()


async def past_of(stream_log: StreamLog, reading: Reading, telling: Telling) -> Past | None:
    """Return what the log holds; None where it can make no difference to the client. Raises ``RedisError``."""
    record = reading.record
    if record.attempts <= 1 and not (record.ended_ms and telling.had):
        return None
    return await survey(stream_log, reading.stream_id, telling.dialect)


async def _write(
    request: web.Request, reading: Reading, subscription: Subscription, voice: Voice, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer with what ``voice`` makes of the subscription."""
    services = request.app[SERVICES]
    record = reading.record
    with services.connections.opened(record.tenant, "sse", subscription) as connection:
        connection.leave_after(reading.most_s)
        async with services.viewers.watching(reading.stream_id, record):
            clock = FirstTokenClock(record.created_ms, reading.asked_ms)
            writer = SseWriter(request, services.settings, {**headers, **stream_headers(reading.stream_id)}, voice)
            return await writer.run(subscription, connection, clock)


@asynccontextmanager
async def _polling(request: web.Request, reading: Reading, subscription: Subscription) -> AsyncIterator[Connection]:
    """Count a long-poll as a connection and as a viewer while it runs."""
    services = request.app[SERVICES]
    with services.connections.opened(reading.record.tenant, "poll", subscription) as connection:
        async with services.viewers.watching(reading.stream_id, reading.record, lasting=False):
            yield connection


@asynccontextmanager
async def _brief(request: web.Request, reading: Reading, offset: Offset = START) -> AsyncIterator[Subscription]:
    """Give a subscription that ends with the request; failing to read it is an ``UnreadableError``."""
    with reads_log(reading.stream_id):
        async with _subscription(request, reading, offset) as subscription:
            yield subscription


def _subscription(request: web.Request, reading: Reading, offset: Offset = START) -> Subscription:
    """Return a subscription of this process."""
    services = request.app[SERVICES]
    made = Subscription(services.hub, services.log, reading.stream_id, offset, services.settings.page_entries)
    if reading.record.ended_ms:
        made.join_late(services.kept_logs)
    return made


async def _nothing_left(subscription: Subscription) -> bool:
    """Tell whether an ended stream has nothing after the offset. Raises ``GoneError`` when its log has gone."""
    found = await subscription.look()
    if found == "nothing":
        await refuse_if_gone(subscription)
    return found == "end"


async def refuse_if_gone(subscription: Subscription) -> None:
    """Raise ``GoneError`` when the log has gone."""
    if (await subscription.tail()).seq == 0:
        message = "the stream's log has expired or was deleted; start a new stream"
        raise GoneError(message, stream_id=subscription.stream_id)


def _as_json(stream_id: str, frame: Frame) -> dict[str, object]:
    """Return a wire event for a long-poll; what is no JSON, as some dialects' last word, is a string."""
    data = frame.event.data
    shown: dict[str, object] = {} if frame.place is None else {"id": frame.place.text(stream_id)}
    if frame.event.name:
        shown["event"] = frame.event.name
    return shown | {"data": msgspec.Raw(data) if data.startswith(b"{") else data.decode()}
