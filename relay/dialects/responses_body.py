"""The body of ``POST /v1/responses`` as OpenAI's clients send it, checked field by field.

Items and their parts come in many shapes, told apart by ``type``: they are checked one by one, by the model of their
shape, so that a mistake is named where it is.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from relay.dialects.chat_body import Function
from relay.dialects.openai_options import Effort
from shared.models import Interruption
from shared.request import CancelAfter, JsonObject, Name

Text = Annotated[str, StringConstraints(min_length=1)]
Tag = Annotated[str, StringConstraints(max_length=1024)]
Content = str | list[JsonObject]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class _Strict(BaseModel):
    """Takes no field it does not know, and no value of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FunctionTool(Function):
    """A tool that the model may call."""

    type: Literal["function"]


class FunctionChoice(_Strict):
    """The one tool that the model must call."""

    type: Literal["function"]
    name: Name


class Reasoning(_Strict):
    """How the model is to think."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class PlainFormat(_Strict):
    """Text, or an object of any kind as JSON."""

    type: Literal["text", "json_object"]


class SchemaFormat(_Strict):
    """An object of a certain kind as JSON."""

    type: Literal["json_schema"]
    name: Name
    schema_: JsonObject = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextOptions(_Strict):
    """How the answer's text is to be."""

    format: Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class StreamOptions(_Strict):
    """How to stream. Obfuscation, which hides the length of deltas from eavesdroppers, is not done here."""

    include_obfuscation: Literal[False] | None = None


class ResponsesBody(BaseModel):
    """The body. Fields that are not here end up in ``model_extra``: some providers take them."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    input: Text | Annotated[list[JsonObject], Field(min_length=1, max_length=10_000)]
    model: Name | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    background: bool | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    include: list[Literal["reasoning.encrypted_content"]] | None = None
    max_output_tokens: Annotated[int, Field(gt=0)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=1000)] | None = None
    tool_choice: str | JsonObject | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    user: Tag | None = None
    safety_identifier: Tag | None = None
    text: TextOptions | None = None
    metadata: Annotated[dict[Name, Tag], Field(max_length=32)] | None = None
    when_abandoned: Literal["continue", "cancel"] | CancelAfter | None = None
    on_interruption: Interruption | None = None
    max_delay_ms: Annotated[int, Field(ge=0, le=1000)] | None = None


class MessageItem(_Strict):
    """A turn, or instructions."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    id: str | None = None
    status: ItemStatus | None = None
    phase: None = None


class FunctionCallItem(_Strict):
    """A call of a tool that the model made."""

    type: Literal["function_call"]
    call_id: Name
    name: Name
    arguments: str
    id: str | None = None
    status: ItemStatus | None = None
    caller: None = None
    namespace: None = None


class FunctionOutputItem(_Strict):
    """What a tool answered."""

    type: Literal["function_call_output"]
    call_id: Name
    output: Content
    id: str | None = None
    status: ItemStatus | None = None
    name: str | None = None
    caller: None = None
    namespace: None = None


class ItemReference(_Strict):
    """An item of an earlier response, by its id."""

    type: Literal["item_reference"]
    id: str


class SummaryPart(_Strict):
    """A part of what is told of a thought."""

    type: Literal["summary_text"]
    text: str


class ReasoningPart(_Strict):
    """A part of a thought itself."""

    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(_Strict):
    """A thought of an earlier answer."""

    type: Literal["reasoning"]
    summary: list[SummaryPart]
    id: str | None = None
    content: list[ReasoningPart] | None = None
    encrypted_content: str | None = None
    status: ItemStatus | None = None


class InputText(_Strict):
    """Text of a user, a developer or a tool."""

    type: Literal["input_text"]
    text: str


class OutputText(_Strict):
    """Text of an earlier answer. What had been noted beside it is for people, not for the model."""

    type: Literal["output_text"]
    text: str
    annotations: list[JsonObject] | None = None
    logprobs: list[JsonObject] | None = None


class RefusalPart(_Strict):
    """A refusal in an earlier answer."""

    type: Literal["refusal"]
    refusal: str


class InputImage(_Strict):
    """An image. How closely to look at it is the model's choice here."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto"] | None = None
    file_id: None = None


class InputFile(_Strict):
    """A document that comes with the request; there is no other place to keep one."""

    type: Literal["input_file"]
    file_data: str
    filename: str | None = None
    detail: Literal["auto"] | None = None
    file_id: None = None
    file_url: None = None
