"""The body of ``POST /v1/chat/completions`` as the canonical request; what that cannot say is refused by name."""

from __future__ import annotations

from typing import Any

from relay.dialects.chat_body import ChatBody
from relay.dialects.chat_messages import Conversation
from relay.dialects.chat_options import further_options
from relay.dialects.openai_options import Fields, merged, thinking
from relay.dialects.openai_tools import chosen_tool, chosen_word, tool_of, with_parallel
from relay.parsing import checked, refuse
from shared.models import Model
from shared.request import StreamRequest


def canonical_request(body: ChatBody, model: Model, most_tokens: int) -> StreamRequest:
    """Return the request that ``body`` is, for a model whose answers may have ``most_tokens``.

    Raises ``InvalidRequestError``, which names the field that is wrong or cannot be expressed for the model.
    """
    if body.stream_options is not None and not body.stream:
        refuse("is for a request with stream: true", "stream_options")
    talk = Conversation(tells_thoughts=model.provider == "openai", instructs_late=model.provider != "google")
    for number, message in enumerate(body.messages):
        talk.add(message, "messages", number)
    if not talk.messages:
        refuse("must have a message from a user", "messages")
    max_tokens = _max_tokens(body)
    room = min(max_tokens or most_tokens, most_tokens)
    thoughts, effort = thinking(body.reasoning_effort, model, body.model, room, "reasoning_effort")
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
        "tools": _tools(body, model),
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


def _tools(body: ChatBody, model: Model) -> list[Fields] | None:
    """Return the tools that the model may call."""
    tools = enumerate(body.tools or ())
    return [tool_of(tool.function, model, "tools", number, "function") for number, tool in tools] or None


def _tool_choice(body: ChatBody, model: Model) -> Fields | None:
    """Return which tool is to be called, and whether several may be at once."""
    names = [tool.function.name for tool in body.tools or ()]
    chosen = None if body.tool_choice is None else _chosen(body.tool_choice, names)
    return with_parallel(chosen, body.parallel_tool_calls, model) if names else None


def _chosen(choice: str | dict[str, Any], names: list[str]) -> Fields:
    if isinstance(choice, str):
        return chosen_word(choice, names)
    if choice.get("type") != "function":
        refuse("must be function; list in tools those that may be called", "tool_choice", "type")
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return chosen_tool(name, names, "tool_choice", "function", "name")
