"""Parts of a conversation as OpenAI's clients send them, in the canonical form; shared by both of its dialects."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from relay.parsing import refuse

Block = dict[str, Any]

_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,(.*)", re.DOTALL)
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PDF = "application/pdf"


def text_block(text: str) -> Block:
    """Return text."""
    return {"type": "text", "text": text}


def image_block(url: str, *at: str | int) -> Block:
    """Return the image that a URL ``at`` this place of the body leads to or holds. Raises ``InvalidRequestError``."""
    if url.startswith("https://"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    return {"type": "image", "source": _data(url, _IMAGES, *at)}


def document_block(data: str, filename: str | None, *at: str | int) -> Block:
    """Return the document that a ``data:`` URL holds. Raises ``InvalidRequestError``."""
    title = {"title": filename} if filename else {}
    return {"type": "document", "source": _data(data, (_PDF,), *at)} | title


def tool_use_block(call_id: str, name: str, arguments: str, *at: str | int) -> Block:
    """Return a call whose arguments are JSON as text ``at`` this place. Raises ``InvalidRequestError``."""
    try:
        found = json.loads(arguments or "{}", parse_constant=_no_constant)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        refuse("must be a JSON object, as text", *at)
    return {"type": "tool_use", "id": call_id, "name": name, "input": found}


def _no_constant(name: str) -> None:
    message = f"JSON has no {name}"
    raise ValueError(message)


def _data(url: str, kinds: Sequence[str], *at: str | int) -> Block:
    """Return what a ``data:`` URL holds as a source, if it is one of ``kinds``."""
    found = _DATA_URL.fullmatch(url)
    if found is None or found[1] not in kinds:
        address = "an https: URL or " if kinds is _IMAGES else ""
        refuse(f"must be {address}a base64 data: URL of {', '.join(kinds)}", *at)
    if not _is_base64(found[2]):
        refuse("the data: URL's base64 is broken", *at)
    return {"type": "base64", "media_type": found[1], "data": found[2]}


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except ValueError:
        return False
