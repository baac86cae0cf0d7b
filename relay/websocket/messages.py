"""What a client may say on a socket: one JSON object a message, whose ``type`` names what is wanted."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from relay.dialects.registry import dialect_named
from relay.parsing import refusal
from shared.errors import InvalidRequestError
from shared.request import StreamRequest

_LONGEST_ID = 64
_LONGEST_NAME = 128


def _known(name: str) -> str:
    """Return the name of a format that there is. Raises ``InvalidRequestError``."""
    if name != "native":
        dialect_named(name)
    return name


RequestId = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_ID)]
_Name = Annotated[str, StringConstraints(max_length=_LONGEST_NAME)]
_Format = Annotated[_Name, AfterValidator(_known)]
_Credit = Annotated[int, Field(ge=1, le=256)]


class _Message(BaseModel):
    """What every message may have."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: RequestId | None = Field(None, description="The client's own; the answers to this message have it too.")


class Create(_Message):
    """Start a stream, or attach to the one that ``key`` started before."""

    type: Literal["create"]
    request: StreamRequest
    key: str | None = Field(None, description="The idempotency key.")
    follow: bool = True
    credit: _Credit | None = None
    format: _Format = "native"


class Follow(_Message):
    """Follow a stream from an offset; ``credit`` is how many of its events may be unacknowledged."""

    type: Literal["follow"]
    stream: _Name
    offset: _Name = ""
    credit: _Credit | None = None
    format: _Format = "native"
    token: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        None, description="Of a signed link, where the socket itself may not read the stream."
    )


class Cancel(_Message):
    """End a stream."""

    type: Literal["cancel"]
    stream: _Name


class Unsubscribe(_Message):
    """Follow a stream no more; it goes on."""

    type: Literal["unsubscribe"]
    stream: _Name


class Ack(_Message):
    """Say that all events of a stream up to an offset have been dealt with."""

    type: Literal["ack"]
    stream: _Name
    offset: _Name


class Ping(_Message):
    """Ask for a sign of life."""

    type: Literal["ping"]


ClientMessage = Create | Follow | Cancel | Unsubscribe | Ack | Ping
_TYPES = ", ".join(get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(ClientMessage))
_parser: TypeAdapter[ClientMessage] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="type")])


class NotJsonError(Exception):
    """The text is no JSON at all."""


def parse(text: str) -> ClientMessage:
    """Return the message in ``text``. Raises ``InvalidRequestError``, which names the field, or ``NotJsonError``."""
    try:
        return _parser.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        if problem["type"] == "json_invalid":
            raise NotJsonError from None
        if not problem["loc"]:
            message = f"type: a message is a JSON object whose type is one of {_TYPES}"
            raise InvalidRequestError(message, field="type") from None
        raise refusal(error, inside=1) from None


class _Asked(msgspec.Struct):
    id: str | None = None


def id_in(text: str) -> str | None:
    """Return the request id in a message that could not be parsed, so that its sender knows which one it was."""
    try:
        found = msgspec.json.decode(text, type=_Asked).id
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return found if found is not None and 0 < len(found) <= _LONGEST_ID else None
