"""How an answer that was interrupted goes on: from its last text, by the means its model allows, or from the start.

Pure. The ladder, and why each rung is where it is:

- Text can be continued. A model that takes a prefill gets the answer so far as the last assistant message; one that
  does not (or that thinks: a prefill and thinking exclude each other) gets it as a finished turn, and then a user
  turn that asks it to go on exactly there.
- Thinking and tool calls cannot: half of either is useless, and the API refuses an assistant turn with a client's
  tool call that has no result. So the answer drops back to its last text, and ``keep_blocks`` tells readers.
- With no text to go on from, everything starts again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.answer import Block
from shared.events import AttemptMode
from shared.models import Interruption
from worker.llm import Call

_BYTES_PER_TOKEN = 4
"""Of UTF-8. Rather too many than too few tokens are left to a continuation: the cap is about cost, not exactness."""
_QUOTED_CHARS = 200
_INTERRUPTED = "Your previous response was interrupted before it was complete."
_THOUGHTS = ("thinking", "redacted_thinking")


@dataclass(frozen=True)
class Plan:
    """What an attempt does first."""

    mode: AttemptMode
    keep_blocks: int
    """Blocks of this number and above are discarded, which readers must be told if there are any."""
    call: Call


def plan_attempt(call: Call, blocks: Sequence[Block], policy: Interruption) -> Plan | None:
    """Return how attempt ``call.attempt`` begins, or None when the policy is to fail.

    ``call`` is the request as a first attempt would make it, with the attempt's own ``step`` and ``attempt``;
    ``blocks`` is what the stream has told so far. With nothing told, nothing was interrupted, whatever the policy.
    """
    if not blocks:
        return Plan("start" if call.attempt == 1 else "restart", 0, _fresh(call))
    if policy == "fail":
        return None
    anchor = _last_text(blocks) if policy == "continue" else None
    if anchor is None:
        return Plan("restart", 0, _fresh(call))
    return _going_on(call, blocks[: anchor + 1])


def after_pause(call: Call, blocks: Sequence[Block]) -> Call:
    """Return the call that goes on after ``pause_turn``: everything told so far is sent back as it was.

    ``call`` is the request as a first attempt would make it, with this call's own ``step``.
    """
    content = assistant_content(blocks, thoughts=True)
    tokens = _tokens_left(call, blocks)
    return replace(call, messages=_with_assistant(call.messages, content), first_block=len(blocks), max_tokens=tokens)


def is_continuation_turn(message: Mapping[str, Any]) -> bool:
    """Tell whether a message is the user turn by which this module asks a model to go on."""
    return message["role"] == "user" and str(message["content"]).startswith(_INTERRUPTED)


def assistant_content(blocks: Sequence[Block], *, thoughts: bool) -> list[dict[str, Any]]:
    """Return blocks that were told as the content of an assistant message, with or without what the model thought.

    Signatures and opaque content go back as they came. Blocks that the API would refuse are left out: text of nothing
    but white space, and thinking without a signature.
    """
    content = []
    for block in blocks:
        sent = _sent(block)
        if sent is not None and (thoughts or sent["type"] not in _THOUGHTS):
            content.append(sent)
    return content


def _fresh(call: Call) -> Call:
    """Return the call for an answer from its start. The client's own prefill may be echoed too."""
    last = call.messages[-1]
    if last["role"] != "assistant":
        return call
    return replace(call, prefill=_text_at_end(last["content"]))


def _last_text(blocks: Sequence[Block]) -> int | None:
    """Return the place of the last text that can be gone on from: all before it is complete and can be sent back."""
    anchor = None
    for place, block in enumerate(blocks):
        if block.kind == "text" and block.text.strip():
            anchor = place
        if not block.complete or block.kind == "tool_use":
            break
    return anchor


def _going_on(call: Call, kept: Sequence[Block]) -> Plan:
    """Return the plan that goes on after ``kept``, which ends with text."""
    last = kept[-1]
    text = last.text
    open_block = None if last.complete else last.block
    goes_on = replace(
        call,
        first_block=last.block + 1,
        open_text_block=open_block,
        overlap="" if open_block is None else text[len(text.rstrip()) :],
        max_tokens=_tokens_left(call, kept),
    )
    thinks = _thinks(call.options)
    if call.model.continuation == "prefill" and not thinks:
        # The API refuses a prefill that ends in white space; what the stream has of it is the overlap.
        messages = _with_assistant(call.messages, _stripped(assistant_content(kept, thoughts=False)))
        prefill = _text_at_end(messages[-1]["content"])
        return Plan("prefill", len(kept), replace(goes_on, messages=messages, prefill=prefill))
    messages = [*_with_assistant(call.messages, assistant_content(kept, thoughts=thinks)), _go_on_turn(text)]
    return Plan("user_turn", len(kept), replace(goes_on, messages=messages))


def _go_on_turn(text: str) -> dict[str, Any]:
    return {
        "role": "user",
        "content": f"{_INTERRUPTED} It ended with:\n\n{text[-_QUOTED_CHARS:]}\n\n"
        "Continue exactly from there, in the middle of a sentence or a word if that is where it ended. Do not repeat "
        "any of it, and do not mention the interruption. If it was already complete, say nothing more.",
    }


def _thinks(options: Mapping[str, Any]) -> bool:
    thinking = options.get("thinking") or {}
    return bool(thinking.get("type", "disabled") != "disabled")


def _tokens_left(call: Call, told: Sequence[Block]) -> int:
    """Return ``max_tokens`` less an estimate of what ``told`` has used; at least 1, and more than thinking may use."""
    used = sum(len((block.text + block.json).encode()) for block in told) // _BYTES_PER_TOKEN
    thinking = call.options.get("thinking") or {}
    budget = thinking.get("budget_tokens") if _thinks(call.options) else None
    least = budget + 1 if isinstance(budget, int) else 1
    return min(call.max_tokens, max(call.max_tokens - used, least))


def _with_assistant(messages: Sequence[dict[str, Any]], content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return ``messages`` with ``content`` as the last assistant message, joined to one that is there already."""
    last = messages[-1]
    if last["role"] != "assistant":
        return [*messages, {"role": "assistant", "content": content}]
    before = last["content"]
    parts = [{"type": "text", "text": before}] if isinstance(before, str) else list(before)
    if parts and content and parts[-1].get("type") == content[0]["type"] == "text":
        # The client's prefill and the answer to it are one text, and a model must see no seam in it.
        joined = {**parts[-1], "text": parts[-1]["text"] + content[0]["text"]}
        parts, content = [*parts[:-1], joined], content[1:]
    return [*messages[:-1], {**last, "content": [*parts, *content]}]


def _stripped(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return content without white space at the end of the text it ends with."""
    return [*content[:-1], {**content[-1], "text": content[-1]["text"].rstrip()}]


def _text_at_end(content: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return str(content[-1]["text"]) if content[-1].get("type") == "text" else ""


def _sent(block: Block) -> dict[str, Any] | None:
    """Return a block as a request's content has it, or None for one that cannot be sent."""
    if block.kind == "text":
        return _sent_text(block)
    if block.kind == "thinking":
        thought = {"type": "thinking", "thinking": block.text, "signature": block.signature}
        return thought if block.signature else None
    if block.kind == "tool_use" and block.data is None:
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": _arguments(block.json)}
    sent: dict[str, Any] = json.loads(block.data or b"{}")
    if block.json:
        sent["input"] = _arguments(block.json)
    return sent or None


def _arguments(text: str) -> Any:
    """Return a tool call's arguments. A model cut off inside them leaves what no parser takes; it gets that back."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return {"INVALID_JSON": text}


def _sent_text(block: Block) -> dict[str, Any] | None:
    text = block.text
    if not text.strip():
        return None
    deltas = [json.loads(delta) for delta in block.deltas]
    citations = [delta["citation"] for delta in deltas if delta.get("type") == "citations_delta"]
    return {"type": "text", "text": text, "citations": citations} if citations else {"type": "text", "text": text}
