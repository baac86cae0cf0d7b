"""A provider call: what is asked, and how the answer ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.events import Usage
from shared.models import Model


@dataclass(frozen=True)
class Call:
    """One provider call: the request as the client made it, and where in the stream its answer goes."""

    model: Model
    upstream: str
    """The provider's own name for the model."""
    messages: Sequence[dict[str, Any]]
    """The conversation, in the Anthropic Messages shape, with whatever a continuation adds at its end."""
    max_tokens: int
    first_block: int = 0
    """The number of the first block this call opens."""
    open_text_block: int | None = None
    """A text block already open in the stream, which this call's first text continues instead of opening one."""
    prefill: str = ""
    """The text the last assistant message ends with, for servers that repeat it."""
    overlap: str = ""
    """White space the open block ends with and the prefill had to leave out; dropped where the answer repeats it."""
    step: int = 1
    """The number of this call within the stream, counted from 1."""
    options: dict[str, Any] = field(default_factory=dict)
    """The request's optional fields, by name, as ``StreamRequest.options`` gives them."""
    stream_id: str = ""
    attempt: int = 1


@dataclass(frozen=True)
class Finish:
    """How the provider ended the call; always the last thing a call yields, and its absence is a cut."""

    stop_reason: str | None
    stop_sequence: str | None = None
    usage: Usage = field(default_factory=Usage)
