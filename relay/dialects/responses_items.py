"""Input items of the Responses API as the canonical conversation: text and blocks in the Anthropic Messages shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.dialects.openai_parts import Block, document_block, image_block, text_block, tool_use_block
from relay.dialects.responses_body import (
    Content,
    FunctionCallItem,
    FunctionOutputItem,
    InputFile,
    InputImage,
    InputText,
    MessageItem,
    OutputText,
    ReasoningItem,
    RefusalPart,
)
from relay.dialects.responses_object import thought
from relay.parsing import checked, refuse

Item = dict[str, Any]


@dataclass
class Conversation:
    """The items taken in so far. All that one side says in a row is one message."""

    tells_thoughts: bool = False
    """Whether thoughts without their provider's seal are sent back; the APIs that seal them refuse those."""
    system: list[str] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    _calls: dict[str, str] = field(default_factory=dict)
    """The tool's name by the id of its call."""
    unanswered: set[str] = field(default_factory=set)
    """The ids of calls whose output has not come."""

    def add(self, item: Item, *at: str | int) -> None:
        """Take in the item ``at`` this place of the body. Raises ``InvalidRequestError``."""
        match item.get("type", "message"):
            case "message":
                self._message(checked(MessageItem, item, *at), *at)
            case "function_call":
                call = checked(FunctionCallItem, item, *at)
                self._calls[call.call_id] = call.name
                self.unanswered.add(call.call_id)
                self._say("assistant", [tool_use_block(call.call_id, call.name, call.arguments, *at, "arguments")])
            case "function_call_output":
                self._result(checked(FunctionOutputItem, item, *at), *at)
            case "reasoning":
                self._thought(checked(ReasoningItem, item, *at))
            case _:
                refuse(
                    "must be message, function_call, function_call_output, reasoning or item_reference",
                    *at,
                    "type",
                )

    def _message(self, message: MessageItem, *at: str | int) -> None:
        """Take in a turn. An answer in which nothing was said is none; a user says something."""
        at = (*at, "content")
        if message.role in ("system", "developer"):
            if self.messages:
                refuse("instructions come before all other items; send later ones as user", *at[:-1], "role")
            self.system += [text["text"] for text in _parts(message.content, ("input_text",), *at)]
        elif message.role == "assistant":
            self._say("assistant", _parts(message.content, ("output_text", "refusal"), *at))
        else:
            blocks = _parts(message.content, ("input_text", "input_image", "input_file"), *at)
            if not blocks:
                refuse("must not be empty", *at)
            self._say("user", blocks)

    def _result(self, item: FunctionOutputItem, *at: str | int) -> None:
        """Take in what a tool answered."""
        name = self._calls.get(item.call_id)
        if name is None:
            refuse("must be the call_id of a function_call before", *at, "call_id")
        if item.name not in (None, name):
            refuse(f"the call was of {name!r}; leave the name out", *at, "name")
        self.unanswered.discard(item.call_id)
        content = _parts(item.output, ("input_text", "input_image", "input_file"), *at, "output")
        result: Block = {"type": "tool_result", "tool_use_id": item.call_id}
        self._say("user", [result | ({"content": content} if content else {})])

    def _thought(self, item: ReasoningItem) -> None:
        """Take in a thought, if it is one that the provider would take."""
        summary = "\n\n".join(part.text for part in item.summary)
        if item.encrypted_content or (summary and self.tells_thoughts):
            self._say("assistant", [thought(summary, item.encrypted_content or "")])

    def _say(self, role: str, blocks: Sequence[Block]) -> None:
        """Add to the last message, if it is the same side's, or begin another."""
        if blocks and self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        elif blocks:
            self.messages.append({"role": role, "content": list(blocks)})


def listed(given: str | Sequence[Item]) -> list[Item]:
    """Return a request's input as items; text alone is what a user says."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    return list(given)


def _parts(content: Content, kinds: Sequence[str], *at: str | int) -> list[Block]:
    """Return the blocks of content that may have parts of these kinds. Empty texts, which say nothing, are left out."""
    if isinstance(content, str):
        return [text_block(content)] if content else []
    blocks = [_part(part, kinds, *at, number) for number, part in enumerate(content)]
    return [block for block in blocks if block.get("text") != ""]


def _part(part: Block, kinds: Sequence[str], *at: str | int) -> Block:
    kind = part.get("type")
    if kind not in kinds:
        refuse(f"must be {' or '.join(kinds)} here", *at, "type")
    match kind:
        case "input_text":
            return text_block(checked(InputText, part, *at).text)
        case "output_text":
            return text_block(checked(OutputText, part, *at).text)
        case "refusal":
            return text_block(checked(RefusalPart, part, *at).refusal)
        case "input_image":
            return image_block(checked(InputImage, part, *at).image_url, *at, "image_url")
        case _:
            file = checked(InputFile, part, *at)
            return document_block(file.file_data, file.filename, *at, "file_data")
