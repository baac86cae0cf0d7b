"""The Gemini API's stream as types: what a chunk holds, decoded without building dictionaries."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType

from shared.events import Usage


class FunctionCall(msgspec.Struct, gc=False, rename="camel"):
    """A function's call, whole."""

    name: str
    id: str | None = None
    args: Raw | UnsetType = UNSET


class Part(msgspec.Struct, gc=False, rename="camel"):
    """The known fields of a part; one without any of them has no canonical form."""

    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: FunctionCall | None = None


class Content(msgspec.Struct, gc=False):
    """What a chunk adds to the answer, the parts as they stand."""

    parts: list[Raw] | None = None


class Candidate(msgspec.Struct, gc=False, rename="camel"):
    """One of the answers; there is but one."""

    index: int = 0
    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    grounding_metadata: Raw | UnsetType = UNSET
    citation_metadata: Raw | UnsetType = UNSET
    url_context_metadata: Raw | UnsetType = UNSET


class WireUsage(msgspec.Struct, gc=False, rename="camel"):
    """Token counts so far; the prompt's include those read from a cache, the candidates' no thoughts."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None

    def usage(self) -> Usage:
        """Return the canonical counts, where what a cache gave is no input, and thoughts are output."""
        cached = self.cached_content_token_count or 0
        asked = (self.prompt_token_count or 0) + (self.tool_use_prompt_token_count or 0)
        return Usage(
            max(0, asked - cached), (self.candidates_token_count or 0) + (self.thoughts_token_count or 0), cached
        )


class Feedback(msgspec.Struct, gc=False, rename="camel"):
    """What the provider has against the prompt."""

    block_reason: str | None = None


class WireError(msgspec.Struct, gc=False):
    """What went wrong in the middle of a stream."""

    code: int | None = None
    message: str | None = None
    status: str = ""


class Chunk(msgspec.Struct, gc=False, rename="camel"):
    """One frame."""

    candidates: list[Candidate] | None = None
    usage_metadata: WireUsage | None = None
    model_version: str | None = None
    response_id: str | None = None
    prompt_feedback: Feedback | None = None
    error: WireError | None = None


chunk = msgspec.json.Decoder(Chunk)
part = msgspec.json.Decoder(Part)
raw = msgspec.json.Decoder(Raw)
