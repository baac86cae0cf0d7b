"""Chat Completions messages as the canonical conversation: text and blocks in the Anthropic Messages shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from relay.dialects.chat_body import (
    AssistantMessage,
    Content,
    FilePart,
    ImagePart,
    InstructionMessage,
    RefusalPart,
    TextPart,
    ToolMessage,
    UserMessage,
)
from relay.dialects.openai_parts import Block, document_block, image_block, text_block, tool_use_block
from relay.parsing import checked, refuse


@dataclass
class Conversation:
    """The messages taken in so far."""

    tells_thoughts: bool = False
    """Whether what the model thought is sent back. This format has no place for a signature, without which the APIs
    that sign refuse it; to models of those it is not sent."""
    instructs_late: bool = True
    """Whether instructions may come in the middle of the conversation."""
    system: list[str] = field(default_factory=list)
    messages: list[Block] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)
    """The tool's name by the id of its call."""

    def add(self, raw: Block, *at: str | int) -> None:
        """Take in the message ``at`` this place of the body. Raises ``InvalidRequestError``."""
        match raw.get("role"):
            case "system" | "developer":
                self._instruct(checked(InstructionMessage, raw, *at), *at)
            case "user":
                content = checked(UserMessage, raw, *at).content
                self.messages.append({"role": "user", "content": _user_content(content, *at, "content")})
            case "assistant":
                self._answer(checked(AssistantMessage, raw, *at), *at)
            case "tool":
                self._result(checked(ToolMessage, raw, *at), *at)
            case _:
                refuse("must be system, developer, user, assistant or tool", *at, "role")

    def _instruct(self, message: InstructionMessage, *at: str | int) -> None:
        """Take in instructions: the first are for the whole conversation."""
        texts = _texts(message.content, *at, "content")
        if not self.messages:
            self.system += texts
        elif not self.instructs_late:
            refuse("this model takes instructions before all other messages alone", *at, "role")
        elif texts:
            self.messages.append({"role": "system", "content": [text_block(text) for text in texts]})

    def _answer(self, message: AssistantMessage, *at: str | int) -> None:
        """Take in an earlier answer; one in which nothing was said is none."""
        content = _said(message.content or "", *at, "content")
        if message.refusal:
            content.append(text_block(message.refusal))
        for number, call in enumerate(message.tool_calls or ()):
            place = (*at, "tool_calls", number, "function", "arguments")
            content.append(tool_use_block(call.id, call.function.name, call.function.arguments, *place))
            self._names[call.id] = call.function.name
        if message.reasoning_content and self.tells_thoughts and content:
            content.insert(0, {"type": "thinking", "thinking": message.reasoning_content, "signature": ""})
        if content:
            self.messages.append({"role": "assistant", "content": content})

    def _result(self, message: ToolMessage, *at: str | int) -> None:
        """Take in a tool's result. All results of one turn are one message."""
        name = self._names.get(message.tool_call_id)
        if name is None:
            refuse("must be the id of a tool call in an assistant message before", *at, "tool_call_id")
        if message.name not in (None, name):
            refuse(f"the call was of {name!r}; leave the name out", *at, "name")
        texts = [text_block(text) for text in _texts(message.content, *at, "content")]
        result: Block = {"type": "tool_result", "tool_use_id": message.tool_call_id}
        if texts:
            result["content"] = texts
        last = self.messages[-1]
        if last["role"] == "user" and isinstance(last["content"], list) and last["content"][0]["type"] == "tool_result":
            last["content"].append(result)
        else:
            self.messages.append({"role": "user", "content": [result]})


def _texts(content: Content, *at: str | int) -> list[str]:
    """Return the texts of content that may hold nothing else; empty ones, which say nothing, are left out."""
    if isinstance(content, str):
        return [content] if content else []
    texts = [checked(TextPart, part, *at, number).text for number, part in enumerate(content)]
    return [text for text in texts if text]


def _said(content: Content, *at: str | int) -> list[Block]:
    """Return what an earlier answer said, refusals too."""
    if isinstance(content, str):
        return [text_block(content)] if content else []
    texts = [
        checked(RefusalPart, part, *at, number).refusal
        if part.get("type") == "refusal"
        else checked(TextPart, part, *at, number).text
        for number, part in enumerate(content)
    ]
    return [text_block(text) for text in texts if text]


def _user_content(content: Content, *at: str | int) -> str | Sequence[Block]:
    """Return a user's text or parts as canonical content, which is never empty."""
    told = content if isinstance(content, str) else _parts(content, *at)
    if not told:
        refuse("must not be empty", *at)
    return told


def _parts(parts: Sequence[Block], *at: str | int) -> list[Block]:
    blocks = []
    for number, part in enumerate(parts):
        match part.get("type"):
            case "text":
                text = checked(TextPart, part, *at, number).text
                blocks += [text_block(text)] if text else []
            case "image_url":
                image = checked(ImagePart, part, *at, number).image_url
                blocks.append(image_block(image.url, *at, number, "image_url", "url"))
            case "file":
                file = checked(FilePart, part, *at, number).file
                blocks.append(document_block(file.file_data, file.filename, *at, number, "file", "file_data"))
            case _:
                refuse("must be text, image_url or file", *at, number, "type")
    return blocks
