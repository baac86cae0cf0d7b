"""Chat Completions messages as the canonical conversation: text and blocks in the Anthropic Messages shape."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.dialects.chat_body import (
    AssistantMessage,
    Content,
    FilePart,
    ImagePart,
    InstructionMessage,
    RefusalPart,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from relay.parsing import checked, refuse

Block = dict[str, Any]
_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,(.*)", re.DOTALL)
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PDF = "application/pdf"


@dataclass
class Conversation:
    """The messages taken in so far."""

    tells_thoughts: bool = False
    """Whether what the model thought is sent back. This format has no place for a signature, without which the APIs
    that sign refuse it; to models of those it is not sent."""
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
        if self.messages:
            refuse("instructions come before all other messages; send later ones as user", *at, "role")
        self.system += _texts(message.content, *at, "content")

    def _answer(self, message: AssistantMessage, *at: str | int) -> None:
        """Take in an earlier answer; one in which nothing was said is none."""
        content = _said(message.content or "", *at, "content")
        if message.refusal:
            content.append(_text(message.refusal))
        for number, call in enumerate(message.tool_calls or ()):
            content.append(_tool_use(call, *at, "tool_calls", number))
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
        texts = [_text(text) for text in _texts(message.content, *at, "content")]
        result: Block = {"type": "tool_result", "tool_use_id": message.tool_call_id}
        if texts:
            result["content"] = texts
        last = self.messages[-1]
        if last["role"] == "user" and isinstance(last["content"], list) and last["content"][0]["type"] == "tool_result":
            last["content"].append(result)
        else:
            self.messages.append({"role": "user", "content": [result]})


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _tool_use(call: ToolCall, *at: str | int) -> Block:
    try:
        arguments = json.loads(call.function.arguments or "{}", parse_constant=_no_constant)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        refuse("must be a JSON object, as text", *at, "function", "arguments")
    return {"type": "tool_use", "id": call.id, "name": call.function.name, "input": arguments}


def _no_constant(name: str) -> None:
    message = f"JSON has no {name}"
    raise ValueError(message)


def _texts(content: Content, *at: str | int) -> list[str]:
    """Return the texts of content that may hold nothing else; empty ones, which say nothing, are left out."""
    if isinstance(content, str):
        return [content] if content else []
    texts = [checked(TextPart, part, *at, number).text for number, part in enumerate(content)]
    return [text for text in texts if text]


def _said(content: Content, *at: str | int) -> list[Block]:
    """Return what an earlier answer said, refusals too."""
    if isinstance(content, str):
        return [_text(content)] if content else []
    texts = [
        checked(RefusalPart, part, *at, number).refusal
        if part.get("type") == "refusal"
        else checked(TextPart, part, *at, number).text
        for number, part in enumerate(content)
    ]
    return [_text(text) for text in texts if text]


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
                blocks += [_text(text)] if text else []
            case "image_url":
                image = checked(ImagePart, part, *at, number).image_url
                blocks.append({"type": "image", "source": _image(image.url, *at, number, "image_url", "url")})
            case "file":
                file = checked(FilePart, part, *at, number).file
                source = _data(file.file_data, (_PDF,), *at, number, "file", "file_data")
                title = {"title": file.filename} if file.filename else {}
                blocks.append({"type": "document", "source": source} | title)
            case _:
                refuse("must be text, image_url or file", *at, number, "type")
    return blocks


def _image(url: str, *at: str | int) -> Block:
    return {"type": "url", "url": url} if url.startswith("https://") else _data(url, _IMAGES, *at)


def _data(url: str, kinds: Sequence[str], *at: str | int) -> Block:
    """Return what a ``data:`` URL holds as a source, if it is one of ``kinds``."""
    found = _DATA_URL.fullmatch(url)
    if found is None or found[1] not in kinds:
        address = "an https: URL or " if kinds is _IMAGES else ""
        refuse(f"must be {address}a base64 data: URL of {', '.join(kinds)}", *at)
    if not _is_base64(found[2]):
        refuse("the data: URL's base64 is broken", *at)
    return {"type": "base64", "media_type": found[1], "data": found[2]}


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:
        return False
