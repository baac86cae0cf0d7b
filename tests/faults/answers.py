"""One answer of the suite: what is asked, what must come, who reads it, and whether a fault has struck it."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

from tests.faults.checker import Expected, Transcript
from tests.messages_script import token

MODELS = ("prefills", "claude-turns")
"""One continues by prefill, one by a user turn: the provider refuses a prefill for names that begin as this one's."""
_TOOL = {"name": "weigh", "input": {"what": "flour", "grams": 250, "sure": True}}


@dataclass
class Answer:
    """One stream on its way, shared by its readers."""

    key: str
    model: str
    script: dict[str, Any]
    expected: Expected
    options: dict[str, Any] = field(default_factory=dict)
    begins_s: float = 0.0
    """When it is asked for, in seconds from the round's start."""
    stream_id: str = ""
    ids: set[str] = field(default_factory=set)
    known: asyncio.Event = field(default_factory=asyncio.Event)
    transcripts: list[Transcript] = field(default_factory=list)
    struck_s: float | None = None
    """When a fault came over it, on the loop's clock."""
    wrong: bool = False
    """Whether anything was wrong with what a reader was told, or with what it cost."""
    struck_index: int = 0
    """How many events its first reader had by then."""

    @property
    def prompt(self) -> str:
        """The user's message, which is the provider's script; unlike any other answer's."""
        return json.dumps(self.script | {"error_message": self.key})

    @property
    def body(self) -> dict[str, Any]:
        """The request."""
        messages = [{"role": "user", "content": self.prompt}]
        return {"model": self.model, "messages": messages, "max_tokens": 30_000, **self.options}

    @property
    def ended(self) -> bool:
        """Whether any reader has the end."""
        return any(one.ended for one in self.transcripts)

    def named(self, stream_id: str) -> None:
        """Learn the stream's id from whoever has started it."""
        self.stream_id = stream_id
        self.ids.add(stream_id)
        self.known.set()

    def spare_if_unasked(self) -> None:
        """Forget a fault that was over before anybody asked for the answer."""
        if all(told.began_s is None for told in self.transcripts):
            self.struck_s = None

    def strike(self, at_s: float) -> None:
        """Note that a fault comes over it now, unless it has ended."""
        if self.struck_s is None and not self.ended:
            self.struck_s, self.struck_index = at_s, len(self.transcripts[0].events) if self.transcripts else 0


def make_answer(key: str, rng: random.Random, pace: tuple[int, float]) -> Answer:
    """Return a random answer of about so many tokens at so many a second: sometimes it thinks, or calls a tool."""
    tokens, per_second = pace
    tokens = rng.randint(round(tokens * 0.9), tokens)
    script: dict[str, Any] = {"tokens": tokens, "per_second": per_second}
    expected = Expected("".join(map(token, range(tokens))))
    shape = rng.random()
    if shape < 0.15:
        script["thinking"] = 5
    elif shape < 0.3:
        script["tools"] = [_TOOL]
        expected = Expected(expected.text, [(_TOOL["name"], _TOOL["input"])])  # type: ignore[list-item]
    options: dict[str, Any] = {"on_interruption": "restart"} if rng.random() < 0.1 else {}
    if rng.random() < 0.1:
        options["max_delay_ms"] = 100
    if rng.random() < 0.1:
        options["when_abandoned"] = {"cancel_after_s": 60}
    return Answer(key, rng.choice(MODELS), script, expected, options)
