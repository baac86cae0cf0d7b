"""Random logs as workers really write them: attempts, steps, tools, thinking, resets, errors, cancels, cuts."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from hypothesis import strategies as st

from shared.entry import Entry, encode_blob
from shared.events import (
    AttemptEvent,
    AttemptMode,
    BlockStartEvent,
    BlockStopEvent,
    DataEvent,
    DeltaEvent,
    EndEvent,
    ErrorEvent,
    Event,
    ResetEvent,
    StartEvent,
    StepEvent,
    UnknownEvent,
    Usage,
    UsageEvent,
)
from shared.offset import EntryId
from tests.support_events import TEXTS

STREAM = "abcdefghijklmnopqrstuvwxyz"
_WORDS = TEXTS.filter(bool)
_ENDS = ("completed", "tool_use", "max_tokens", "refusal", "cancelled", "failed", None)


@dataclass
class _Block:
    """A block that is told and not discarded."""

    kind: str
    complete: bool = False


@dataclass
class _Log:
    """The log being written."""

    draw: st.DrawFn
    entries: list[Entry] = field(default_factory=list)
    pending: list[Event] = field(default_factory=list)
    attempt: int = 0
    step: int = 0
    blocks: list[_Block] = field(default_factory=list)

    def write(self, *events: Event) -> None:
        """Write events, each batch in as many entries as chance will have."""
        for event in events:
            self.pending.append(event)
            if self.draw(st.integers(0, 2)):
                self.flush()

    def flush(self) -> None:
        """Make an entry of what is pending."""
        if self.pending:
            entry_id = EntryId(self.attempt, len(self.entries) + 1)
            self.entries.append(Entry(entry_id, encode_blob(self.pending, 1_790_000_000_000 + len(self.entries))))
            self.pending = []

    def begin(self) -> None:
        """Begin an attempt: what cannot be gone on from is discarded."""
        self.flush()
        self.attempt += 1
        first = self.attempt == 1
        mode: AttemptMode = "start" if first else "user_turn"
        follows = str(self.entries[-1].id)
        self.write(AttemptEvent(self.attempt, "first" if first else "lease_expired", mode, "sim", "sim", follows))
        self.flush()
        whole = next((n for n, block in enumerate(self.blocks) if not block.complete), len(self.blocks))
        most = whole + 1 if whole < len(self.blocks) and self.blocks[whole].kind == "text" else whole
        keep = self.draw(st.integers(0, most)) if self.draw(st.booleans()) else most
        if keep < len(self.blocks):
            del self.blocks[keep:]
            self.write(ResetEvent(keep, "lease_expired"))

    def run_step(self) -> bool:
        """Make one provider call; return whether it came to its own end."""
        self.step += 1
        self.write(StepEvent("start", self.step, f"msg_{self.step}", "sim-1"), UsageEvent(self.step, Usage(7, 1)))
        if self.blocks and not self.blocks[-1].complete and not self._go_on(len(self.blocks) - 1):
            return False
        for _ in range(self.draw(st.integers(0, 3))):
            if not self._block():
                return False
        if self.draw(st.booleans()):
            self.write(
                DataEvent("container", msgspec.Raw(b'{"id":"c1"}')), UnknownEvent("odd", b'{"type":"odd","a":1}')
            )
        self.write(UsageEvent(self.step, Usage(7, self.draw(st.integers(2, 90)))))
        return True

    def _block(self) -> bool:
        number = len(self.blocks)
        kind = self.draw(st.sampled_from(["text", "text", "thinking", "tool_use", "data"]))
        self.blocks.append(_Block(kind))
        match kind:
            case "tool_use":
                self.write(BlockStartEvent(number, "tool_use", f"call_{number}", "look"))
            case "data":
                raw = msgspec.Raw(b'{"type":"server_tool_use","id":"s1","name":"web_search","input":{}}')
                self.write(BlockStartEvent(number, "data", None, "server_tool_use", raw))
            case "text":
                self.write(BlockStartEvent(number, "text"))
            case _:
                self.write(BlockStartEvent(number, "thinking"))
        return self._go_on(number)

    def _go_on(self, number: int) -> bool:
        """Tell more of a block; return whether it was told to its end."""
        kind = self.blocks[number].kind
        if kind == "tool_use":
            pieces = self.draw(st.sampled_from([[], ["{", '"a":', "1}"], ['{"place":"Graz"}']]))
            self.write(*(DeltaEvent(number, json=piece) for piece in pieces))
        elif kind != "data":
            self.write(*(DeltaEvent(number, text=text) for text in self.draw(st.lists(_WORDS, max_size=4))))
        if self.draw(st.integers(0, 7)) == 0:
            return False
        if kind == "thinking":
            self.write(DeltaEvent(number, signature="c2ln"))
        self.blocks[number].complete = True
        self.write(BlockStopEvent(number))
        return True

    def end(self) -> None:
        """End the stream, or leave it running."""
        reason = self.draw(st.sampled_from(_ENDS))
        usage = Usage(7 * self.step, 40)
        match reason:
            case None:
                pass
            case "cancelled":
                self.write(EndEvent("cancelled", "cancelled", usage=usage))
            case "failed":
                error = ErrorEvent("provider_error", "The provider is overloaded; try again later.", retryable=True)
                self.write(error, EndEvent("failed", "overloaded", usage=usage))
            case "max_tokens":
                self._finish("incomplete", "max_tokens", usage)
            case "completed":
                self._finish("completed", "end_turn", usage)
            case _:
                self._finish("completed", reason, usage)
        self.flush()

    def _finish(self, status: str, reason: str, usage: Usage) -> None:
        """Close what is open, as a provider does that comes to its end."""
        for number, block in enumerate(self.blocks):
            if not block.complete:
                block.complete = True
                self.write(BlockStopEvent(number))
        self.write(StepEvent("stop", self.step, stop_reason=reason))
        self.write(EndEvent("incomplete" if status == "incomplete" else "completed", reason, usage=usage))


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """Return a random log, ended or not."""
    log = _Log(draw)
    log.write(StartEvent(STREAM, "sim", "sim", 1_790_000_000_000, 100))
    log.flush()
    if draw(st.integers(0, 9)) == 0:  # cancelled, or failed, before anybody took it
        log.write(EndEvent("cancelled", "cancelled"))
        log.flush()
        return log.entries
    for _ in range(draw(st.integers(1, 3))):
        log.begin()
        done = all(log.run_step() for _ in range(draw(st.integers(1, 2))))
        if done:
            break
    log.end()
    return log.entries
