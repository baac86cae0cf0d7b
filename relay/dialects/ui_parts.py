"""The parts of a UI message: what each kind of block comes to in the AI SDK's chunks.

A tool that the provider runs itself is a tool part marked ``providerExecuted``, its result that part's output. Any
other block of the provider's own goes whole into a ``data-tailrace-block`` part, so that it can be sent back as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from shared.events import BlockStartEvent, DeltaEvent

Chunk = dict[str, Any]

BLOCK_PART = "data-tailrace-block"
"""The type of the part that carries a provider's opaque block."""
_decode = msgspec.json.decode


@dataclass
class Part:
    """One block of the answer. By itself one that tells nothing until it is closed."""

    block: int
    provider: str
    step: int
    """The number of the step that has the part in the client's message."""
    call_id: str = ""
    """The tool call that the part is, or is the result of."""
    by_provider: bool = False
    """Whether it is a tool call that the provider answers itself."""
    open: bool = True
    told: bool = False
    """Whether the client has anything of it."""
    _texts: list[str] = field(default_factory=list)
    """Pieces of a tool call's arguments, or of a signature."""
    _deltas: list[msgspec.Raw] = field(default_factory=list)
    """The provider's own deltas."""

    @property
    def id(self) -> str:
        """The part's id in the stream."""
        return str(self.block)

    def begin(self) -> list[Chunk]:
        """Return the chunks of the block's start."""
        return []

    def more(self, delta: DeltaEvent) -> list[Chunk]:
        """Return the chunks of a delta. One that this kind of block cannot have comes to nothing."""
        if delta.data is not msgspec.UNSET:
            self._deltas.append(delta.data)
            return self._source(_decode(delta.data))
        return self.grow(delta) if self.open else []

    def grow(self, delta: DeltaEvent) -> list[Chunk]:
        """Return the chunks of more text, arguments or signature."""
        _ = delta
        return []

    def close(self) -> list[Chunk]:
        """Return the chunks of the block's end; none the second time."""
        if not self.open:
            return []
        self.open = False
        return self.end()

    def end(self) -> list[Chunk]:
        """Return what tells that the block is complete."""
        return []

    def cut_off(self) -> list[Chunk]:
        """Return what closes a block that is not complete when the answer ends."""
        self.open = False
        return []

    def answers(self, call: Part) -> None:
        """Make it the output of ``call``, in whose part it is told."""
        _ = call

    def _source(self, delta: Any) -> list[Chunk]:
        """Return the page on the web that a provider's delta cites, if it cites one, as a part of its own."""
        cited = delta.get("citation") if isinstance(delta, dict) else None
        if not isinstance(cited, dict) or not isinstance(cited.get("url"), str):
            return []
        title = {"title": cited["title"]} if isinstance(cited.get("title"), str) else {}
        source_id = f"{self.block}-{len(self._deltas) - 1}"
        self.told = True
        return [{"type": "source-url", "sourceId": source_id, "url": cited["url"], **title}]

    def _metadata(self, **fields: Any) -> Chunk:
        """Return the key of a chunk for what the provider wants back, under the provider's name."""
        fields |= {"deltas": self._deltas} if self._deltas else {}
        return {"providerMetadata": {self.provider: fields}} if fields else {}


@dataclass
class Prose(Part):
    """Text, or what the model thought."""

    name: str = "text"

    def begin(self) -> list[Chunk]:
        """Open the part."""
        self.told = True
        return [{"type": f"{self.name}-start", "id": self.id}]

    def grow(self, delta: DeltaEvent) -> list[Chunk]:
        """Return the text; keep the signature for the end."""
        if delta.signature is not None:
            self._texts.append(delta.signature)
        return [] if delta.text is None else [{"type": f"{self.name}-delta", "id": self.id, "delta": delta.text}]

    def end(self) -> list[Chunk]:
        """Close the part, with its signature."""
        signed = {"signature": "".join(self._texts)} if self._texts else {}
        return [{"type": f"{self.name}-end", "id": self.id, **self._metadata(**signed)}]

    def cut_off(self) -> list[Chunk]:
        """Close the part as it is."""
        return self.close()


@dataclass
class ToolCall(Part):
    """A tool call, with arguments that are told as they come."""

    name: str = ""
    raw: dict[str, Any] = field(default_factory=dict)
    """The provider's own fields of the block."""

    def begin(self) -> list[Chunk]:
        """Open the part."""
        self.told = True
        return [{"type": "tool-input-start", **self._named()}]

    def grow(self, delta: DeltaEvent) -> list[Chunk]:
        """Return a piece of the arguments."""
        if not delta.json:
            return []
        self._texts.append(delta.json)
        return [{"type": "tool-input-delta", "toolCallId": self.call_id, "inputTextDelta": delta.json}]

    def end(self) -> list[Chunk]:
        """Return the whole arguments, or that they are no JSON: a model at its limit stops in the middle of them."""
        text = "".join(self._texts)
        more = self._metadata(**({"block": self.raw} if self.raw else {}))
        try:
            _decode(text or "{}")
        except (msgspec.DecodeError, RecursionError):
            problem = "the model stopped before the arguments of this tool call were complete"
            return [{"type": "tool-input-error", **self._named(), "input": text, "errorText": problem, **more}]
        return [{"type": "tool-input-available", **self._named(), "input": msgspec.Raw(text.encode() or b"{}"), **more}]

    def _named(self) -> Chunk:
        """Return the call's id and name."""
        named: Chunk = {"toolCallId": self.call_id, "toolName": self.name}
        return named | ({"providerExecuted": True} if self.by_provider else {})


@dataclass
class Opaque(Part):
    """A block of the provider's own, told once it is complete."""

    raw: Any = None
    _of_call: bool = False

    def answers(self, call: Part) -> None:
        """Be told as the output of ``call``."""
        self._of_call = True
        self.step = call.step

    def grow(self, delta: DeltaEvent) -> list[Chunk]:
        """Keep what the block may still get as arguments."""
        self._texts.append(delta.json or "")
        return []

    def end(self) -> list[Chunk]:
        """Return the block."""
        self.told = True
        if self._of_call and isinstance(self.raw, dict):
            output = self.raw.get("content")
            more = self._metadata(block={name: value for name, value in self.raw.items() if name != "content"})
            call = {"toolCallId": self.call_id, "output": output, "providerExecuted": True}
            return [{"type": "tool-output-available", **call, **more}]
        data = self.raw
        if isinstance(data, dict) and (text := "".join(self._texts)):
            data = {**data, "input": _arguments(text)}
        return [{"type": BLOCK_PART, "data": data}]


def _arguments(text: str) -> Any:
    """Return arguments as JSON, or as the text they are."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def part_of(event: BlockStartEvent, provider: str, step: int) -> Part:
    """Return the part of a new block."""
    at = (event.block, provider or "tailrace", step)
    if event.kind == "text":
        return Prose(*at)
    if event.kind == "thinking":
        return Prose(*at, name="reasoning")
    raw = None if event.data is msgspec.UNSET else _decode(event.data)
    fields = raw if isinstance(raw, dict) else {}
    kept = {name: value for name, value in fields.items() if name != "input"}
    if event.kind == "tool_use":
        return ToolCall(*at, event.id or f"call_{event.block}", name=event.name or "tool", raw=kept)
    told_id, told_name = fields.get("id"), fields.get("name")
    if str(event.name).endswith("tool_use") and isinstance(told_id, str) and isinstance(told_name, str):
        return ToolCall(*at, told_id, by_provider=True, name=told_name, raw=kept)
    return Opaque(*at, event.id or "", raw=raw)
