"""The Responses stream as types: what each kind of event holds, decoded without building dictionaries.

Events say where they belong by ``output_index`` or, on servers that leave it out, by the item's id.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from shared.events import Usage


class InputDetails(msgspec.Struct, gc=False):
    """How the input's tokens were come by."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """Token counts of the whole answer; the input's include those read from a cache or written to it."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: InputDetails | None = None

    def usage(self) -> Usage:
        """Return the canonical counts, where what a cache gave or took is no input."""
        details = self.input_tokens_details or InputDetails()
        read, written = details.cached_tokens or 0, details.cache_write_tokens or 0
        return Usage(max(0, (self.input_tokens or 0) - read - written), self.output_tokens or 0, read, written)


class WireError(msgspec.Struct, gc=False):
    """What went wrong."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class Incomplete(msgspec.Struct, gc=False):
    """Why a response is not complete."""

    reason: str | None = None


class Response(msgspec.Struct, gc=False):
    """The response as far as it concerns us; its output was told in pieces."""

    id: str | None = None
    model: str | None = None
    usage: WireUsage | None = None
    error: WireError | None = None
    incomplete_details: Incomplete | None = None


class ResponseEvent(msgspec.Struct, gc=False):
    """``response.created``, ``.completed``, ``.incomplete``, ``.failed``."""

    response: Response


class Part(msgspec.Struct, gc=False):
    """A part of a message, or of a thought."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None


class Item(msgspec.Struct, gc=False):
    """The known fields of an item of the output; which are set depends on ``type``."""

    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    encrypted_content: str | None = None
    summary: list[Part] | None = None
    content: list[Part] | None = None


class ItemEvent(msgspec.Struct, gc=False):
    """``response.output_item.added`` and ``.done``, the item as it stands."""

    item: Raw
    output_index: int | None = None


class PieceEvent(msgspec.Struct, gc=False):
    """More of an item: which of its parts, and what is added to it."""

    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    delta: str = ""


class AnnotationEvent(msgspec.Struct, gc=False):
    """``response.output_text.annotation.added``, the annotation as it stands."""

    annotation: Raw
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None


class ErrorEvent(msgspec.Struct, gc=False):
    """``error``, of either shape that servers give it."""

    message: str | None = None
    code: str | int | None = None
    error: WireError | None = None


class Typed(msgspec.Struct, gc=False):
    """Any event, for its type alone."""

    type: str = ""


response = msgspec.json.Decoder(ResponseEvent)
item_event = msgspec.json.Decoder(ItemEvent)
item = msgspec.json.Decoder(Item)
piece = msgspec.json.Decoder(PieceEvent)
annotation = msgspec.json.Decoder(AnnotationEvent)
error = msgspec.json.Decoder(ErrorEvent)
typed = msgspec.json.Decoder(Typed)
raw = msgspec.json.Decoder(Raw)
