"""What the simulated model says: fixed by the request, the same in every attempt, and cut where the request says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from worker.continuation import is_continuation_turn
from worker.llm import Call

Fault = Literal["cut", "error", "overloaded", "refused", "stall"]

_CHATTY_TOKENS = 40
_MAX_TOKENS = 100_000
_MAX_PACE = 1_000_000
_CHATTY_PER_SECOND = 50.0
_WORDS = ("w", "river", "mill", "stone", "wheel", "water", "channel", "weir")


class Tool(msgspec.Struct, frozen=True):
    """A tool call that follows the text."""

    name: str
    input: dict[str, Any] = {}


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to answer; the last user message may be one of these as a JSON object."""

    tokens: int = _CHATTY_TOKENS
    """How many words the text has; each ends with its own number."""
    per_second: float = 0.0
    """Tokens per second; 0: as fast as they are taken."""
    first_token_ms: float = 0.0
    seed: int = 0
    """Picks the words; their numbers stay."""
    thinking: int = 0
    """How many words of thinking, with a signature, come before the text."""
    tools: tuple[Tool, ...] = ()
    fail_at: int | None = None
    """The number of the text token before which ``fault`` strikes; None: no fault."""
    fault: Fault = "cut"
    attempts: tuple[int, ...] = (1,)
    """The attempts in which it strikes."""

    def __post_init__(self) -> None:
        """Refuse what would never end or never begin. Raises ``ValueError``, which ``msgspec`` turns into its own."""
        if not (0 <= self.tokens <= _MAX_TOKENS and 0 <= self.thinking <= _MAX_TOKENS):
            message = f"tokens and thinking must be from 0 to {_MAX_TOKENS}"
            raise ValueError(message)
        if not (0 <= self.per_second <= _MAX_PACE and 0 <= self.first_token_ms <= _MAX_PACE):
            message = f"per_second and first_token_ms must be from 0 to {_MAX_PACE}"
            raise ValueError(message)

    def word(self, index: int) -> str:
        """Return the text token at ``index``. White space is at its front, so that no prefill ends with any."""
        word = _WORDS[self.seed * (index + 1) * 7 % len(_WORDS)] if self.seed else _WORDS[0]
        return f" {word}{index}" if index else f"{word}{index}"


@dataclass(frozen=True)
class Speech:
    """The text tokens that one call tells, and why it ends after them."""

    words: list[tuple[int, str]]
    """The number of each token in the whole answer, and its text."""
    stop_reason: str
    stop_sequence: str | None = None


def speech(script: Script, said: str, max_tokens: int, stops: Sequence[str]) -> Speech:
    """Return what is left to say after ``said``, within ``max_tokens`` and up to the first of ``stops``."""
    words = _after(script, said)
    cut = _stopped(words, stops)
    if cut is not None and len(cut.words) <= max_tokens:
        return cut
    if len(words) > max_tokens:
        return Speech(words[:max_tokens], "max_tokens")
    return Speech(words, "tool_use" if script.tools else "end_turn")


def _after(script: Script, said: str) -> list[tuple[int, str]]:
    """Return the tokens that follow ``said``; all of them if it is not how this answer begins."""
    words = [(index, script.word(index)) for index in range(script.tokens)]
    at = 0
    for index, word in words:
        if not said.startswith(word, at):
            rest = said[at:]
            return [(index, word[len(rest) :]), *words[index + 1 :]] if word.startswith(rest) else words
        at += len(word)
    return [] if at == len(said) else words


def _stopped(words: list[tuple[int, str]], stops: Sequence[str]) -> Speech | None:
    """Return the part of ``words`` before the first stop sequence, if there is one."""
    text = "".join(word for _, word in words)
    found = min(((text.find(stop), stop) for stop in stops if stop in text), default=None)
    if found is None:
        return None
    left, kept = found[0], []
    for index, word in words:
        if left <= 0:
            break
        kept.append((index, word[:left]))
        left -= len(word)
    return Speech(kept, "stop_sequence", found[1])


def script_of(call: Call) -> tuple[Script, str]:
    """Return what to say, and what of its text has been said already (an assistant message at the end of the call).

    A last user message that is no JSON object of a script gets a modest answer. Raises ``ValueError``, with a
    sentence, for a JSON object with a field that a script cannot have.
    """
    said: list[str] = []
    for message in reversed(call.messages):
        text = _text(message["content"])
        if message["role"] == "assistant":
            said.insert(0, text)
        elif message["role"] == "user" and not is_continuation_turn(message):
            return _parse(text), "".join(said)
    return Script(per_second=_CHATTY_PER_SECOND), "".join(said)


def _parse(text: str) -> Script:
    if not text.lstrip().startswith("{"):
        return Script(per_second=_CHATTY_PER_SECOND)
    try:
        return msgspec.json.decode(text, type=Script)
    except msgspec.ValidationError as error:
        message = f"the simulated model cannot do this: {error}"
        raise ValueError(message) from None
    except msgspec.DecodeError:
        return Script(per_second=_CHATTY_PER_SECOND)


def _text(content: str | Sequence[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(block.get("text", "")) for block in content if block.get("type") == "text")


def tool_json(tool: Tool) -> list[str]:
    """Return the pieces in which a tool's arguments are told."""
    text = json.dumps(tool.input, separators=(",", ":"))
    return [text[at : at + 8] for at in range(0, len(text), 8)]
