"""The Response object of the OpenAI Responses API, and its output items, from what a stream adds up to."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from shared.answer import Answer, Block
from shared.errors import NotFoundError
from shared.events import EndEvent, Usage
from shared.offset import is_stream_id

Body = dict[str, Any]

_PREFIX = "resp_"
_ITEM_ID = re.compile(r"(?:msg|fc|rs)_([a-z2-7]+)_([0-9]{1,9})")
_REDACTED = "redacted_thinking"
_SEALED = f"{_REDACTED}:"
"""What the encrypted content of a reasoning item begins with that is a provider's redacted thinking."""
_LONG_STOPS = frozenset(("max_tokens", "model_context_window_exceeded", "stream_too_long"))
_ERROR_CODES = {"rate_limited": "rate_limit_exceeded", "invalid_request": "invalid_prompt"}
"""Our codes that the Responses API has a name for; a failed answer's others are its ``server_error``."""
_DEFAULTS: Body = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}


class _Redacted(msgspec.Struct):
    data: str = ""


_redacted = msgspec.json.Decoder(_Redacted)


class Asked(msgspec.Struct, frozen=True):
    """What is kept of a request. By default, what is known of a stream that was started in another dialect."""

    fields: dict[str, Any] = {}
    """What the Response object repeats of it."""
    items: list[dict[str, Any]] = []
    """The whole conversation before the answer, earlier responses included, as input items."""


NOTHING_ASKED = Asked()


def response_id(stream_id: str) -> str:
    """Return the id under which a stream is known here."""
    return _PREFIX + stream_id


def stream_of(text: str) -> str:
    """Return the id of the stream in a response's id. Raises ``NotFoundError`` for what can be none."""
    stream_id = text.removeprefix(_PREFIX)
    if not text.startswith(_PREFIX) or not is_stream_id(stream_id):
        message = f"there is no response {text[:80]!r}; check the id and the API key it was made with"
        raise NotFoundError(message)
    return stream_id


def response_object(stream_id: str, answer: Answer, asked: Asked = NOTHING_ASKED) -> Body:
    """Return the Response as it stands. ``answer`` must have its start."""
    start, end = answer.start, answer.end
    assert start is not None
    status = _status(answer)
    ended_s = (answer.ended_ms or 0) // 1000
    return {
        "id": response_id(stream_id),
        "object": "response",
        "created_at": start.created_ms // 1000,
        "status": status,
        "completed_at": ended_s if status == "completed" else None,
        "error": _error(answer),
        "incomplete_details": _incomplete(end) if status == "incomplete" and end else None,
        "model": start.model,
        "output": [item for block in answer.blocks if (item := output_item(stream_id, block, answer)) is not None],
        "usage": usage(end.usage) if end else None,
        "metadata": start.metadata,
        **_DEFAULTS,
        **asked.fields,
    }


def is_told(block: Block) -> bool:
    """Tell whether a block can be an output item. What tools of the provider's own did cannot."""
    return block.kind in ("text", "thinking", "tool_use") or (block.kind == "data" and block.name == _REDACTED)


def item_id(stream_id: str, block: Block) -> str:
    """Return the id of a block's item: the same in every attempt, on every relay, and for every reader."""
    kind = {"text": "msg", "tool_use": "fc"}.get(block.kind, "rs")
    return f"{kind}_{stream_id}_{block.block}"


def place_of_item(text: str) -> tuple[str, int] | None:
    """Return the stream and the number of the block that an item's id leads to; None for what is no such id."""
    found = _ITEM_ID.fullmatch(text)
    return (found[1], int(found[2])) if found and is_stream_id(found[1]) else None


def output_item(stream_id: str, block: Block, answer: Answer) -> Body | None:
    """Return a block as an output item, None for one that cannot be any."""
    if not is_told(block):
        return None
    named = {"id": item_id(stream_id, block)}
    if block.kind == "text":
        said = [text_part(block.text)]
        return named | {"type": "message", "status": _item_status(block, answer), "role": "assistant", "content": said}
    if block.kind == "tool_use":
        call = {"call_id": call_id(stream_id, block), "name": block.name or "", "arguments": arguments(block)}
        return named | {"type": "function_call", "status": _item_status(block, answer), **call}
    summary = [summary_part(block.text)] if block.text else []
    return named | {"type": "reasoning", "summary": summary, "encrypted_content": _sealed(block)}


def text_part(text: str) -> Body:
    """Return the one content part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def summary_part(text: str) -> Body:
    """Return the one part of a reasoning item's summary."""
    return {"type": "summary_text", "text": text}


def call_id(stream_id: str, block: Block) -> str:
    """Return the id that the tool's output must name; a provider that gave none gets one of ours."""
    return block.id or f"call_{stream_id}_{block.block}"


def arguments(block: Block) -> str:
    """Return a call's arguments so far; a whole call without any has an empty object."""
    return block.json or ("{}" if block.complete else "")


def thought(summary: str, encrypted: str) -> Body:
    """Return the canonical block of a reasoning item that came back: what ``output_item`` made it of."""
    if encrypted.startswith(_SEALED):
        return {"type": _REDACTED, "data": encrypted.removeprefix(_SEALED)}
    return {"type": "thinking", "thinking": summary, "signature": encrypted}


def input_items(stream_id: str, asked: Asked) -> list[Body]:
    """Return the items that a response was made from, oldest first, each with an id."""
    return [_input_item(f"in_{stream_id}_{number}", item) for number, item in enumerate(asked.items)]


def usage(used: Usage) -> Body:
    """Return the tokens used. OpenAI counts what a cache gave or took among the input's, providers of ours do not."""
    taken = used.input_tokens + used.cache_read_tokens + used.cache_write_tokens
    return {
        "input_tokens": taken,
        "input_tokens_details": {
            "cached_tokens": used.cache_read_tokens,
            "cache_write_tokens": used.cache_write_tokens,
        },
        "output_tokens": used.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": taken + used.output_tokens,
    }


def _status(answer: Answer) -> str:
    """Return the Response's status."""
    if answer.status == "completed" and answer.end and _incomplete(answer.end):
        return "incomplete"
    return "in_progress" if answer.status == "running" else answer.status


def _incomplete(end: EndEvent) -> Body | None:
    """Return why an answer is not whole, None for one that is."""
    if end.stop_reason in _LONG_STOPS:
        return {"reason": "max_output_tokens"}
    return {"reason": "content_filter"} if end.stop_reason == "refusal" else None


def _error(answer: Answer) -> Body | None:
    """Return why an answer failed."""
    if answer.status != "failed":
        return None
    error = answer.error
    if error is None:
        return {"code": "server_error", "message": "the answer failed"}
    return {"code": _ERROR_CODES.get(error.code, "server_error"), "message": error.message}


def _item_status(block: Block, answer: Answer) -> str:
    """Return how an item stands: what is open when the answer ends stays incomplete."""
    if block.complete:
        return "completed"
    return "in_progress" if answer.end is None else "incomplete"


def _sealed(block: Block) -> str | None:
    """Return what makes a thought acceptable to its provider when it is sent back, byte-exact."""
    if block.kind != "data":
        return block.signature or None
    try:
        return _SEALED + _redacted.decode(block.data or b"{}").data
    except msgspec.DecodeError:
        return None


def _input_item(usual_id: str, item: Body) -> Body:
    """Return an item as it is listed: with its type, an id, and its text as parts."""
    shown: Body = {"type": "message", **item, "id": item.get("id") or usual_id}
    if shown["type"] == "message":
        kind = "output_text" if item.get("role") == "assistant" else "input_text"
        more: Body = {"annotations": []} if kind == "output_text" else {}
        if isinstance(item["content"], str):
            shown["content"] = [{"type": kind, "text": item["content"], **more}]
    return {"status": "completed"} | shown
