"""The Chat Completions stream as types: what a chunk holds, decoded without building dictionaries."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType

from shared.events import Usage


class PromptDetails(msgspec.Struct, gc=False):
    """How the prompt's tokens were come by."""

    cached_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """Token counts of the whole answer; the prompt's include those read from a cache."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None

    def usage(self) -> Usage:
        """Return the canonical counts, where what a cache gave is no input."""
        cached = (self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens) or 0
        return Usage(max(0, (self.prompt_tokens or 0) - cached), self.completion_tokens or 0, cached)


class Function(msgspec.Struct, gc=False):
    """A piece of a function's call."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct, gc=False):
    """A piece of a tool call; the first piece has the id and the name."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct, gc=False):
    """What a chunk adds to the answer."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    annotations: Raw | UnsetType = UNSET
    reasoning_details: Raw | UnsetType = UNSET


class Choice(msgspec.Struct, gc=False):
    """One of the answers; there is but one."""

    index: int = 0
    delta: Delta | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    """vLLM's: the stop sequence, or the number of the token, that ended the answer."""


class Chunk(msgspec.Struct, gc=False):
    """One frame."""

    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    error: Raw | UnsetType = UNSET


class WireError(msgspec.Struct, gc=False):
    """What went wrong in the middle of a stream."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None


chunk = msgspec.json.Decoder(Chunk)
error = msgspec.json.Decoder(WireError | str)
