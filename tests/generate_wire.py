"""Google's Gemini API, as the local provider speaks it: frames of whole parts, and no end but the body's. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.messages_script import SIGNATURE, Frame, Script, pieces_of
from tests.wire import Body, Wire, text_of

_REASONS = {"end_turn": "STOP", "tool_use": "STOP", "max_tokens": "MAX_TOKENS", "refusal": "SAFETY"}
_STATUSES = {"overloaded_error": (503, "UNAVAILABLE"), "invalid_request_error": (400, "INVALID_ARGUMENT")}


def _frames(script: Script, body: Body, said: str) -> Iterator[Frame]:
    usage = {"promptTokenCount": 14, "cachedContentTokenCount": 3, "totalTokenCount": 14}
    for number in range(0 if said else script.thinking):
        yield _parts([{"text": f"t{number} ", "thought": True}], usage=usage)
    pieces, limited = pieces_of(script, body["generationConfig"]["maxOutputTokens"], said)
    for number, text in pieces:
        yield _parts([{"text": text}], number, usage=usage)
    signature = SIGNATURE if script.thinking and not said else None
    tools = () if limited else script.tools
    for at, tool in enumerate(tools):
        part: dict[str, Any] = {"functionCall": {"name": tool["name"], "args": tool["input"]}}
        yield _parts([{**part, "thoughtSignature": signature} if signature and at == 0 else part], usage=usage)
    last = {"text": "", "thoughtSignature": signature} if signature and not tools else {"text": ""}
    usage |= {"candidatesTokenCount": len(pieces), "thoughtsTokenCount": 1}
    reason = _REASONS[script.stop_reason or ("max_tokens" if limited else "end_turn")]
    yield _parts([last], finishReason=reason, usage=usage)


def _parts(parts: list[dict[str, Any]], token: int | None = None, *, usage: Body, **more: Any) -> Frame:
    candidate = {"content": {"parts": parts, "role": "model"}, **more}
    chunk = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m-1", "responseId": "r-local"}
    text = json.dumps(chunk).replace(SIGNATURE.replace("\\", "\\\\"), SIGNATURE)
    return Frame(f"data: {text}\r\n\r\n".encode(), token)


def _turns(body: Body) -> list[tuple[str, str]]:
    return [("user" if one["role"] == "user" else "assistant", text_of(one["parts"])) for one in body["contents"]]


def _error(script: Script) -> Body:
    code, status = _STATUSES.get(script.error_type, (script.status, "UNKNOWN"))
    code = script.status if script.status != 200 else code
    error = {"code": code, "message": script.error_message, "status": status}
    return {"error": error | ({"details": [script.error_details]} if script.error_details else {})}


def _error_frame(script: Script) -> bytes:
    return b"data: " + json.dumps(_error(script)).encode() + b"\r\n\r\n"


GENERATE = Wire("generate", "/{version}/models/{model}:streamGenerateContent", _frames, _turns, _error, _error_frame)
