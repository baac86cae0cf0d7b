"""What a reader may be told, and what not. Shares no code with the product: parses, folds and compares by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_TOKEN = re.compile(r"w(\d+)")
_NEXT_CHARS = 12


class Frame(NamedTuple):
    """One SSE event: the last id so far, its name, and its data."""

    id: str
    name: str
    data: str


class SseParser:
    """Bytes in, events out."""

    def __init__(self) -> None:
        """Begin a connection: the last id starts anew."""
        self._rest = b""
        self._id = ""
        self._name = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[Frame]:
        """Return the events that are complete with ``data``; half a line, or half an event, is kept."""
        frames: list[Frame] = []
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            name, _, value = line.removesuffix(b"\r").decode().partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                self._id = value
            elif name == "event":
                self._name = value
            elif name == "data":
                self._data.append(value)
            elif not name and not value:
                if self._data:
                    frames.append(Frame(self._id, self._name or "message", "\n".join(self._data)))
                self._name, self._data = "", []
        return frames


@dataclass(frozen=True)
class Expected:
    """What an answer must be in the end."""

    text: str
    tools: Sequence[tuple[str, Any]] = ()
    status: str = "completed"
    """``failed`` allows a text that is a mere beginning."""


@dataclass
class Told:
    """One event that a reader was told."""

    id: str
    name: str
    data: dict[str, Any]
    at_s: float

    @property
    def content(self) -> tuple[str, str, str]:
        """All but the time, to be compared."""
        return self.id, self.name, json.dumps(self.data, sort_keys=True)


@dataclass
class Transcript:
    """All that one reader was told, checked while it is told. ``problems`` says what was wrong, one sentence each."""

    mode: str
    expected: Expected
    began_s: float | None = None
    """When the reader asked for the first time."""
    events: list[Told] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    duplicates: int = 0
    losses: int = 0
    resets: int = 0
    """Explicit ones, those in the log and those of forks."""
    forks: int = 0
    breaks: int = 0
    """Connections that did not end as they should; the reader has come back after each."""
    broke_at: int = 0
    """How many events it had when its connection broke first."""
    ended: bool = False
    text: str = ""
    fork_at: int = 0
    """Where in ``events`` the latest fork begins."""
    _blocks: dict[int, list[str]] = field(default_factory=dict)
    _last_id: str = ""

    @property
    def offset(self) -> str:
        """The offset of the last event, empty before the first."""
        return self._last_id

    def tell(self, event_id: str, name: str, data: dict[str, Any], at_s: float) -> None:
        """Take the next event in."""
        forked = name == "reset" and event_id <= self._last_id
        if self.ended and not forked:
            self.problems.append(f"{name!r} came after the end")
        if forked:
            self.fork()
            self.fork_at = len(self.events) + 1
        elif event_id <= self._last_id:
            self.duplicates += 1
            self.problems.append(f"the offset {event_id!r} of {name!r} does not come after {self._last_id!r}")
        if data.get("type") != name:
            self.problems.append(f"an event called {name!r} says of itself {data.get('type')!r}")
        self._last_id = event_id
        self.events.append(Told(event_id, name, data, at_s))
        self._fold(name, data)

    def broke(self) -> None:
        """Note that a connection did not end as it should."""
        if not self.breaks:
            self.broke_at = len(self.events)
        self.breaks += 1

    def fork(self) -> None:
        """Begin anew: what was told is void."""
        self.forks += 1
        self.resets += 1
        self.ended, self._last_id, self.fork_at = False, "", len(self.events)
        self._blocks.clear()
        self.text = ""

    def state(self, state: dict[str, Any], at_s: float) -> None:
        """Take in a whole answer told as a state."""
        self.text = state["text"]
        self._blocks = {
            number: [block["kind"], block.get("name", ""), block.get("json", "")]
            for number, block in enumerate(state["blocks"])
        }
        self.events.append(Told(state["offset"], "state", {}, at_s))
        self._end(state["status"])

    def _fold(self, name: str, data: dict[str, Any]) -> None:
        """Take the event into the answer so far."""
        if name == "block_start":
            self._blocks[data["block"]] = [data["kind"], data.get("name", ""), ""]
        elif name == "delta":
            block = self._blocks.get(data["block"])
            if block is None:
                self.losses += 1
                self.problems.append(f"a delta of block {data['block']}, which was never opened")
            elif block[0] == "text":
                self._say(data["text"])
                block[2] += data["text"]
            elif block[0] == "tool_use":
                block[2] += data.get("json", "")
        elif name == "reset" and self._blocks:
            self.resets += 1
            self._blocks = {n: block for n, block in self._blocks.items() if n < data["keep_blocks"]}
            self.text = "".join(block[2] for block in self._blocks.values() if block[0] == "text")
        elif name == "end":
            self._end(data["status"])

    def _say(self, piece: str) -> None:
        """Add text, which must be just what comes next; what is wrong is told once per reader."""
        wanted = self.expected.text[len(self.text) :]
        self.text += piece
        if wanted.startswith(piece) or self.duplicates or self.losses:
            return
        got, due = _TOKEN.search(piece), _TOKEN.search(wanted)
        if got is not None and (due is None or int(got[1]) < int(due[1])):
            self.duplicates += 1
        else:
            self.losses += 1
        self.problems.append(f"told {piece[:_NEXT_CHARS]!r} where {wanted[:_NEXT_CHARS]!r} was next")

    def _end(self, status: str) -> None:
        """Compare the whole answer."""
        self.ended = True
        expected = self.expected
        if status != expected.status:
            told = next((event.data for event in reversed(self.events) if event.name == "error"), {})
            self.losses += 1
            self.problems.append(
                f"ended as {status!r}, not {expected.status!r}: {told.get('message', 'no error event')}"
            )
        elif self.text != expected.text and (status == "completed" or not expected.text.startswith(self.text)):
            self.losses += not self.duplicates
            self.problems.append(f"the text ends after {len(self.text)} of {len(expected.text)} characters")
        elif status == "completed":
            tools = [(block[1], json.loads(block[2])) for block in self._blocks.values() if block[0] == "tool_use"]
            if tools != list(expected.tools):
                self.losses += 1
                self.problems.append(f"the tool calls are {tools}, not {list(expected.tools)}")

    def same_as(self, log: Transcript) -> None:
        """Compare with what is told of the whole log in the end: the same events, since the last fork.

        Deltas that follow one another count as one, since a reader that catches up may be told them so.
        """
        mine, whole = joined(self.events[self.fork_at :]), joined(log.events[log.fork_at :])
        if self.mode == "client":
            same = [event.id for event in mine] == [event.id for event in whole]
        else:
            same = [event.content for event in mine] == [event.content for event in whole]
        if not same and not self.problems:
            self.losses += 1
            self.problems.append(f"was told {len(mine)} events where the log has other {len(whole)}")

    def silence_after(self, at_s: float) -> float | None:
        """Return the longest time without an event from ``at_s`` on, or from when the reader asked if that was later.

        Nothing if nothing came any more.
        """
        at_s = max(at_s, self.began_s or at_s)
        later = [event.at_s for event in self.events if event.at_s >= at_s]
        pairs = zip([at_s, *later], later, strict=False)
        return max((after - before for before, after in pairs), default=None)

    def attempts(self) -> list[str]:
        """Return the reason of each attempt that the latest fork tells of."""
        return [event.data["reason"] for event in self.events[self.fork_at :] if event.name == "attempt"]


def joined(events: Sequence[Told]) -> list[Told]:
    """Return the events with each run of deltas of one kind and block as one: all their text, and the last offset."""
    runs: list[Told] = []
    for event in events:
        last = runs[-1] if runs else None
        both = last is not None and event.name == last.name == "delta"
        if last is not None and both and _kind(event) == _kind(last) and _kind(event)[1]:
            (key,) = _kind(event)[1]
            runs[-1] = Told(event.id, "delta", event.data | {key: last.data[key] + event.data[key]}, event.at_s)
        else:
            runs.append(event)
    return runs


def _kind(delta: Told) -> tuple[Any, tuple[str, ...]]:
    """Return the block that a delta is for, and what of it."""
    return delta.data["block"], tuple(key for key in ("text", "json", "signature") if key in delta.data)
