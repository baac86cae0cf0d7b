"""Producing one stream: attempt after attempt, until the answer ends or the stream is no longer ours.

An attempt is granted by the log, reads the log it continues, calls the provider and writes what it says. Whatever
stops the call early (a cancel, a fence, an abandonment, a drain) interrupts it from outside, with the reason.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TypeVar, cast

import structlog

from shared.answer import Answer
from shared.backoff import Backoff
from shared.errors import ProviderError
from shared.events import EndEvent, EndStatus, ErrorEvent, Event, ResetEvent, Usage, UsageEvent
from shared.metrics import PROVIDER_CALLS, PROVIDER_ERRORS, STREAMS_ENDED, TOKEN_GAP, TOKENS
from shared.request import StreamRequest
from worker.claiming import JUST, Grant, claim, folded, whole_log
from worker.continuation import Plan, after_pause, plan_attempt
from worker.fencing import note_fenced
from worker.llm import Call, Finish
from worker.merging import merged
from worker.outage import outlast
from worker.parts import Parts
from worker.stream_writer import Interrupt, LostStreamError
from worker.sweep import Swept

log = structlog.get_logger()
T = TypeVar("T")

_INCOMPLETE = frozenset(("max_tokens", "model_context_window_exceeded"))
_PAUSED = "pause_turn"
_MOST_PAUSES = 20
"""Further calls after ``pause_turn`` in one attempt: a provider that never stops pausing must not run for ever."""


class Production:
    """The production of one granted stream in this worker. ``run`` it once; ``interrupt`` it from anywhere."""

    def __init__(self, parts: Parts, grant: Grant) -> None:
        """Take the grant; nothing happens before ``run``."""
        self.stream_id = grant.stream_id
        self.record = grant.record
        self.writer = grant.writer
        self.handed_over = False
        self._parts = parts
        self._grant = grant
        self._interrupted: Interrupt | None = None
        self._working: asyncio.Task[Finish | None] | None = None
        self._usage: dict[int, Usage] = {}
        self._read_s = 0.0
        self._most_bytes = parts.settings.max_stream_bytes
        self._most_entries = parts.settings.max_stream_entries
        self._backoff = Backoff(parts.settings.retry_delay_s, parts.settings.retry_delay_max_s)
        self._log = log.bind(stream=grant.stream_id, attempt=grant.writer.attempt)

    def interrupt(self, why: Interrupt) -> None:
        """Stop the provider call as soon as may be. The first reason counts."""
        if self._interrupted is None:
            self._interrupted = why
            if self._working is not None:
                self._working.cancel()

    async def run(self) -> None:
        """Produce until the end is in the log, or the stream is another's. Cancellation stops the provider call."""
        try:
            await self._produce()
        except LostStreamError as error:
            if error.status == "fenced":
                await note_fenced(self._parts, self._grant)
            self._log.warning("attempt.lost", why=error.status)

    async def _produce(self) -> None:
        """Run attempts until one settles the stream."""
        while True:
            self.writer.on_signal = self.interrupt
            if self._parts.one_redis and not self.record.kept:
                self.writer.release = self._parts.admission.releasing(self.stream_id, self.record)
            self.writer.adopt(self._grant.log or await self._outlast(lambda: whole_log(self._parts, self.stream_id)))
            answer = folded(self.writer.entries)
            self._usage = dict(answer.usage_by_step)
            if await self._attempt(answer):
                return
            self.writer.retire()
            grant = await self._outlast(self._claim_again)
            if grant is None:
                return
            self._grant, self.record, self.writer = grant, grant.record, grant.writer
            self._log = log.bind(stream=self.stream_id, attempt=grant.writer.attempt)

    async def _attempt(self, answer: Answer) -> bool:
        """Make one attempt; return False when another should follow it."""
        request = StreamRequest.model_validate_json(self.record.request)
        self.writer.delay_s = (request.max_delay_ms or 0) / 1000
        call = self._first_call(request, answer)
        plan = plan_attempt(call, answer.blocks, request.on_interruption or call.model.on_interruption)
        if plan is None:
            message = "the answer was interrupted, and on_interruption is 'fail'"
            await self._end("failed", "interrupted", ErrorEvent("interrupted", message, retryable=True))
            return True
        if plan.keep_blocks < len(answer.blocks):
            self._write([ResetEvent(plan.keep_blocks, self._grant.reason)])
        # Only now, with the lease just confirmed, may the provider be called: it costs money. Until here the stream may
        # have the time of one that waits in the queue, and nobody would miss this worker for so long.
        if time.monotonic() - self._grant.confirmed_s > self._parts.settings.lease_s * JUST:
            await self._outlast(lambda: self._parts.leases.renew([self.stream_id]))
        self._log.info("attempt.started", mode=plan.mode, reason=self._grant.reason, worker=self._parts.worker_id)
        try:
            finish = await self._interruptible(self._answer(request, plan))
        except ProviderError as error:
            return await self._failed(error)
        if finish is None:
            return await self._stopped()
        status: EndStatus = "incomplete" if finish.stop_reason in _INCOMPLETE else "completed"
        await self._end(status, finish.stop_reason, stop_sequence=finish.stop_sequence)
        return True

    def _first_call(self, request: StreamRequest, answer: Answer) -> Call:
        """Return the provider call of an answer from its start."""
        model = self._parts.settings.offered_models()[self.record.model]
        return Call(
            model=model,
            upstream=model.upstream or self.record.model,
            messages=[message.model_dump() for message in request.messages],
            max_tokens=self.record.max_tokens,
            options=request.options(),
            step=answer.steps + 1,
            stream_id=self.stream_id,
            attempt=self.record.attempts,
        )

    async def _interruptible(self, work: Coroutine[None, None, Finish | None]) -> Finish | None:
        """Return what ``work`` does; when it was interrupted, None."""
        self._working = asyncio.create_task(work, name=f"provider:{self.stream_id}")
        if self._interrupted is not None:
            self._working.cancel()
        try:
            return await self._working
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if self._interrupted is None or (this is not None and this.cancelling()):
                raise
            return None
        finally:
            self._working = None

    async def _answer(self, request: StreamRequest, plan: Plan) -> Finish:
        """Call the provider, once more after each pause, and write all it says."""
        call = plan.call
        for _ in range(_MOST_PAUSES):
            finish = await self._call(call)
            if finish.stop_reason != _PAUSED:
                return finish
            await self.writer.flushed()
            answer = folded(self.writer.entries)
            call = after_pause(self._first_call(request, answer), answer.blocks)
        return finish

    async def _call(self, call: Call) -> Finish:
        """Make one provider call. Raises ``ProviderError``, ``LostStreamError``."""
        provider = self._parts.providers.of(call.model)
        PROVIDER_CALLS.labels(call.model.provider).inc()
        events = provider.stream(call, Swept(self._parts.publisher.sweep, self._take))
        self._read_s = time.monotonic()
        try:
            async for batch in events:
                last = batch[-1]
                if isinstance(last, Finish):
                    self._take_in(batch[:-1], end_follows=last.stop_reason != _PAUSED)
                    return last
                self._take_in(batch)
                if self.writer.full:
                    await self.writer.room()
        finally:
            await events.aclose()
        message = "the provider's stream ended before the answer did"
        raise ProviderError(message, kind="cut", retryable=True)

    def _take(self, batch: Sequence[Event | Finish]) -> bool:
        """Write a batch while this task sleeps; False, and nothing written, where the task must see to it.

        Its deltas are merged: under load it is more than one read of the provider that comes together.
        """
        if self.writer.full or isinstance(batch[-1], Finish):
            return False
        self._take_in(merged(cast(Sequence[Event], batch)) if len(batch) > 1 else batch)
        return True

    def _take_in(self, batch: Sequence[Event | Finish], *, end_follows: bool = False) -> None:
        """Write what one read of the provider has brought, its finish aside."""
        now_s = time.monotonic()
        TOKEN_GAP.observe(now_s - self._read_s)
        self._read_s = now_s
        self._write(cast(Sequence[Event], batch), end_follows=end_follows)
        self._check_length()

    def _write(self, events: Sequence[Event], *, end_follows: bool = False) -> None:
        """Hand events to the publisher, noting what they say of usage."""
        for event in events:
            if isinstance(event, UsageEvent):
                self._usage[event.step] = event.usage
        if events:
            self._parts.publisher.write(self.writer, events, end_follows=end_follows)

    def _check_length(self) -> None:
        """Interrupt an answer that has outgrown its log."""
        entries = self.writer.entries
        if entries.size > self._most_bytes or len(entries) > self._most_entries:
            self.interrupt("too_long")

    async def _failed(self, error: ProviderError) -> bool:
        """Take in a failed provider call; return False, after a delay, when it should be tried again."""
        PROVIDER_ERRORS.labels(error.kind).inc()
        left = self._parts.settings.max_attempts - self.record.attempts
        self._log.warning("provider.failed", kind=error.kind, message=error.message, attempts_left=left)
        if not error.retryable or left <= 0:
            event = ErrorEvent(error.code, error.message, error.retryable, error.retry_after_s)
            await self._end("failed", error.kind, event)
            return True
        asked_s = min(error.retry_after_s or 0.0, self._parts.settings.retry_delay_max_s)
        delay_s = max(self._backoff.next_s(), asked_s)
        await self._interruptible(_pause(delay_s))
        if self._interrupted is not None:
            return await self._stopped()
        await self.writer.flushed()
        return False

    async def _stopped(self) -> bool:
        """Settle an interrupted attempt: an end where a client or a limit wished it, none where others go on."""
        match self._interrupted:
            case "cancelled" | "abandoned" as why:
                await self._end("cancelled", why)
            case "too_long":
                await self._end("incomplete", "stream_too_long")
            case "drained":
                await self.writer.flushed()
                self.handed_over = True
                self._log.info("attempt.handed_over")
            case why:
                self._log.warning("attempt.stopped", why=why)
                raise LostStreamError(self.writer.lost or "detached")
        return True

    async def _end(
        self, status: EndStatus, reason: str | None, error: ErrorEvent | None = None, stop_sequence: str | None = None
    ) -> None:
        """Write the end and see it into the log."""
        usage = sum(self._usage.values(), Usage())
        end = EndEvent(status, reason, stop_sequence, usage)
        self._write([error, end] if error else [end])
        await self.writer.flushed()
        STREAMS_ENDED.labels(status).inc()
        TOKENS.inc(usage.output_tokens)
        self._log.info("stream.ended", status=status, reason=reason, output_tokens=usage.output_tokens)

    async def _claim_again(self) -> Grant | None:
        """Claim the next attempt of a stream whose provider failed."""
        return await claim(self._parts, self.stream_id, "provider_error", self.writer.attempt)

    async def _outlast(self, step: Callable[[], Awaitable[T]]) -> T:
        """Return what ``step`` returns, however often Redis must be asked. Raises ``LostStreamError``."""
        return await outlast(step, self._parts.settings.detached_s)


async def _pause(delay_s: float) -> None:
    """Sleep, as something that can be interrupted."""
    await asyncio.sleep(delay_s)
