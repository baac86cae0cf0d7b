"""Random logs for property tests: what workers may write of one stream, as events in order, or as entries.

Blocks of every kind, several open at once, further provider calls in an attempt, cuts, continuations of an open text,
resets, cancels, errors, events of unknown kinds. Unlike ``support_events`` these keep the log's own grammar.
"""

from __future__ import annotations

import json

import msgspec
from hypothesis import strategies as st

from shared.entry import Entry, encode_blob
from shared.events import (
    AttemptEvent,
    BlockKind,
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
_COUNTS = st.integers(0, 1000)
_USAGES = st.builds(Usage, _COUNTS, _COUNTS, _COUNTS, _COUNTS)
_KINDS: st.SearchStrategy[BlockKind] = st.sampled_from(["text", "text", "thinking", "tool_use", "tool_result", "data"])
_STEPS = st.sampled_from(["open", "open", "delta", "delta", "delta", "delta", "stop", "usage", "data", "unknown"])
_MOST_OPEN = 2
_RESULT = b'{"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"url": "u"}]}'
_SERVER_TOOL = b'{"type":"server_tool_use","id":"srv_1","name":"web_search","input":{}}'
_CITATION = b'{"type":"citations_delta","citation":{"type":"char_location","cited_text":"x"}}'
_STRANGE = b'{"type":"strange_delta","strange":[1]}'


class _Writer:
    """Writes one log as it draws it."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.events: list[Event] = [StartEvent(STREAM, "anthropic", "model-1", 1_790_000_000_000, 4096)]
        self._draw = draw
        self._steps = 0
        self._kinds: list[BlockKind] = []
        self._open: list[int] = []
        self._arguments: dict[int, list[str]] = {}
        self._usage: dict[int, Usage] = {}

    def attempt(self, number: int, *, to_its_end: bool) -> None:
        """Write an attempt; one that does not come to its end is cut anywhere."""
        self._begin_attempt(number)
        calls = self._draw(st.integers(1, 2))
        for call in range(1, calls + 1):
            cut = not to_its_end and call == calls
            self._call(cut=cut)

    def end(self, status: str) -> None:
        """Write the end, with the error of a failed answer before it."""
        if status == "failed":
            self.events.append(ErrorEvent("provider_error", self._draw(TEXTS), retryable=self._draw(st.booleans())))
        reasons = {
            "completed": st.sampled_from(["end_turn", "tool_use", "stop_sequence", "refusal", None]),
            "incomplete": st.sampled_from(["max_tokens", "model_context_window_exceeded", "stream_too_long"]),
            "cancelled": st.sampled_from(["cancelled", "abandoned"]),
            "failed": st.sampled_from(["overloaded", "cut", "invalid_request"]),
        }
        reason: str | None = self._draw(reasons[status])
        sequence = "STOP" if reason == "stop_sequence" else None
        usage = sum(self._usage.values(), Usage())
        self.events.append(EndEvent(status, reason, sequence, usage))  # type: ignore[arg-type]  # one of the four

    def _begin_attempt(self, number: int) -> None:
        """Write how an attempt begins, and what it discards of what there is: nothing that is open but a last text."""
        places = [place for place in range(len(self._kinds) + 1) if self._can_keep(place)]
        keep = self._draw(st.sampled_from(places))
        mode = "restart" if keep == 0 else "user_turn"
        reason = "first" if number == 1 else "provider_error"
        self.events.append(
            AttemptEvent(number, reason, "start" if number == 1 else mode, "anthropic", "model-1", "0-1")  # type: ignore[arg-type]
        )
        if keep < len(self._kinds):
            self.events.append(ResetEvent(keep, "provider_error"))
            self._kinds = self._kinds[:keep]
            self._open = [block for block in self._open if block < keep]

    def _can_keep(self, count: int) -> bool:
        """Tell whether the first ``count`` blocks can be gone on from."""
        open_ones = [block for block in self._open if block < count]
        return not open_ones or (open_ones == [count - 1] and self._kinds[count - 1] == "text")

    def _call(self, *, cut: bool) -> None:
        """Write one provider call."""
        self._steps += 1
        self.events.append(StepEvent("start", self._steps, f"msg_{self._steps}", "model-1-dated"))
        if self._draw(st.booleans()):
            self._tell_usage()
        for action in self._draw(st.lists(_STEPS, max_size=12)):
            self._act(action)
        if not cut:
            for block in list(self._open):
                self._stop(block)
            self._tell_usage()
            self.events.append(StepEvent("stop", self._steps, stop_reason="end_turn"))

    def _act(self, action: str) -> None:
        if action == "open":
            if len(self._open) < _MOST_OPEN:
                self._start(self._draw(_KINDS))
        elif action == "usage":
            self._tell_usage()
        elif action == "data":
            name = self._draw(st.sampled_from(["strange_event", "message_delta"]))
            told = {"type": name, "delta": {"stop_details": {"category": "cyber"}, "container": None}}
            self.events.append(DataEvent(name, msgspec.Raw(json.dumps(told).encode())))
        elif action == "unknown":
            self.events.append(UnknownEvent("x_new", b'{"type":"x_new","value":1}'))
        elif self._open:
            block = self._draw(st.sampled_from(self._open))
            if action == "stop":
                self._stop(block)
            else:
                self._more(block)

    def _start(self, kind: BlockKind) -> None:
        block = len(self._kinds)
        self._kinds.append(kind)
        self._open.append(block)
        self._arguments[block] = []
        if kind == "tool_use":
            text = json.dumps({"a": self._draw(TEXTS), "b": [1, 2.5]})
            self._arguments[block] = [text[at : at + 7] for at in range(0, len(text), 7)]
            self.events.append(BlockStartEvent(block, kind, f"toolu_{block}", "look_up"))
        elif kind in ("tool_result", "data"):
            raw, name = (
                (_RESULT, "web_search_tool_result") if kind == "tool_result" else (_SERVER_TOOL, "server_tool_use")
            )
            tool_id = "srv_1" if kind == "tool_result" else None
            self.events.append(BlockStartEvent(block, kind, tool_id, name, msgspec.Raw(raw)))
        else:
            self.events.append(BlockStartEvent(block, kind))

    def _more(self, block: int) -> None:
        """Write a delta that suits the block."""
        kind = self._kinds[block]
        if kind in ("text", "thinking"):
            if kind == "text" and self._draw(st.integers(0, 4)) == 0:
                raw = self._draw(st.sampled_from([_CITATION, _STRANGE]))
                self.events.append(DeltaEvent(block, data=msgspec.Raw(raw)))
            else:
                self.events.append(DeltaEvent(block, text=self._draw(TEXTS)))
        elif kind == "tool_use" and self._arguments[block]:
            self.events.append(DeltaEvent(block, json=self._arguments[block].pop(0)))

    def _stop(self, block: int) -> None:
        """Write a block's last pieces and its stop."""
        for piece in self._arguments[block]:
            self.events.append(DeltaEvent(block, json=piece))
        if self._kinds[block] == "thinking":
            self.events.append(DeltaEvent(block, signature="c2lnbmF0dXJl"))
        self.events.append(BlockStopEvent(block))
        self._open.remove(block)

    def _tell_usage(self) -> None:
        self._usage[self._steps] = self._draw(_USAGES)
        self.events.append(UsageEvent(self._steps, self._usage[self._steps]))


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Draw all events of a stream that has ended, in any of the four ways."""
    writer = _Writer(draw)
    status = draw(st.sampled_from(["completed", "incomplete", "cancelled", "failed"]))
    attempts = draw(st.integers(1 if status in ("completed", "incomplete") else 0, 3))
    for number in range(1, attempts + 1):
        writer.attempt(number, to_its_end=number == attempts and status in ("completed", "incomplete"))
    writer.end(status)
    return writer.events


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """Draw the log of a stream, mostly one that has ended: its events in as many entries as chance will have."""
    events = draw(histories())
    if draw(st.integers(0, 4)) == 0:
        events = events[: draw(st.integers(1, len(events)))]
    entries: list[Entry] = []
    held: list[Event] = []
    attempt = 0
    for place, event in enumerate(events, 1):
        held.append(event)
        begins = place < len(events) and isinstance(events[place], AttemptEvent)
        if begins or place == len(events) or isinstance(event, (StartEvent, AttemptEvent)) or draw(st.booleans()):
            attempt = event.attempt if isinstance(event, AttemptEvent) else attempt
            t_ms = 1_790_000_000_000 + len(entries)
            entries.append(Entry(EntryId(attempt, len(entries) + 1), encode_blob(held, t_ms)))
            held = []
    return entries
