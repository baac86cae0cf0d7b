"""The body of ``POST /v1/chat/completions`` as OpenAI's clients send it, checked field by field.

Messages and their parts come in many shapes, told apart by a field: those are checked one by one, by the model of
their shape, so that a mistake is named where it is.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from relay.dialects.openai_options import Effort
from shared.models import Interruption
from shared.request import CancelAfter, JsonObject, Name

Tag = Annotated[str, StringConstraints(max_length=1024)]
Content = str | list[JsonObject]


class _Strict(BaseModel):
    """Takes no field it does not know, and no value of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Function(_Strict):
    """What a tool is."""

    name: Name
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class FunctionTool(_Strict):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class StreamOptions(_Strict):
    """How to stream."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class NamedSchema(_Strict):
    """A schema that the answer's text must keep to."""

    name: Name
    description: str | None = None
    json_schema: JsonObject = Field(alias="schema")  # a model of pydantic has a method of that name
    strict: bool | None = None


class ResponseFormat(_Strict):
    """What the answer's text must be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class ChatBody(BaseModel):
    """The body. Fields that are not here end up in ``model_extra``: some providers take them."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    messages: Annotated[list[JsonObject], Field(min_length=1, max_length=10_000)]
    model: Name
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    max_completion_tokens: Annotated[int, Field(gt=0)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop: Name | Annotated[list[Name], Field(max_length=16)] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=1000)] | None = None
    tool_choice: str | JsonObject | None = None
    parallel_tool_calls: bool | None = None
    metadata: Annotated[dict[Name, Tag], Field(max_length=32)] | None = None
    user: Tag | None = None
    safety_identifier: Tag | None = None
    reasoning_effort: Effort | None = None
    response_format: ResponseFormat | None = None
    when_abandoned: Literal["continue", "cancel"] | CancelAfter | None = None
    on_interruption: Interruption | None = None
    max_delay_ms: Annotated[int, Field(ge=0, le=1000)] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether the usage is to be told at the stream's end."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class CalledFunction(_Strict):
    """What a tool call of an earlier turn called."""

    name: Name
    arguments: str


class ToolCall(_Strict):
    """A tool call of an earlier turn. ``index`` is what some clients leave in it from the stream."""

    id: Name
    type: Literal["function"]
    function: CalledFunction
    index: int | None = None


class InstructionMessage(_Strict):
    """What the developer tells the model."""

    role: Literal["system", "developer"]
    content: Content


class UserMessage(_Strict):
    """A user's turn."""

    role: Literal["user"]
    content: Content


class AssistantMessage(_Strict):
    """An earlier answer, as this dialect told it or another server of the API."""

    role: Literal["assistant"]
    content: Content | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    annotations: Annotated[list[JsonObject], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None


class ToolMessage(_Strict):
    """What a tool answered."""

    role: Literal["tool"]
    content: Content
    tool_call_id: Name
    name: str | None = None


class TextPart(_Strict):
    """Text."""

    type: Literal["text"]
    text: str


class RefusalPart(_Strict):
    """A refusal in an earlier answer."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(_Strict):
    """Where an image is. How closely to look at it is the model's choice here."""

    url: str
    detail: Literal["auto"] | None = None


class ImagePart(_Strict):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class File(_Strict):
    """A file that comes with the request; there is no other place to keep one."""

    file_data: str
    filename: str | None = None


class FilePart(_Strict):
    """A document."""

    type: Literal["file"]
    file: File
