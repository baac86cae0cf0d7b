"""OpenAI's Responses API, as the local provider speaks it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

from tests.chat_wire import arguments, error
from tests.messages_script import SIGNATURE, Frame, Script, pieces_of
from tests.wire import Body, Wire, text_of

_INCOMPLETE = {"max_tokens": "max_output_tokens", "refusal": "content_filter"}


class _Teller:
    """Numbers the events of one answer and the items of its output."""

    def __init__(self, body: Body) -> None:
        self._numbers = count()
        self.items = count()
        self.response: dict[str, Any] = {"id": "resp_local", "object": "response", "model": body["model"]}

    def event(self, name: str, token: int | None = None, **more: Any) -> Frame:
        """Return an event. The signature's escapes are left as they are."""
        text = json.dumps({"type": name, "sequence_number": next(self._numbers), **more})
        text = text.replace(SIGNATURE.replace("\\", "\\\\"), SIGNATURE)
        return Frame(f"event: {name}\ndata: {text}\n\n".encode(), token)

    def about(self, status: str, name: str, **more: Any) -> Frame:
        """Return an event about the whole response."""
        return self.event(name, response={**self.response, "status": status, **more})


def _frames(script: Script, body: Body, said: str) -> Iterator[Frame]:
    teller = _Teller(body)
    yield teller.about("in_progress", "response.created")
    yield teller.about("in_progress", "response.in_progress")
    if script.thinking and not said:
        yield from _thought(teller, script)
    pieces, limited = pieces_of(script, body["max_output_tokens"], said)
    if pieces:
        yield from _message(teller, pieces)
    for tool in () if limited else script.tools:
        yield from _call(teller, tool)
    details = {"cached_tokens": 3}
    usage = {"input_tokens": 14, "output_tokens": len(pieces) + 1, "input_tokens_details": details}
    reason = _INCOMPLETE.get("max_tokens" if limited else script.stop_reason or "")
    if reason:
        more = {"incomplete_details": {"reason": reason}, "usage": usage}
        yield teller.about("incomplete", "response.incomplete", **more)
    else:
        yield teller.about("completed", "response.completed", usage=usage)


def _thought(teller: _Teller, script: Script) -> Iterator[Frame]:
    index = next(teller.items)
    item: dict[str, Any] = {"id": f"rs_{index}", "type": "reasoning", "summary": []}
    yield teller.event("response.output_item.added", output_index=index, item=item)
    where: dict[str, Any] = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    part = {"type": "summary_text", "text": ""}
    yield teller.event("response.reasoning_summary_part.added", **where, part=part)
    texts = [f"t{number} " for number in range(script.thinking)]
    for text in texts:
        yield teller.event("response.reasoning_summary_text.delta", **where, delta=text)
    whole = {"type": "summary_text", "text": "".join(texts)}
    yield teller.event("response.reasoning_summary_text.done", **where, text=whole["text"])
    yield teller.event("response.reasoning_summary_part.done", **where, part=whole)
    item = {**item, "summary": [whole], "encrypted_content": SIGNATURE}
    yield teller.event("response.output_item.done", output_index=index, item=item)


def _message(teller: _Teller, pieces: list[tuple[int, str]]) -> Iterator[Frame]:
    index = next(teller.items)
    item: dict[str, Any] = {"id": f"msg_{index}", "type": "message", "role": "assistant", "content": []}
    yield teller.event("response.output_item.added", output_index=index, item=item)
    where: dict[str, Any] = {"item_id": item["id"], "output_index": index, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    yield teller.event("response.content_part.added", **where, part=part)
    for number, text in pieces:
        yield teller.event("response.output_text.delta", number, **where, delta=text, logprobs=[])
    part = {**part, "text": "".join(text for _, text in pieces)}
    yield teller.event("response.output_text.done", **where, text=part["text"])
    yield teller.event("response.content_part.done", **where, part=part)
    yield teller.event("response.output_item.done", output_index=index, item={**item, "content": [part]})


def _call(teller: _Teller, tool: dict[str, Any]) -> Iterator[Frame]:
    index = next(teller.items)
    item = {"id": f"fc_{index}", "type": "function_call", "call_id": f"call_{index}", "name": tool["name"]}
    yield teller.event("response.output_item.added", output_index=index, item={**item, "arguments": ""})
    where: dict[str, Any] = {"item_id": item["id"], "output_index": index}
    for piece in arguments(tool):
        yield teller.event("response.function_call_arguments.delta", **where, delta=piece)
    whole = json.dumps(tool["input"])
    yield teller.event("response.function_call_arguments.done", **where, arguments=whole)
    yield teller.event("response.output_item.done", output_index=index, item={**item, "arguments": whole})


def _turns(body: Body) -> list[tuple[str, str]]:
    return [(item["role"], text_of(item["content"])) for item in body["input"] if "role" in item]


def _error_frame(script: Script) -> bytes:
    inner = error(script)["error"]
    told = {"type": "error", "sequence_number": 9, "code": inner["code"] or inner["type"], "message": inner["message"]}
    return f"event: error\ndata: {json.dumps(told)}\n\n".encode()


RESPONSES = Wire("responses", "/v1/responses", _frames, _turns, error, _error_frame)
