"""One stream that a socket follows: read from its offset, told in turn with the others, until its end or a wish."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from relay.dialects.place import NO_PLACE, Had, Place
from relay.dialects.registry import dialect_named
from relay.links import Reader
from relay.parsing import place_in
from relay.reading.first_token import FirstTokenClock
from relay.reading.following import Reading, Telling, past_of, refuse_if_gone, survey
from relay.reading.subscription import Subscription
from relay.reading.voice import DialectVoice
from relay.services import Services
from relay.state import owned_record
from relay.unreadable import UNREADABLE, unreadable
from relay.websocket.credit import Credit
from relay.websocket.sender import Sender
from relay.websocket.speech import DialectSpeech, NativeSpeech, Said, Speech
from relay.websocket.words import Reason, say, say_error
from shared.errors import TailraceError, UnavailableError
from shared.metrics import RESUMES
from shared.offset import START, Offset


@dataclass(frozen=True)
class Wish:
    """What a client asked to follow."""

    stream_id: str
    request_id: str | None
    offset: str
    format: str
    credit: int | None


class Followed:
    """One client's following of one stream on its socket. ``run`` is to be its own task.

    It holds one batch at a time, while it waits for its turn or for credit; what comes meanwhile waits in the
    subscription's bounded inbox, and beyond that in the log.
    """

    def __init__(
        self, services: Services, sender: Sender, wish: Wish, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        """Follow what ``wish`` says; nothing is asked of Redis yet."""
        self._services = services
        self._sender = sender
        self._wish = wish
        self._log = log
        self._credit = Credit(wish.credit)
        self._subscription: Subscription | None = None
        self._begun = False
        self._reason: Reason | None = None
        self._asked_by: str | None = None
        self._offset = wish.offset if wish.offset != "now" else ""

    def leave(self, reason: Reason, request_id: str | None = None) -> None:
        """Tell no more; the last word gives the reason, and answers the request that asked for it."""
        if self._reason is None:
            self._reason, self._asked_by = reason, request_id
        self._credit.poke()
        if self._subscription is not None:
            self._subscription.poke()

    def acknowledge(self, offset: str) -> None:
        """Let more events be told. Raises ``InvalidOffsetError`` for what is no offset of the stream."""
        if not self._credit.acknowledge(offset):
            place_in(offset, self._wish.stream_id, Place.parse, NO_PLACE)

    async def run(self, admit: Callable[[], Awaitable[Reader]]) -> bytes | None:
        """Follow the stream as whom ``admit`` says; return the last word, None where it never came to be followed.

        What goes wrong has been said by then. Raises ``ClientGoneError``.
        """
        wish, limit = self._wish, None
        try:
            reader = await admit()
            if (left_s := reader.left_s()) is not None:
                limit = asyncio.get_running_loop().call_later(left_s, self.leave, "expired")
            await self._services.turnstile.enter()
            record = await owned_record(self._services.log, wish.stream_id, reader.tenant)
            await self._follow(Reading(wish.stream_id, record))
        except TailraceError as error:
            return self._failed(error)
        except (RedisError, OSError) as error:
            self._log.info("socket.redis_lost", stream=wish.stream_id, error=type(error).__name__)
            message = "the service's memory does not answer; follow the stream again shortly, from the same offset"
            return self._failed(UnavailableError(message, retry_after_s=1))
        finally:
            if limit is not None:
                limit.cancel()
        return self._last_word(self._reason or "ended")

    def _failed(self, error: TailraceError) -> bytes | None:
        """Say what went wrong and return the last word, if there was a first, or a wish for a last."""
        self._sender.answer(say_error(error, None if self._begun else self._wish.request_id, self._wish.stream_id))
        return self._last_word("error") if self._begun or self._reason else None

    def _last_word(self, reason: Reason) -> bytes:
        """Return the message after which nothing comes of the stream."""
        offset = self._offset or None
        self._log.info("stream.left", stream=self._wish.stream_id, offset=self._offset, reason=reason)
        return say("unsubscribed", self._asked_by, stream=self._wish.stream_id, offset=offset, reason=reason)

    async def _follow(self, reading: Reading) -> None:
        """Tell the stream until its end, or until it is to be left."""
        services, record, stream_id = self._services, reading.record, reading.stream_id
        native = self._wish.format == "native"
        offset = place_in(self._wish.offset, stream_id, Offset.parse, START) if native else START
        page_entries = services.settings.page_entries
        async with Subscription(services.hub, services.log, stream_id, offset or START, page_entries) as subscription:
            self._subscription = subscription
            if record.ended_ms:
                await refuse_if_gone(subscription)
            if offset is None:
                await subscription.skip_to_now()
            speech = NativeSpeech(subscription) if native else await self._dialect(reading)
            over = native and bool(record.ended_ms) and await subscription.look() == "end"
            with services.connections.counted(record.tenant, "ws", stream_id):
                async with services.viewers.watching(stream_id, record):
                    if self._wish.offset:
                        RESUMES.inc()
                    self._begun = True
                    self._log.info("stream.followed", stream=stream_id, offset=self._offset, format=self._wish.format)
                    self._sender.answer(say("following", self._wish.request_id, stream=stream_id))
                    if not over:
                        await self._tell_all(subscription, speech, FirstTokenClock(record.created_ms, reading.asked_ms))

    async def _dialect(self, reading: Reading) -> Speech:
        """Return the speech of the dialect wished for, which says what the client does not have."""
        stream_log, stream_id = self._services.log, reading.stream_id
        dialect = dialect_named(self._wish.format)
        place = place_in(self._wish.offset, stream_id, Place.parse, NO_PLACE)
        if place is None:
            past = await survey(stream_log, stream_id, dialect)
            return DialectSpeech(stream_id, DialectVoice(stream_id, dialect, past.now(), past))
        known = await past_of(stream_log, reading, Telling(dialect, Had(place)))
        return DialectSpeech(stream_id, DialectVoice(stream_id, dialect, Had(place), known))

    async def _tell_all(self, subscription: Subscription, speech: Speech, clock: FirstTokenClock) -> None:
        """Tell what the subscription brings."""
        try:
            while not (speech.ended or self._reason):
                batch = await subscription.read()
                clock.note(batch)
                # Only the messages are kept while they are told, not the entries: the client may take its time.
                said = speech.say(batch)
                del batch
                await self._tell(said)
        except TailraceError as error:
            await self._tell(speech.fail(error))
            raise
        except UNREADABLE as error:
            failure = unreadable(self._wish.stream_id, error)
            await self._tell(speech.fail(failure))
            raise failure from error

    async def _tell(self, said: list[Said]) -> None:
        """Tell these, as many at a time as there is credit for."""
        while said and not self._reason:
            room = self._credit.room(len(said))
            if not room:
                await self._credit.wait()
                continue
            now, said = said[:room], said[room:]
            offsets = [one.offset for one in now if one.offset]
            self._credit.spend(offsets)
            await self._sender.tell([one.message for one in now])
            if offsets:
                self._offset = offsets[-1]
