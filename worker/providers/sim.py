"""The simulated model: deterministic, paced, and failing on request. For load and fault tests, never for people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence

from shared.errors import ProviderError
from shared.events import BlockStartEvent, BlockStopEvent, DeltaEvent, Event, StepEvent, Usage, UsageEvent
from worker.llm import Call, Finish
from worker.providers import failures
from worker.providers.sim_script import Script, Speech, script_of, speech, tool_json
from worker.sweep import Swept

_BATCH = 64
"""Tokens told together when the answer is not paced."""


class SimProvider:
    """Answers as the last user message says; see ``Script``. Costs one timer per batch of tokens that are due."""

    def __init__(self, *, stall_s: float) -> None:
        """Take how long a stall lasts before it becomes the timeout that a real provider's client would raise."""
        self._stall_s = stall_s

    async def stream(
        self, call: Call, _swept: Swept | None = None, /
    ) -> AsyncGenerator[Sequence[Event | Finish], None]:
        """Yield the answer's events as they are due; see ``Provider``."""
        try:
            script, said = script_of(call)
        except ValueError as error:
            raise failures.refused(400, str(error), None, None) from None
        fails = script.fail_at is not None and call.attempt in script.attempts
        if fails and script.fault == "refused":
            raise failures.refused(400, "the script says so", None, None)
        answer = _Answer(call, script, said)
        loop = asyncio.get_running_loop()
        start = loop.time() + script.first_token_ms / 1000
        yield answer.head()
        await asyncio.sleep(max(0.0, start - loop.time()))
        if opening := answer.opening():
            yield opening
        strike_at = answer.place_of(script.fail_at) if fails else None
        end = len(answer.words) if strike_at is None else strike_at
        told = 0
        while told < end:
            due = told + _BATCH
            if script.per_second:
                # Absolute deadlines: a late batch is a larger one, and the pace never drifts.
                await asyncio.sleep(max(0.0, start + told / script.per_second - loop.time()))
                due = max(int((loop.time() - start) * script.per_second), told) + 1
            else:
                await asyncio.sleep(0)
            batch = answer.told(told, min(due, end))
            told += len(batch)
            yield batch
        if strike_at is not None:
            raise await self._fault(script)
        yield answer.ending()

    async def _fault(self, script: Script) -> ProviderError:
        """Return the error that the script asks for, once it is time."""
        if script.fault == "stall":
            await asyncio.sleep(self._stall_s)
            return failures.fell_silent(self._stall_s)
        if script.fault == "cut":
            return failures.cut()
        kind = "overloaded_error" if script.fault == "overloaded" else "api_error"
        return failures.told_in_stream(kind, None)

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


class _Answer:
    """The events of one answer, part by part."""

    def __init__(self, call: Call, script: Script, said: str) -> None:
        self._call = call
        self._script = script
        self._free_block = call.first_block
        goes_on = bool(said) or call.open_text_block is not None
        self._thoughts = 0 if goes_on else min(script.thinking, call.max_tokens)
        room = call.max_tokens - self._thoughts
        self._speech: Speech = speech(script, said, room, call.options.get("stop") or [])
        self.words = self._speech.words
        self._text_block = call.open_text_block
        self._input_tokens = sum(len(str(message["content"])) for message in call.messages) // 4

    def place_of(self, token: int | None) -> int | None:
        """Return how many words of this call come before the answer's token number ``token``, if it is to come."""
        return next((place for place, (index, _) in enumerate(self.words) if index == token), None)

    def head(self) -> list[Event | Finish]:
        """Return what comes before the first token."""
        step = self._call.step
        message_id = f"sim-{self._call.attempt}-{step}"
        return [StepEvent("start", step, message_id, self._call.upstream), UsageEvent(step, self._usage(0))]

    def opening(self) -> list[Event | Finish]:
        """Return the thinking, unless it was thought before, and the start of the text."""
        events: list[Event | Finish] = []
        if self._thoughts:
            block = self._next_block()
            thoughts = (DeltaEvent(block, text=f"t{index} ") for index in range(self._thoughts))
            signature = DeltaEvent(block, signature=f"sim-signature-{self._script.seed}")
            events += [BlockStartEvent(block, "thinking"), *thoughts, signature, BlockStopEvent(block)]
        if self._text_block is None and self.words:
            self._text_block = self._next_block()
            events.append(BlockStartEvent(self._text_block, "text"))
        return events

    def told(self, first: int, end: int) -> list[Event | Finish]:
        """Return the words from ``first`` up to, not including, ``end``."""
        assert self._text_block is not None
        return [DeltaEvent(self._text_block, text=word) for _, word in self.words[first:end]]

    def ending(self) -> list[Event | Finish]:
        """Return everything after the text."""
        events: list[Event | Finish] = [] if self._text_block is None else [BlockStopEvent(self._text_block)]
        reason = self._speech.stop_reason
        if reason == "tool_use":
            events += self._tool_calls()
        usage = self._usage(len(self.words) + self._thoughts)
        step = self._call.step
        events += [UsageEvent(step, usage), StepEvent("stop", step, stop_reason=reason)]
        return [*events, Finish(reason, self._speech.stop_sequence, usage)]

    def _tool_calls(self) -> Iterator[Event]:
        for number, tool in enumerate(self._script.tools):
            block = self._next_block()
            yield BlockStartEvent(block, "tool_use", f"sim_tool_{number}", tool.name)
            yield from (DeltaEvent(block, json=piece) for piece in tool_json(tool))
            yield BlockStopEvent(block)

    def _usage(self, output_tokens: int) -> Usage:
        return Usage(self._input_tokens, output_tokens)

    def _next_block(self) -> int:
        self._free_block += 1
        return self._free_block - 1
