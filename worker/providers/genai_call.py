"""A call in the words of the Gemini API. Pure; of a call that ``shared.expressible`` finds nothing wrong with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared.models import ThinkingHint
from worker.llm import Call
from worker.providers.effort import effort_of, thinks

Json = dict[str, Any]
_MODES = {"auto": "AUTO", "any": "ANY", "none": "NONE", "tool": "ANY"}
_UNSIGNED = "skip_thought_signature_validator"
"""What the API takes in place of a signature for a call that another model made, or a client's wire has lost."""
_VERSION = re.compile(r"gemini-(\d+)")
_EFFORT_FROM = 3
"""The version from which models take an effort in place of a budget, and insist on signatures of calls."""


def genai_body(call: Call) -> Json:
    """Return the request's body."""
    options = call.options
    extra = dict(options.get("provider_options", {}))
    generation: Json = {"maxOutputTokens": call.max_tokens}
    names = {"temperature": "temperature", "top_p": "topP", "stop": "stopSequences"}
    generation |= {names[name]: options[name] for name in names if name in options}
    if (thinking := _thinking(call, options.get("thinking"))) is not None:
        generation["thinkingConfig"] = thinking
    body: Json = {"contents": _contents(call), "generationConfig": extra.pop("generationConfig", {}) | generation}
    if (system := options.get("system")) is not None:
        texts = [system] if isinstance(system, str) else [block["text"] for block in system]
        body["systemInstruction"] = {"parts": [{"text": text} for text in texts]}
    functions = [_function(tool) for tool in options.get("tools", ())]
    tools = [*([{"functionDeclarations": functions}] if functions else ()), *extra.pop("tools", ())]
    if tools:
        body["tools"] = tools
    if choice := options.get("tool_choice"):
        calling: Json = {"mode": _MODES[choice["type"]]}
        if choice["type"] == "tool":
            calling["allowedFunctionNames"] = [choice["name"]]
        body["toolConfig"] = {"functionCallingConfig": calling}
    return {**extra, **body}


def _thinking(call: Call, thinking: Mapping[str, Any] | None) -> Json | None:
    """Return how the model is to think: by effort or by budget, as the model's own words for it are."""
    by_budget = _hint(call) == "budget"
    if not thinks(thinking):
        return {"thinkingBudget": 0} if by_budget and thinking is not None else None
    assert thinking is not None
    told: Json = {"includeThoughts": True}
    if by_budget:
        told["thinkingBudget"] = thinking.get("budget_tokens", -1)
    elif (effort := effort_of(thinking)) is not None:
        told["thinkingLevel"] = effort
    return told


def _hint(call: Call) -> ThinkingHint:
    """Return how the model is told to think, by its version where its configuration does not say."""
    return call.model.thinking or ("effort" if _version(call) >= _EFFORT_FROM else "budget")


def _version(call: Call) -> int:
    found = _VERSION.search(call.upstream)
    return int(found[1]) if found else _EFFORT_FROM


def _contents(call: Call) -> list[Json]:
    names: dict[str, str] = {}
    contents = []
    for message in call.messages:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if message["role"] == "assistant":
            names |= {block["id"]: block["name"] for block in blocks if block["type"] == "tool_use"}
            parts = _model_parts(blocks, insists=_version(call) >= _EFFORT_FROM)
            role = "model"
        else:
            parts, role = [_user_part(block, names) for block in blocks], "user"
        if parts:
            contents.append({"role": role, "parts": parts})
    return contents


def _model_parts(blocks: Sequence[Mapping[str, Any]], *, insists: bool) -> list[Json]:
    """Return what the model said, each signature on the part it came with. Thoughts themselves do not go back."""
    parts: list[Json] = []
    signature, called = "", False
    for block in blocks:
        if signature and block["type"] != "tool_use":
            parts.append({"text": "", "thoughtSignature": signature})
            signature = ""
        match block["type"]:
            case "text":
                parts.append({"text": block["text"]})
            case "thinking":
                signature = block.get("signature") or ""
            case "tool_use":
                part: Json = {"functionCall": {"id": block["id"], "name": block["name"], "args": block["input"]}}
                if signature or (insists and not called):
                    part["thoughtSignature"] = signature or _UNSIGNED
                parts.append(part)
                signature, called = "", True
            case _:
                parts.append(_own(block))
    return [*parts, {"text": "", "thoughtSignature": signature}] if signature else parts


def _own(block: Mapping[str, Any]) -> Json:
    return {name: value for name, value in block.items() if name != "type"}


def _user_part(block: Mapping[str, Any], names: Mapping[str, str]) -> Json:
    match block["type"]:
        case "text":
            return {"text": block["text"]}
        case "tool_result":
            call_id = block["tool_use_id"]
            told = "error" if block.get("is_error") else "output"
            # The wire wants the name again; of a call that is not in the conversation there is only the id.
            name = names.get(call_id, call_id)
            return {"functionResponse": {"id": call_id, "name": name, "response": {told: _result(block)}}}
        case "image" | "document":
            source = block["source"]
            if source["type"] == "text":
                return {"text": source["data"]}
            return {"inlineData": {"mimeType": source["media_type"], "data": source["data"]}}
    return _own(block)


def _result(block: Mapping[str, Any]) -> str:
    content = block.get("content", "")
    return content if isinstance(content, str) else "\n\n".join(inner["text"] for inner in content)


def _function(tool: Mapping[str, Any]) -> Json:
    function: Json = {"name": tool["name"], "description": tool.get("description", "")}
    if schema := tool.get("input_schema"):
        function["parametersJsonSchema"] = schema
    return function
