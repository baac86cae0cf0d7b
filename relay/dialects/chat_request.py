"""The body of ``POST /v1/chat/completions`` as the canonical request; what that cannot say is refused by name."""

from __future__ import annotations

from typing import Any

from relay.dialects.chat_body import ChatBody, FunctionTool
from relay.dialects.chat_messages import Conversation
from relay.dialects.chat_options import Fields, further_options, merged, thinking
from relay.parsing import checked, refuse
from shared.models import Model
from shared.request import StreamRequest

_CHOICES = {"none": "none", "auto": "auto", "required": "any"}
_NO_PARAMETERS: Fields = {"type": "object", "properties": {}}


def canonical_request(body: ChatBody, model: Model, most_tokens: int) -> StreamRequest:
    """Return the request that ``body`` is, for a model whose answers may have ``most_tokens``.

    Raises ``InvalidRequestError``, which names the field that is wrong or cannot be expressed for the model.
    """
    if body.stream_options is not None and not body.stream:
        refuse("is for a request with stream: true", "stream_options")
    talk = Conversation(tells_thoughts=model.provider == "openai")
    for number, message in enumerate(body.messages):
        talk.add(message, "messages", number)
    if not talk.messages:
        refuse("must have a message from a user", "messages")
    max_tokens = _max_tokens(body)
    thoughts, effort = thinking(body, model, min(max_tokens or most_tokens, most_tokens))
    options = merged(further_options(body, model), effort)
    fields: Fields = {
        "model": body.model,
        "messages": talk.messages,
        "system": "\n\n".join(talk.system) or None,
        "max_tokens": most_tokens if max_tokens is None and thoughts and "budget_tokens" in thoughts else max_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "stop": [body.stop] if isinstance(body.stop, str) else body.stop,
        "thinking": thoughts,
        "tools": [_tool(tool, model, number) for number, tool in enumerate(body.tools or ())] or None,
        "tool_choice": _tool_choice(body, model),
        "provider_options": options or None,
        "metadata": _metadata(body),
        "when_abandoned": body.when_abandoned,
        "on_interruption": body.on_interruption,
        "max_delay_ms": body.max_delay_ms,
    }
    return checked(StreamRequest, {name: value for name, value in fields.items() if value is not None})


def _max_tokens(body: ChatBody) -> int | None:
    """Return the most tokens the request asks for, under either name."""
    both = {body.max_tokens, body.max_completion_tokens} - {None}
    if len(both) > 1:
        refuse("says another number than max_completion_tokens; send one of them", "max_tokens")
    return next(iter(both), None)


def _metadata(body: ChatBody) -> dict[str, str] | None:
    """Return what is kept with the stream: the client's own, and who its user is."""
    who = {"user": body.user, "safety_identifier": body.safety_identifier}
    kept = {name: value for name, value in who.items() if value is not None} | (body.metadata or {})
    return kept or None


def _tool(tool: FunctionTool, model: Model, number: int) -> Fields:
    function = tool.function
    told: Fields = {"name": function.name, "input_schema": function.parameters or _NO_PARAMETERS}
    if function.description is not None:
        told["description"] = function.description
    if function.strict:
        if model.provider == "google":
            refuse("models of provider google do not have it", "tools", number, "function", "strict")
        told["strict"] = True
    return told


def _tool_choice(body: ChatBody, model: Model) -> Fields | None:
    """Return which tool is to be called, and whether several may be at once."""
    chosen = None if body.tool_choice is None else _chosen(body.tool_choice, body.tools or [])
    if not body.tools:
        return None
    if body.parallel_tool_calls is False and (chosen is None or chosen["type"] != "none"):
        if model.provider == "google":
            refuse("models of provider google do not have it", "parallel_tool_calls")
        return {**(chosen or {"type": "auto"}), "disable_parallel_tool_use": True}
    return chosen


def _chosen(choice: str | dict[str, Any], tools: list[FunctionTool]) -> Fields:
    if isinstance(choice, str):
        if choice not in _CHOICES:
            refuse("must be none, auto, required, or an object that names a function", "tool_choice")
        if choice == "required" and not tools:
            refuse("there are no tools to choose from", "tool_choice")
        return {"type": _CHOICES[choice]}
    if choice.get("type") != "function":
        refuse("must be function; list in tools those that may be called", "tool_choice", "type")
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if name not in [tool.function.name for tool in tools]:
        refuse("must be the name of a function in tools", "tool_choice", "function", "name")
    return {"type": "tool", "name": name}
