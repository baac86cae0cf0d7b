"""The parts of UI messages as the model's content: Anthropic-shaped blocks, tool results in turns of the user's."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from relay.dialects.ui_parts import BLOCK_PART
from shared.errors import InvalidRequestError

Block = dict[str, Any]
Fields = Mapping[str, Any]
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w.+-]+=[\w.+-]+)*;base64,")
_UNSEEN = ("source-url", "source-document", "step-start")
"""Parts that are for the person who reads: a model is told nothing of them."""
_ANSWERED = ("output-available", "output-error", "output-denied")


def user_content(parts: Sequence[Fields], path: str) -> list[Block]:
    """Return what a user's message holds. Raises ``InvalidRequestError`` for what no user's message can have."""
    content: list[Block] = []
    for number, part in enumerate(parts):
        here = f"{path}.parts.{number}"
        kind = _text(part, "type", here)
        if kind == "text":
            content += _said(part, here)
        elif kind == "file":
            content.append(_file(part, here))
        elif not kind.startswith("data-") and kind not in _UNSEEN:
            raise _wrong(here, "type", f"a user's message cannot have a part of type {kind!r}")
    if not content:
        raise _wrong(path, "parts", "there is no text and no file in this message")
    return content


def system_text(parts: Sequence[Fields], path: str) -> str:
    """Return the text of a system message. Raises ``InvalidRequestError`` where there is none, or anything else."""
    texts = []
    for number, part in enumerate(parts):
        here = f"{path}.parts.{number}"
        if _text(part, "type", here) != "text":
            raise _wrong(here, "type", "a system message can have nothing but text")
        texts.append(_text(part, "text", here))
    if not any(texts):
        raise _wrong(path, "parts", "there is no text in this message")
    return "".join(texts)


def assistant_turns(parts: Sequence[Fields], path: str) -> list[dict[str, Any]]:
    """Return an assistant's message as turns: what it said, and, after each step with tool calls, their results.

    A tool call that has no output is left out, as is thinking without the provider's signature: no provider takes
    either. Raises ``InvalidRequestError`` for parts that cannot be told to a model.
    """
    turns: list[dict[str, Any]] = []
    content: list[Block] = []
    results: list[Block] = []
    for number, part in enumerate([*parts, {"type": "step-start"}]):
        here = f"{path}.parts.{number}"
        kind = _text(part, "type", here)
        if kind == "step-start" and (results or number == len(parts)):
            turns += [{"role": "assistant", "content": content}] if content else []
            turns += [{"role": "user", "content": results}] if results else []
            content, results = [], []
        elif kind == "dynamic-tool" or kind.startswith("tool-"):
            called, answered = _tool(part, here)
            content += called
            results += answered
        else:
            content += _spoken(part, kind, here)
    return turns


def _spoken(part: Fields, kind: str, path: str) -> list[Block]:
    """Return a part of an assistant's message that is no tool's."""
    if kind == "text":
        return _said(part, path)
    if kind == "reasoning":
        signature = _kept(part, "providerMetadata", "signature")
        thought = {"type": "thinking", "thinking": _text(part, "text", path), "signature": signature}
        return [thought] if isinstance(signature, str) and signature else []
    if kind == BLOCK_PART:
        block = part.get("data")
        return [block] if isinstance(block, dict) else []
    if kind.startswith("data-") or kind in _UNSEEN:
        return []
    raise _wrong(path, "type", f"a part of type {kind!r} cannot be told to a model as the assistant's")


def _tool(part: Fields, path: str) -> tuple[list[Block], list[Block]]:
    """Return a tool call as blocks of the assistant's turn, and its result as those of the user's turn after it."""
    state = _text(part, "state", path)
    if state == "approval-responded":
        raise _wrong(path, "state", "tools are not run here; send the tool's output in place of its approval")
    if state not in _ANSWERED or part.get("preliminary") is True:
        return [], []
    by_provider = part.get("providerExecuted") is True
    call_id = _text(part, "toolCallId", path)
    dynamic = part["type"] == "dynamic-tool"
    name = _text(part, "toolName", path) if dynamic else str(part["type"]).removeprefix("tool-")
    told = part.get("input", part.get("rawInput"))
    call = {
        "type": "server_tool_use" if by_provider else "tool_use",
        **_kept_block(part, "callProviderMetadata"),
        "id": call_id,
        "name": name,
        "input": told if isinstance(told, dict) else {"INVALID_JSON": told},
    }
    if not by_provider:
        return [call], [_answer(part, call_id, state)]
    result = {"type": f"{name}_tool_result", "tool_use_id": call_id, **_kept_block(part, "resultProviderMetadata")}
    return [call, result | {"content": part.get("output", part.get("errorText"))}], []


def _answer(part: Fields, call_id: str, state: str) -> Block:
    """Return the result of a tool that the client has run, or has not been allowed to run."""
    if state == "output-available":
        output = part.get("output")
        text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
        return {"type": "tool_result", "tool_use_id": call_id, "content": text}
    approval = part.get("approval")
    reason = approval.get("reason") if isinstance(approval, dict) else None
    problem = part.get("errorText") if state == "output-error" else reason
    told = problem if isinstance(problem, str) and problem else "the call of this tool was refused"
    return {"type": "tool_result", "tool_use_id": call_id, "content": told, "is_error": True}


def _kept(part: Fields, key: str, name: str) -> Any:
    """Return what the client has kept for the provider under ``name``, whichever provider it was."""
    metadata = part.get(key)
    kept: Iterable[Any] = metadata.values() if isinstance(metadata, dict) else ()
    return next((one[name] for one in kept if isinstance(one, dict) and name in one), None)


def _kept_block(part: Fields, key: str) -> Block:
    """Return the provider's own fields of a block, as they were told."""
    block = _kept(part, key, "block")
    return block if isinstance(block, dict) else {}


def _said(part: Fields, path: str) -> list[Block]:
    """Return text as a block; none of text without a character, which providers refuse."""
    text = _text(part, "text", path)
    return [{"type": "text", "text": text}] if text else []


def _file(part: Fields, path: str) -> Block:
    """Return a file as an image or a document. Raises ``InvalidRequestError`` for any other kind."""
    url, kind = _text(part, "url", path), _text(part, "mediaType", path)
    source: Block = {"type": "url", "url": url}
    if found := _DATA_URL.match(url):
        kind, data = found[1], url[found.end() :]
        source = {"type": "base64", "media_type": kind, "data": data}
        content = _decoded(data, path)
        if kind.startswith("text/"):
            source = {"type": "text", "media_type": "text/plain", "data": _as_text(content, path)}
    elif not url.startswith(("https://", "http://")):
        raise _wrong(path, "url", "a file's url must be a base64 data: URL, or one of http or https")
    if kind == "image" or kind.startswith("image/"):
        return {"type": "image", "source": source}
    if kind == "application/pdf" or source["type"] == "text":
        title = part.get("filename")
        return {"type": "document", "source": source} | ({"title": title} if isinstance(title, str) and title else {})
    raise _wrong(path, "mediaType", f"a file of type {kind!r} cannot be told to a model; images, PDF and text can")


def _decoded(data: str, path: str) -> bytes:
    """Return what base64 says. Raises ``InvalidRequestError``."""
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise _wrong(path, "url", "what follows 'base64,' is no base64") from None


def _as_text(content: bytes, path: str) -> str:
    """Return bytes as text. Raises ``InvalidRequestError``."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _wrong(path, "url", "a file of text must be UTF-8") from None


def _text(part: Fields, name: str, path: str) -> str:
    """Return a field that must be text. Raises ``InvalidRequestError``."""
    value = part.get(name)
    if not isinstance(value, str):
        raise _wrong(path, name, "must be text")
    return value


def _wrong(path: str, name: str, problem: str) -> InvalidRequestError:
    """Return the error about the field ``name`` of what is at ``path``."""
    field = f"{path}.{name}"
    return InvalidRequestError(f"{field}: {problem}", field=field)
