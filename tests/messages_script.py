"""What the local provider answers: scripts, and the frames that a script becomes on the Messages wire. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple, Self

Cut = Literal["reset", "close", "eof"]
"""TCP reset; end of the connection inside the body; proper end of the body without the end of the message."""

SIGNATURE = "c2lnbmF0dXJl/+=\\u00e9\\/" + "A" * 40
"""A thinking block's signature, as it stands in the JSON: its escapes must come out as the characters they mean."""


@dataclass(frozen=True)
class Script:
    """One answer. The last user message may hold one as a JSON object."""

    tokens: int = 20
    per_second: float = 0.0
    first_token_ms: float = 0.0
    text: str | None = None
    """The whole text, told character by character instead of numbered tokens."""
    thinking: int = 0
    tools: Sequence[dict[str, Any]] = ()
    """``{"name", "input"}`` each, told as streamed ``input_json_delta``."""
    blocks: Sequence[dict[str, Any]] = ()
    """Content blocks told before the text as start and stop, such as ``web_search_tool_result``."""
    frames: Sequence[tuple[str, dict[str, Any]]] = ()
    """Frames (event name and data) told right after ``message_start``, such as ones nobody knows."""
    ping_every: int = 0
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    bytes_per_write: int = 0
    newline: str = "\n"
    echo: bool = False
    """Repeat the prefill at the answer's start, as some servers do."""
    # Faults
    status: int = 200
    error_type: str = "api_error"
    error_message: str = "scripted"
    error_details: dict[str, Any] | None = None
    headers: dict[str, str] | None = None
    cut_at: int | None = None
    """The number of the frame before which the connection ends; likewise the next two."""
    cut: Cut = "reset"
    hangs_up: bool = False
    """The connection ends without a word, before the answer's head."""
    stall_at: int | None = None
    stall_pings_s: float = 0.0
    """How often a stalled answer still sends a ping; 0: never."""
    error_at: int | None = None
    attempts: Sequence[int] = ()
    """In which calls for one conversation, counted from 1, the faults strike; the others are whole. Empty: in all."""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the script in a user message, or None for any other text."""
        try:
            said = json.loads(text)
        except ValueError:
            return None
        known = {field.name for field in fields(cls)}
        return cls(**said) if isinstance(said, dict) and said.keys() <= known else None

    def whole(self) -> Self:
        """Return the script without its faults."""
        return replace(self, status=200, hangs_up=False, cut_at=None, stall_at=None, error_at=None)


class Frame(NamedTuple):
    """One SSE frame, and the number of the text token in it, which is what pacing counts."""

    data: bytes
    token: int | None = None


def token(index: int) -> str:
    """Return the text token at ``index``."""
    return f" w{index}" if index else "w0"


def whole_text(script: Script) -> str:
    """Return all the text that a script's answer has."""
    return script.text if script.text is not None else "".join(map(token, range(script.tokens)))


def error_body(error_type: str, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return an error as the API words it, over HTTP and in a stream."""
    error: dict[str, Any] = {"type": error_type, "message": message}
    if details is not None:
        error["details"] = details
    return {"type": "error", "error": error, "request_id": "req_local"}


def frame(name: str, data: dict[str, Any], newline: str = "\n", number: int | None = None) -> Frame:
    """Return one frame. ``type`` is set from the name; the signature's escapes are left as they are."""
    text = json.dumps({"type": name, **data}, ensure_ascii=False, separators=(",", ":"))
    text = text.replace(SIGNATURE.replace("\\", "\\\\"), SIGNATURE)
    return Frame(f"event: {name}{newline}data: {text}{newline}{newline}".encode(), number)


def frames(script: Script, body: dict[str, Any], said: str) -> Iterator[Frame]:
    """Yield the frames of the answer to ``body`` of which ``said`` has been said already."""
    message = {
        "id": "msg_local",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 11,
            "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 2,
            "output_tokens": 1,
        },
    }
    yield frame("message_start", {"message": message}, script.newline)
    for name, data in script.frames:
        yield frame(name, data, script.newline)
    index = 0
    for block in _before_text(script, said):
        yield from (frame(name, {"index": index, **data}, script.newline) for name, data in block)
        index += 1
    pieces, limited = pieces_of(script, int(body["max_tokens"]), said)
    if pieces or not script.tools:
        yield from _text(script, index, pieces, body, said)
        index += 1
    for tool in () if limited else script.tools:
        yield from (frame(name, {"index": index, **data}, script.newline) for name, data in _tool(tool, index))
        index += 1
    reason = script.stop_reason or ("max_tokens" if limited else "tool_use" if script.tools else "end_turn")
    delta: dict[str, Any] = {"stop_reason": reason, "stop_sequence": script.stop_sequence}
    if script.stop_details is not None:
        delta["stop_details"] = script.stop_details
    yield frame("message_delta", {"delta": delta, "usage": {"output_tokens": len(pieces) + 1}}, script.newline)
    yield frame("message_stop", {}, script.newline)


def pieces_of(script: Script, room: int, said: str) -> tuple[list[tuple[int, str]], bool]:
    """Return the numbered pieces of text still to say, and whether they end early since there is ``room`` for fewer."""
    parts = list(script.text) if script.text is not None else [token(index) for index in range(script.tokens)]
    left, pieces = len(said) if whole_text(script).startswith(said) else 0, []
    for number, part in enumerate(parts):
        if len(part) > left:
            pieces.append((number, part[left:]))
        left = max(0, left - len(part))
    return pieces[:room], len(pieces) > room


def _text(
    script: Script, index: int, pieces: list[tuple[int, str]], body: dict[str, Any], said: str
) -> Iterator[Frame]:
    start = {"index": index, "content_block": {"type": "text", "text": ""}}
    yield frame("content_block_start", start, script.newline)
    if script.echo and body["messages"][-1]["role"] == "assistant":
        pieces = [(-1, said[at : at + 3]) for at in range(0, len(said), 3)] + pieces
    for count, (number, text) in enumerate(pieces):
        if script.ping_every and count % script.ping_every == 0:
            yield frame("ping", {}, script.newline)
        delta = {"index": index, "delta": {"type": "text_delta", "text": text}}
        yield frame("content_block_delta", delta, script.newline, number)
    yield frame("content_block_stop", {"index": index}, script.newline)


def _before_text(script: Script, said: str) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    if script.thinking and not said:
        thoughts = [{"type": "thinking_delta", "thinking": f"t{number} "} for number in range(script.thinking)]
        deltas = [*thoughts, {"type": "signature_delta", "signature": SIGNATURE}]
        start = {"content_block": {"type": "thinking", "thinking": "", "signature": ""}}
        yield [
            ("content_block_start", start),
            *(("content_block_delta", {"delta": delta}) for delta in deltas),
            ("content_block_stop", {}),
        ]
    for block in () if said else script.blocks:
        yield [("content_block_start", {"content_block": block}), ("content_block_stop", {})]


def _tool(tool: dict[str, Any], index: int) -> Iterator[tuple[str, dict[str, Any]]]:
    start = {"type": "tool_use", "id": f"toolu_{index}", "name": tool["name"], "input": {}}
    yield "content_block_start", {"content_block": start}
    text = json.dumps(tool["input"])
    for piece in ("", *(text[at : at + 5] for at in range(0, len(text), 5))):
        yield "content_block_delta", {"delta": {"type": "input_json_delta", "partial_json": piece}}
    yield "content_block_stop", {}
