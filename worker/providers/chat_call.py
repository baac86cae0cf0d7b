"""A call in the words of Chat Completions. Pure; of a call that ``shared.expressible`` finds nothing wrong with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from worker.llm import Call
from worker.providers.effort import effort_of

Json = dict[str, Any]
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_body(call: Call) -> Json:
    """Return the request's body. Servers other than OpenAI's own get the older fields, which all of them know."""
    own_server = call.model.base_url is not None
    options = call.options
    body: Json = {
        "model": call.upstream,
        "messages": [*_system(options.get("system")), *_turns(call.messages, tells_thoughts=own_server)],
        "max_tokens" if own_server else "max_completion_tokens": call.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body |= {name: options[name] for name in ("temperature", "top_p", "stop") if name in options}
    if (effort := effort_of(options.get("thinking"))) is not None:
        body["reasoning_effort"] = effort
    if tools := options.get("tools"):
        body["tools"] = [_tool(tool) for tool in tools]
    if choice := options.get("tool_choice"):
        body |= _tool_choice(choice)
    if own_server and call.messages[-1]["role"] == "assistant":
        # vLLM begins a new turn after a prefill unless it is told otherwise; llama.cpp goes on by itself.
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return {**options.get("provider_options", {}), **body}


def _system(system: str | list[Json] | None) -> list[Json]:
    return [] if system is None else [{"role": "system", "content": _joined(system)}]


def _joined(content: str | Sequence[Mapping[str, Any]]) -> str:
    """Return text blocks as one text: not every server takes parts for these."""
    return content if isinstance(content, str) else "\n\n".join(block["text"] for block in content)


def _turns(messages: Sequence[Mapping[str, Any]], *, tells_thoughts: bool) -> list[Json]:
    turns: list[Json] = []
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            turns.append({"role": message["role"], "content": content})
        elif message["role"] == "assistant":
            turns.append(_assistant(content, tells_thoughts=tells_thoughts))
        elif message["role"] == "system":
            turns += _system(content)
        else:
            turns += _user(content)
    return turns


def _assistant(content: Sequence[Mapping[str, Any]], *, tells_thoughts: bool) -> Json:
    """Return what the model said. OpenAI's own API has no place for its thoughts; where others do, they are told."""
    texts = [block["text"] for block in content if block["type"] == "text"]
    thoughts = [block["thinking"] for block in content if block["type"] == "thinking" and block["thinking"]]
    calls = [
        {"id": block["id"], "type": "function", "function": {"name": block["name"], "arguments": _json(block["input"])}}
        for block in content
        if block["type"] == "tool_use"
    ]
    turn: Json = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if thoughts and tells_thoughts:
        turn["reasoning_content"] = "\n\n".join(thoughts)
    if calls:
        turn["tool_calls"] = calls
    return turn


def _user(content: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Return tools' results, each a turn of its own here, and what the user says between and after them."""
    turns: list[Json] = []
    parts: list[Json] = []
    for block in content:
        if block["type"] != "tool_result":
            parts.append(_part(block))
            continue
        if parts:
            turns.append(_said(parts))
            parts = []
        result = _joined(block.get("content", ""))
        # The wire has no field for it, and a model must know.
        told = f"Error: {result}" if block.get("is_error") else result
        turns.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": told})
    return [*turns, _said(parts)] if parts else turns


def _said(parts: list[Json]) -> Json:
    alone = len(parts) == 1 and parts[0]["type"] == "text"
    return {"role": "user", "content": parts[0]["text"] if alone else parts}


def _part(block: Mapping[str, Any]) -> Json:
    if block["type"] == "text":
        return {"type": "text", "text": block["text"]}
    source = block["source"]
    if block["type"] == "image":
        return {"type": "image_url", "image_url": {"url": data_url(source)}}
    if source["type"] == "text":
        return {"type": "text", "text": source["data"]}
    name = block.get("title") or "document.pdf"
    return {"type": "file", "file": {"filename": name, "file_data": data_url(source)}}


def data_url(source: Mapping[str, Any]) -> str:
    """Return a source's address: its own, or one that holds its data."""
    return str(source["url"]) if source["type"] == "url" else f"data:{source['media_type']};base64,{source['data']}"


def _tool(tool: Mapping[str, Any]) -> Json:
    function: Json = {"name": tool["name"], "parameters": tool.get("input_schema", {"type": "object"})}
    function |= {name: tool[name] for name in ("description", "strict") if name in tool}
    return {"type": "function", "function": function}


def _tool_choice(choice: Mapping[str, Any]) -> Json:
    named = {"type": "function", "function": {"name": choice.get("name")}}
    told: Json = {"tool_choice": _CHOICES.get(choice["type"], named)}
    if choice.get("disable_parallel_tool_use"):
        told["parallel_tool_calls"] = False
    return told


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
