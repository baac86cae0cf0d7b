"""What a model's upstream can be asked for: names the parts of a request that its wire has no words for. Pure.

Requests are Anthropic-shaped, so that wire takes them as they are, and judges them itself. The others are translated,
and what has no translation is told before anything is spent: a field that is dropped in silence is a wrong answer.

Hints that change cost or pace but no meaning (``cache_control``, ``eager_input_streaming``, a text's ``citations`` in
the history) have no translation and need none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import InvalidRequestError
from shared.models import Model
from shared.request import StreamRequest

_TOOL_FIELDS = frozenset(
    ("type", "name", "description", "input_schema", "strict", "cache_control", "eager_input_streaming")
)
_TOOL_CHOICES = ("auto", "any", "none", "tool")
_THINKING = ("enabled", "adaptive", "disabled")
_WHERE = {
    "user": "by a user",
    "assistant": "by an assistant",
    "result": "as a tool's result",
    "system": "as instructions",
}
_MOST_TOLD = 5
_SHOWN_CHARS = 60


@dataclass(frozen=True)
class Wire:
    """What one wire has words for."""

    name: str
    reserved: frozenset[str]
    """Fields of the wire that are said in the request's own words, or whose effect could not be told back."""
    translated: bool = True
    images: frozenset[str] = frozenset()
    """Kinds of source; likewise the next."""
    documents: frozenset[str] = frozenset()
    result_images: bool = False
    instructions: bool = False
    """Whether instructions may come in the middle of a conversation."""
    stop: bool = True
    own_tools: bool = False
    """Whether the wire has tools of its own, which go into ``provider_options.tools``."""
    own_blocks: frozenset[str] = frozenset()
    """The wire's own content, which an assistant message may hold as it was told."""
    thinking_field: str = ""
    """The field that ``thinking`` becomes: reserved only where a request has it."""


_COMMON = frozenset(("model", "stream", "temperature", "top_p", "tool_choice"))
MESSAGES = Wire(
    "the Messages API",
    _COMMON | {"messages", "max_tokens", "system", "stop_sequences", "tools"},
    translated=False,
    thinking_field="thinking",
)
CHAT = Wire(
    "Chat Completions",
    _COMMON
    | {"messages", "max_tokens", "max_completion_tokens", "stop", "tools", "stream_options", "n", "logprobs"}
    | {"top_logprobs", "functions", "function_call", "modalities", "audio"},
    images=frozenset(("base64", "url")),
    documents=frozenset(("base64", "text")),
    instructions=True,
    thinking_field="reasoning_effort",
)
RESPONSES = Wire(
    "the Responses API",
    _COMMON
    | {"input", "instructions", "max_output_tokens", "background", "previous_response_id", "conversation"}
    | {"top_logprobs", "stream_options"},
    images=frozenset(("base64", "url")),
    documents=frozenset(("base64", "url", "text")),
    result_images=True,
    instructions=True,
    stop=False,
    own_tools=True,
    own_blocks=frozenset(
        (
            *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
            *("computer_call", "mcp_call", "mcp_list_tools", "custom_tool_call", "local_shell_call", "shell_call"),
            "compaction",
        )
    ),
    thinking_field="reasoning",
)
GENERATE = Wire(
    "the Gemini API",
    frozenset(("model", "contents", "systemInstruction", "toolConfig")),
    images=frozenset(("base64",)),
    documents=frozenset(("base64", "text")),
    own_tools=True,
    own_blocks=frozenset(("google_part",)),
)
_GENERATION_RESERVED = frozenset(
    ("maxOutputTokens", "temperature", "topP", "stopSequences", "candidateCount", "responseLogprobs", "logprobs")
)


def wire_of(model: Model) -> Wire | None:
    """Return the wire that a model's upstream speaks; none for the simulator, which takes everything."""
    match model.provider:
        case "anthropic":
            return MESSAGES
        case "openai":
            return CHAT if model.api == "chat" else RESPONSES
        case "google":
            return GENERATE
    return None


def unsupported_fields(model: Model, request: StreamRequest) -> list[str]:
    """Return a sentence for each part of ``request`` that the model's upstream cannot be told; none if it can be."""
    return unsupported(model, [message.model_dump() for message in request.messages], request.options())


def refuse_unsupported(model: Model, request: StreamRequest) -> None:
    """Raise ``InvalidRequestError``, which names the fields, when the model's upstream cannot be told all of it."""
    if problems := unsupported_fields(model, request):
        more = f"; and {len(problems) - _MOST_TOLD} more" if len(problems) > _MOST_TOLD else ""
        raise InvalidRequestError("; ".join(problems[:_MOST_TOLD]) + more)


def unsupported(model: Model, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> list[str]:
    """Return the same of a request's messages and its options, as a provider has them."""
    wire = wire_of(model)
    if wire is None:
        return []
    problems = list(_in_provider_options(wire, options))
    if wire.translated:
        problems += _in_options(wire, model, options)
        for place, message in enumerate(messages):
            if message["role"] == "system" and not wire.instructions:
                problems.append(f"messages.{place}.role: this model takes instructions in system alone")
            elif not isinstance(message["content"], str):
                problems += _in_content(wire, message["role"], message["content"], f"messages.{place}.content")
    return problems


def _in_provider_options(wire: Wire, options: Mapping[str, Any]) -> Iterator[str]:
    """Tell which of the provider's own fields are not for the client to say."""
    extra = options.get("provider_options", {})
    reserved = wire.reserved | ({wire.thinking_field} if "thinking" in options else set())
    why = "is said by the request's own fields, or has an effect that could not be told back"
    for name in extra.keys() & reserved:
        yield f"provider_options.{name}: {why}"
    if wire is GENERATE and isinstance(inner := extra.get("generationConfig", {}), dict):
        thinking = {"thinkingConfig"} if "thinking" in options else set()
        for name in inner.keys() & (_GENERATION_RESERVED | thinking):
            yield f"provider_options.generationConfig.{name}: {why}"
    if wire is MESSAGES and not _are_names(extra.get("betas", [])):
        yield "provider_options.betas: must be a list of names"
    if wire is MESSAGES and not _are_names([extra.get("anthropic_version", "")]):
        yield "provider_options.anthropic_version: must be a version's name"
    for name, kind in (("generationConfig", dict), ("tools", list)):
        if wire.translated and not isinstance(extra.get(name, kind()), kind):
            yield f"provider_options.{name}: must be {'an object' if kind is dict else 'a list'}"


def _are_names(value: object) -> bool:
    """Tell whether something will do as names in a header."""
    return isinstance(value, list) and all(
        isinstance(name, str) and name.isascii() and name.isprintable() and "," not in name for name in value
    )


def _in_options(wire: Wire, model: Model, options: Mapping[str, Any]) -> Iterator[str]:
    if "stop" in options and not wire.stop:
        yield f"stop: {wire.name} has no stop sequences"
    if isinstance(system := options.get("system"), list):
        for place, block in enumerate(system):
            if block.get("type") != "text" or not isinstance(block.get("text"), str):
                yield f"system.{place}: {wire.name} takes text alone"
    yield from _in_thinking(model, options.get("thinking", {"type": "disabled"}))
    yield from _in_tool_choice(wire, options.get("tool_choice", {"type": "auto"}))
    for place, tool in enumerate(options.get("tools", ())):
        yield from _in_tool(wire, tool, f"tools.{place}")


def _in_thinking(model: Model, thinking: Mapping[str, Any]) -> Iterator[str]:
    if thinking.get("type") not in _THINKING:
        yield f"thinking.type: must be one of {', '.join(_THINKING)}"
    elif thinking["type"] != "disabled" and model.thinking == "none":
        yield "thinking: this model does not think"
    elif thinking["type"] == "enabled" and not _is_count(thinking.get("budget_tokens")):
        yield "thinking.budget_tokens: must be a number of tokens"


def _in_tool_choice(wire: Wire, choice: Mapping[str, Any]) -> Iterator[str]:
    if choice.get("type") not in _TOOL_CHOICES:
        yield f"tool_choice.type: must be one of {', '.join(_TOOL_CHOICES)}"
    elif choice["type"] == "tool" and not isinstance(choice.get("name"), str):
        yield "tool_choice.name: must name a tool"
    if wire is GENERATE and choice.get("disable_parallel_tool_use"):
        yield f"tool_choice.disable_parallel_tool_use: {wire.name} has nothing like it"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _in_tool(wire: Wire, tool: Mapping[str, Any], place: str) -> Iterator[str]:
    if tool.get("type", "custom") != "custom":
        own = "; its own go into provider_options.tools" if wire.own_tools else ""
        yield f"{place}.type: {wire.name} has no tool {_shown(tool['type'])}{own}"
        return
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        yield f"{place}.name: must be a name"
    if not isinstance(tool.get("description", ""), str):
        yield f"{place}.description: must be text"
    if not isinstance(tool.get("input_schema", {}), dict):
        yield f"{place}.input_schema: must be an object"
    for name in tool.keys() - _TOOL_FIELDS:
        yield f"{place}.{_shown(name)}: {wire.name} has nothing like it"


def _in_content(wire: Wire, role: str, content: Sequence[Any], place: str) -> Iterator[str]:
    for number, block in enumerate(content):
        yield from _in_block(wire, role, block, f"{place}.{number}")


def _in_block(wire: Wire, role: str, block: Any, place: str) -> Iterator[str]:
    kind = _kind(block)
    match role, kind:
        case _, "text":
            yield from _not_text(block, "text", place)
        case "assistant", "thinking":
            yield from _not_text(block, "thinking", place)
        case "assistant", "tool_use":
            yield from _in_call(block, place)
        case (("user" | "result"), ("image" | "document")):
            if role == "result" and not wire.result_images:
                yield f"{place}: {wire.name} takes text alone as a tool's result"
            else:
                yield from _in_source(wire, block, place)
        case "user", "tool_result":
            yield from _in_result(wire, block, place)
        case (("user" | "assistant"), own) if own in wire.own_blocks:
            return
        case _:
            yield f"{place}.type: {wire.name} cannot be told {_shown(kind)} {_WHERE[role]}"


def _kind(value: Any) -> str | None:
    """Return the type that a JSON value names for itself; it may be any JSON."""
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else None


def _shown(value: object) -> str:
    """Return what the client wrote, short enough for an error: a name as it is, all else as a literal."""
    text = value if isinstance(value, str) and value.isidentifier() else repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _in_call(block: Mapping[str, Any], place: str) -> Iterator[str]:
    yield from _not_text(block, "id", place)
    yield from _not_text(block, "name", place)
    if not isinstance(block.get("input"), dict):
        yield f"{place}.input: must be an object"


def _in_result(wire: Wire, block: Mapping[str, Any], place: str) -> Iterator[str]:
    yield from _not_text(block, "tool_use_id", place)
    inner = block.get("content", "")
    if isinstance(inner, list):
        yield from _in_content(wire, "result", inner, f"{place}.content")
    elif not isinstance(inner, str):
        yield f"{place}.content: must be text or blocks"


def _not_text(block: Mapping[str, Any], name: str, place: str) -> Iterator[str]:
    if not isinstance(block.get(name), str):
        yield f"{place}.{name}: must be text"


def _in_source(wire: Wire, block: Mapping[str, Any], place: str) -> Iterator[str]:
    source = block.get("source")
    kind = _kind(source)
    if kind not in (wire.images if block["type"] == "image" else wire.documents):
        yield f"{place}.source.type: {wire.name} cannot be told {_shown(kind)} for {block['type']!r}"
        return
    assert isinstance(source, dict)
    yield from _not_text(source, "url" if kind == "url" else "data", f"{place}.source")
    if kind == "base64":
        yield from _not_text(source, "media_type", f"{place}.source")
    if not isinstance(block.get("title") or "", str):
        yield f"{place}.title: must be text"
    if isinstance(block.get("citations"), dict) and block["citations"].get("enabled"):
        yield f"{place}.citations: {wire.name} cites nothing"
