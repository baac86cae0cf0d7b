"""The blocks of an answer as the Anthropic Messages API has them: as they open, piece by piece, and whole."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from shared.answer import Block
from shared.events import BlockKind, BlockStartEvent, DeltaEvent

_OPENINGS = {
    "text": b'{"type":"text","text":""}',
    "thinking": b'{"type":"thinking","thinking":"","signature":""}',
}
_encode = msgspec.json.Encoder().encode


class _Typed(msgspec.Struct):
    type: str = ""


_typed: msgspec.json.Decoder[_Typed] = msgspec.json.Decoder(_Typed)
_fields: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])
_raws: msgspec.json.Decoder[list[Raw] | None] = msgspec.json.Decoder(list[Raw] | None)


def opened(event: BlockStartEvent) -> bytes:
    """Return the ``content_block`` that a block opens with; opaque content is told as it stands."""
    if (fixed := _OPENINGS.get(event.kind)) is not None:
        return fixed
    if isinstance(event.data, Raw):
        return with_type(bytes(event.data), event.name or event.kind)
    return _encode(_bare(event.kind, event.id, event.name))


def piece(event: DeltaEvent, kind: BlockKind) -> bytes:
    """Return the ``delta`` that more of a block is; opaque ones are told as they stand."""
    if event.text is not None:
        thinks = kind == "thinking"
        return (b'{"type":"thinking_delta","thinking":%s}' if thinks else b'{"type":"text_delta","text":%s}') % (
            _encode(event.text)
        )
    if event.json is not None:
        return b'{"type":"input_json_delta","partial_json":%s}' % _encode(event.json)
    if event.signature is not None:
        return b'{"type":"signature_delta","signature":%s}' % _encode(event.signature)
    return with_type(bytes(event.data) if isinstance(event.data, Raw) else b"{}", "data_delta")


def with_type(raw: bytes, name: str) -> bytes:
    """Return an opaque object as it stands, or, where it has no type of its own, inside one whose type is ``name``.

    Clients tell everything by its type, and some fail where there is none.
    """
    try:
        has_type = bool(_typed.decode(raw).type)
    except msgspec.DecodeError:
        has_type = False
    return raw if has_type else _encode({"type": name, "data": Raw(raw)})


def whole(block: Block) -> Any:
    """Return a block of an answer that has ended, as something that encodes to its JSON."""
    if block.kind == "thinking":
        return {"type": "thinking", "thinking": block.text, "signature": block.signature}
    if block.kind == "text":
        fields = {"type": Raw(b'"text"'), "text": Raw(_encode(block.text))}
    elif block.data is not None:
        told = with_type(block.data, block.name or block.kind)
        if not (block.json or block.deltas):
            return Raw(told)
        fields = _fields.decode(told)
    else:
        fields = {name: Raw(_encode(value)) for name, value in _bare(block.kind, block.id, block.name).items()}
    if block.json:
        fields["input"] = _arguments(block.json)
    for delta in block.deltas:
        _add(fields, delta)
    return fields


def _bare(kind: BlockKind, block_id: str | None, name: str | None) -> dict[str, Any]:
    """Return the fields of a block that came without any of the provider's own."""
    if kind == "tool_use":
        return {"type": kind, "id": block_id or "", "name": name or "", "input": {}}
    if kind == "tool_result":
        return {"type": kind, "tool_use_id": block_id or "", "content": []}
    return {"type": name or kind}


def _arguments(text: str) -> Raw:
    """Return a tool call's arguments; those of a call that was cut off, which are no JSON, as the API's users do."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return Raw(_encode({"INVALID_JSON": text}))
    return Raw(text.encode())


def _add(fields: dict[str, Raw], delta: bytes) -> None:
    """Take in a delta without canonical form: citations add up; any other's fields are the block's from then on."""
    told = _fields.decode(with_type(delta, "data_delta"))
    if bytes(told.pop("type")) == b'"citations_delta"' and "citation" in told:
        earlier = _raws.decode(fields.get("citations", Raw(b"[]"))) or []
        fields["citations"] = Raw(_encode([*earlier, told["citation"]]))
    else:
        fields.update(told)
