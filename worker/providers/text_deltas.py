"""The hot path of reading an answer in the Messages format: a read that brings text and nothing else.

Most reads do. To recognise the whole of such a read costs a third of taking it apart into lines, fields and structs;
whatever is the least bit different is for the decoder. ``make bench BENCH="--only cpu-proxy"`` shows what it comes to.
"""

from __future__ import annotations

import re

import msgspec

_TEXT_DELTA = re.compile(
    rb'event: content_block_delta\ndata: \{"type":"content_block_delta","index":([0-9]{1,6}),'
    rb'"delta":\{"type":"text_delta","text":("[^"\\\r\n]*(?:\\[^\r\n][^"\\\r\n]*)*")\} *\} *\n\n'
)
"""One event as Anthropic writes it, which pads some of them with spaces."""
_string = msgspec.json.Decoder(str)


def text_deltas(chunk: bytes) -> list[tuple[int, str]] | None:
    """Return the index and the text of each delta where ``chunk`` is whole text deltas and nothing else, or None.

    It must begin where an event does.
    """
    told: list[tuple[int, str]] = []
    at, end = 0, len(chunk)
    while at < end:
        found = _TEXT_DELTA.match(chunk, at)
        if found is None:
            return None
        try:
            told.append((int(found[1]), _string.decode(found[2])))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # the decoder tells what came before it, and then fails
        at = found.end()
    return told
