"""What a relay tells about streams and models, as the client hands it on. Fields of newer relays are ignored."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

import msgspec

from shared.answer import Status
from shared.events import BlockKind, Usage


class BlockState(msgspec.Struct, frozen=True):
    """One block of an answer so far."""

    block: int
    kind: BlockKind
    complete: bool
    text: str | None = None
    id: str | None = None
    name: str | None = None
    json: str | None = None
    """A tool call's arguments so far, as JSON text."""
    signature: str | None = None
    data: Any = None


class Timings(msgspec.Struct, frozen=True):
    """What took how long, in milliseconds from the request on; ``None`` while not known."""

    queued_ms: float | None = None
    first_token_ms: float | None = None
    duration_ms: float | None = None
    tokens_per_second: float | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why a stream failed."""

    code: str
    message: str
    retryable: bool
    retry_after_s: float | None = None


class StreamState(msgspec.Struct, frozen=True):
    """A stream as it stands."""

    id: str
    status: Status
    model: str
    provider: str
    created_ms: int
    events_url: str
    offset: str | None = None
    """The offset of the tail."""
    metadata: dict[str, str] = {}
    blocks: list[BlockState] = []
    text: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Usage = Usage()
    attempts: int = 0
    timings: Timings = Timings()
    error: Failure | None = None


class StreamSummary(msgspec.Struct, frozen=True):
    """A stream in a list."""

    id: str
    status: Status
    model: str
    provider: str
    created_ms: int
    events_url: str
    metadata: dict[str, str] = {}


class Page(msgspec.Struct, frozen=True):
    """Some streams, newest first; ``next_cursor`` asks for those after them, ``None`` at the end."""

    streams: list[StreamSummary]
    next_cursor: str | None = None


class ModelInfo(msgspec.Struct, frozen=True):
    """A model that can be asked for."""

    id: str
    provider: str
    max_tokens: int
    default: bool = False


class ModelPage(msgspec.Struct, frozen=True):
    """All models; what else is in the answer is for other clients."""

    models: tuple[ModelInfo, ...]


class Options(TypedDict, total=False):
    """The optional fields of a request, as ``docs/api.md`` describes them."""

    provider: str
    system: str | list[dict[str, Any]]
    max_tokens: int
    temperature: float
    top_p: float
    stop: list[str]
    thinking: dict[str, Any]
    tools: list[dict[str, Any]]
    tool_choice: dict[str, Any]
    metadata: dict[str, str]
    when_abandoned: Literal["continue", "cancel"] | dict[str, float]
    on_interruption: Literal["continue", "restart", "fail"]
    max_delay_ms: int
