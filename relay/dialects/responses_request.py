"""The body of ``POST /v1/responses`` as the canonical request, and what is kept of it for those who ask again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from relay.dialects.openai_options import Fields, merged, thinking
from relay.dialects.openai_tools import chosen_tool, chosen_word, tool_of, with_parallel
from relay.dialects.responses_body import FunctionChoice, ResponsesBody
from relay.dialects.responses_items import Conversation, Item, listed
from relay.dialects.responses_object import Asked, output_item
from relay.dialects.responses_options import further_options
from relay.parsing import checked, refuse
from shared.answer import Answer
from shared.models import Model
from shared.request import StreamRequest

_REPEATED = (
    "background",
    "instructions",
    "max_output_tokens",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "user",
)
"""The fields of the request that a Response repeats."""


def canonical_request(body: ResponsesBody, model: Model, most_tokens: int, earlier: Sequence[Item]) -> StreamRequest:
    """Return the request that ``body`` is, after an ``earlier`` conversation, for a model that has ``most_tokens``.

    Raises ``InvalidRequestError``, which names the field that is wrong or cannot be expressed for the model.
    """
    if body.stream_options is not None and not body.stream:
        refuse("is for a request with stream: true", "stream_options")
    talk = _conversation(body, model, earlier)
    room = min(body.max_output_tokens or most_tokens, most_tokens)
    effort = body.reasoning.effort if body.reasoning else None
    thoughts, hint = thinking(effort, model, body.model or "", room, "reasoning", "effort")
    max_tokens = body.max_output_tokens
    if max_tokens is None and thoughts and "budget_tokens" in thoughts:
        max_tokens = most_tokens
    fields: Fields = {
        "model": body.model,
        "messages": talk.messages,
        "system": "\n\n".join(filter(None, [body.instructions, *talk.system])) or None,
        "max_tokens": max_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "thinking": thoughts,
        "tools": [tool_of(tool, model, "tools", number) for number, tool in enumerate(body.tools or ())] or None,
        "tool_choice": _tool_choice(body, model),
        "provider_options": merged(further_options(body, model), hint) or None,
        "metadata": body.metadata,
        "when_abandoned": body.when_abandoned,
        "on_interruption": body.on_interruption,
        "max_delay_ms": body.max_delay_ms,
    }
    return checked(StreamRequest, {name: value for name, value in fields.items() if value is not None})


def asked_of(body: ResponsesBody, earlier: Sequence[Item]) -> Asked:
    """Return what is kept of a request: what its Response repeats, and the conversation that it goes on."""
    given = body.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return Asked({name: given[name] for name in _REPEATED if name in given}, [*earlier, *listed(body.input)])


def kept(asked: Asked) -> bytes:
    """Return what is kept of a request, as it is kept."""
    return msgspec.json.encode(asked)


def asked_from(found: bytes | None) -> Asked | None:
    """Return what was kept of a request, None if nothing was."""
    return None if found is None else msgspec.json.decode(found, type=Asked)


def said_before(stream_id: str, asked: Asked, answer: Answer) -> list[Item]:
    """Return the conversation up to the end of an earlier answer; what it left unfinished but for text is left out."""
    told = [block for block in answer.blocks if block.complete or block.kind == "text"]
    output = [output_item(stream_id, block, answer) for block in told]
    return [*asked.items, *filter(None, output)]


def _conversation(body: ResponsesBody, model: Model, earlier: Sequence[Item]) -> Conversation:
    """Return what has been said so far."""
    talk = Conversation(tells_thoughts=model.provider == "openai")
    for item in earlier:
        talk.add(item, "previous_response_id")
    for number, item in enumerate(listed(body.input)):
        talk.add(item, "input", *([] if isinstance(body.input, str) else [number]))
    if not talk.messages:
        refuse("must have a message from a user", "input")
    if talk.unanswered:
        refuse(f"must have the function_call_output of call {min(talk.unanswered)!r}", "input")
    return talk


def _tool_choice(body: ResponsesBody, model: Model) -> Fields | None:
    """Return which tool is to be called, and whether several may be at once."""
    names = [tool.name for tool in body.tools or ()]
    chosen = None if body.tool_choice is None else _chosen(body.tool_choice, names)
    return with_parallel(chosen, body.parallel_tool_calls, model) if names else None


def _chosen(choice: str | dict[str, Any], names: Sequence[str]) -> Fields:
    if isinstance(choice, str):
        return chosen_word(choice, names)
    if choice.get("type") != "function":
        refuse("must be function; list in tools those that may be called", "tool_choice", "type")
    return chosen_tool(checked(FunctionChoice, choice, "tool_choice").name, names, "tool_choice", "name")
