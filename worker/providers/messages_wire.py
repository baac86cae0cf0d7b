"""The Anthropic Messages stream as types: what each kind of frame holds, decoded without building dictionaries."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType

from shared.events import Usage


class WireUsage(msgspec.Struct, gc=False):
    """Token counts, cumulative over the message; what is null or absent has not changed."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None

    def over(self, earlier: Usage) -> Usage:
        """Return ``earlier`` with what these counts replace."""
        return Usage(
            earlier.input_tokens if self.input_tokens is None else self.input_tokens,
            earlier.output_tokens if self.output_tokens is None else self.output_tokens,
            earlier.cache_read_tokens if self.cache_read_input_tokens is None else self.cache_read_input_tokens,
            earlier.cache_write_tokens
            if self.cache_creation_input_tokens is None
            else self.cache_creation_input_tokens,
        )


class Message(msgspec.Struct, gc=False):
    """The head of the message that a stream begins with."""

    id: str | None = None
    model: str | None = None
    usage: WireUsage | None = None


class MessageStart(msgspec.Struct, gc=False):
    """``message_start``."""

    message: Message


class ContentBlock(msgspec.Struct, gc=False):
    """The known fields of a content block; which are set depends on ``type``."""

    type: str
    id: str | None = None
    name: str | None = None
    tool_use_id: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    input: Raw | UnsetType = UNSET


class BlockStart(msgspec.Struct, gc=False):
    """``content_block_start``, the block as it stands."""

    index: int
    content_block: Raw


class Delta(msgspec.Struct, gc=False):
    """The known fields of a delta; which is set depends on ``type``."""

    type: str
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""


class BlockDelta(msgspec.Struct, gc=False):
    """``content_block_delta``."""

    index: int
    delta: Delta


class RawBlockDelta(msgspec.Struct, gc=False):
    """``content_block_delta``, the delta as it stands."""

    index: int
    delta: Raw


class BlockStop(msgspec.Struct, gc=False):
    """``content_block_stop``."""

    index: int


class StopDelta(msgspec.Struct, gc=False):
    """Why the message ended."""

    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Raw | UnsetType = UNSET
    container: Raw | UnsetType = UNSET


class MessageDelta(msgspec.Struct, gc=False):
    """``message_delta``."""

    delta: StopDelta
    usage: WireUsage | None = None


class WireError(msgspec.Struct, gc=False):
    """What went wrong in the middle of a stream."""

    type: str = ""
    message: str | None = None


class ErrorFrame(msgspec.Struct, gc=False):
    """``error``."""

    error: WireError


class Typed(msgspec.Struct, gc=False):
    """Any frame, for its type alone."""

    type: str = ""


message_start = msgspec.json.Decoder(MessageStart)
block_start = msgspec.json.Decoder(BlockStart)
content_block = msgspec.json.Decoder(ContentBlock)
block_fields = msgspec.json.Decoder(dict[str, Raw])
block_delta = msgspec.json.Decoder(BlockDelta)
raw_block_delta = msgspec.json.Decoder(RawBlockDelta)
block_stop = msgspec.json.Decoder(BlockStop)
message_delta = msgspec.json.Decoder(MessageDelta)
error_frame = msgspec.json.Decoder(ErrorFrame)
typed = msgspec.json.Decoder(Typed)
raw = msgspec.json.Decoder(Raw)
