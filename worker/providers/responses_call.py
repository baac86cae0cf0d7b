"""A call in the words of the Responses API. Pure; of a call that ``shared.expressible`` finds nothing wrong with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from worker.llm import Call
from worker.providers.chat_call import data_url
from worker.providers.effort import effort_of, thinks

Json = dict[str, Any]
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_ENCRYPTED = "reasoning.encrypted_content"


def responses_body(call: Call) -> Json:
    """Return the request's body. Nothing is kept by the provider, so thoughts come encrypted and go back so."""
    options = call.options
    thinking = options.get("thinking")
    body: Json = {
        "model": call.upstream,
        "input": [item for message in call.messages for item in _items(message)],
        "max_output_tokens": call.max_tokens,
        "stream": True,
    }
    if (system := options.get("system")) is not None:
        body["instructions"] = system if isinstance(system, str) else "\n\n".join(block["text"] for block in system)
    body |= {name: options[name] for name in ("temperature", "top_p") if name in options}
    if thinks(thinking):
        effort = effort_of(thinking)
        body["reasoning"] = {"summary": "auto"} if effort is None else {"effort": effort, "summary": "auto"}
    extra = {"store": False, **options.get("provider_options", {})}
    if thinks(thinking) or call.model.thinking == "effort":
        # Models that do not think refuse this, so it is asked for only where it may come.
        extra["include"] = [*(one for one in extra.get("include", ()) if one != _ENCRYPTED), _ENCRYPTED]
    tools = [*map(_tool, options.get("tools", ())), *extra.get("tools", ())]
    if tools:
        body["tools"] = tools
    if choice := options.get("tool_choice"):
        body |= _tool_choice(choice)
    return {**extra, **body}


def _items(message: Mapping[str, Any]) -> list[Json]:
    """Return the items that a message is: what is said in one piece is one item, everything else an item each."""
    role, content = message["role"], message["content"]
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    items: list[Json] = []
    for block in content:
        item = _item(block)
        if item is not None:
            items.append(item)
            continue
        part = {"type": "output_text", "text": block["text"]} if role == "assistant" else _part(block)
        if items and items[-1].get("role") == role:
            items[-1]["content"].append(part)
        else:
            items.append({"type": "message", "role": role, "content": [part]})
    return [item for item in items if item]


def _item(block: Mapping[str, Any]) -> Json | None:
    """Return the block as an item of its own, an empty one for what is not sent back; None for what somebody says."""
    match block["type"]:
        case "text" | "image" | "document":
            return None
        case "thinking":
            return _thought(block)
        case "tool_use":
            arguments = json.dumps(block["input"], ensure_ascii=False, separators=(",", ":"))
            return {
                "type": "function_call",
                "call_id": block["id"],
                "name": block["name"],
                "arguments": arguments,
            }
        case "tool_result":
            return {"type": "function_call_output", "call_id": block["tool_use_id"], "output": _output(block)}
    return dict(block)  # the API's own, as it told it


def _thought(block: Mapping[str, Any]) -> Json:
    """Return a thought as it was encrypted. Without that it means nothing to the API, which keeps none."""
    if not block.get("signature"):
        return {}
    summary = [{"type": "summary_text", "text": block["thinking"]}] if block["thinking"] else []
    return {"type": "reasoning", "summary": summary, "encrypted_content": block["signature"]}


def _output(block: Mapping[str, Any]) -> str | list[Json]:
    """Return a tool's result. The wire has no field for failure, and a model must know."""
    content = block.get("content", "")
    failed = bool(block.get("is_error"))
    if isinstance(content, str):
        return f"Error: {content}" if failed else content
    parts = [_part(inner) for inner in content]
    if all(part["type"] == "input_text" for part in parts):
        text = "\n\n".join(part["text"] for part in parts)
        return f"Error: {text}" if failed else text
    return [{"type": "input_text", "text": "Error:"}, *parts] if failed else parts


def _part(block: Mapping[str, Any]) -> Json:
    if block["type"] == "text":
        return {"type": "input_text", "text": block["text"]}
    source = block["source"]
    if block["type"] == "image":
        return {"type": "input_image", "image_url": data_url(source), "detail": "auto"}
    if source["type"] == "text":
        return {"type": "input_text", "text": source["data"]}
    if source["type"] == "url":
        return {"type": "input_file", "file_url": source["url"]}
    return {"type": "input_file", "filename": block.get("title") or "document.pdf", "file_data": data_url(source)}


def _tool(tool: Mapping[str, Any]) -> Json:
    # The API takes tools for strict where they do not say, and refuses most schemas then.
    function: Json = {"type": "function", "name": tool["name"], "strict": tool.get("strict", False)}
    function["parameters"] = tool.get("input_schema", {"type": "object"})
    if "description" in tool:
        function["description"] = tool["description"]
    return function


def _tool_choice(choice: Mapping[str, Any]) -> Json:
    named = {"type": "function", "name": choice.get("name")}
    told: Json = {"tool_choice": _CHOICES.get(choice["type"], named)}
    if choice.get("disable_parallel_tool_use"):
        told["parallel_tool_calls"] = False
    return told
