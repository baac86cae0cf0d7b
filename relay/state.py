"""What a stream is now, as JSON: the record, and what the log adds up to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from relay.unreadable import reads_log
from shared.answer import Answer, Block
from shared.entry import Entry
from shared.errors import GoneError, NotFoundError
from shared.offset import NO_ENTRY, is_stream_id
from shared.record import Record
from shared.stream_log import StreamLog

_PAGE = 1000


async def owned_record(stream_log: StreamLog, stream_id: str, tenant: str) -> Record:
    """Return the record of a stream of ``tenant``. Raises ``NotFoundError`` for any other: an id is not a secret."""
    record = await stream_log.record(stream_id) if is_stream_id(stream_id) else None
    if record is None or record.tenant != tenant:
        message = "there is no such stream; check the id and the API key it was started with"
        raise NotFoundError(message)
    return record


async def fold_log(stream_log: StreamLog, stream_id: str) -> Answer:
    """Return the answer so far, read from the whole log. Raises ``GoneError`` when the log is no longer there.

    Raises ``UnreadableError``, ``RedisError`` too.
    """
    answer = Answer()
    with reads_log(stream_id):
        async for page in log_pages(stream_log, stream_id):
            for entry in page:
                answer.apply_entry(entry)
    if answer.start is None:
        message = "the stream's log has expired or was deleted; start a new stream"
        raise GoneError(message, stream_id=stream_id)
    return answer


async def log_pages(stream_log: StreamLog, stream_id: str) -> AsyncIterator[list[Entry]]:
    """Give the whole log as it is now, page by page. Raises ``RedisError``."""
    after = NO_ENTRY
    while True:
        page = await stream_log.read(stream_id, after, _PAGE)
        fresh = page[1:] if page and page[0].id == after else page
        if not fresh:
            return
        yield fresh
        after = fresh[-1].id


def summary(stream_id: str, record: Record) -> dict[str, Any]:
    """Return what a list shows of a stream."""
    return {
        "id": stream_id,
        "status": record.status,
        "model": record.model,
        "provider": record.provider,
        "metadata": record.metadata,
        "created_ms": record.created_ms,
        "events_url": f"/v1/streams/{stream_id}/events",
    }


def state(stream_id: str, record: Record, answer: Answer) -> dict[str, Any]:
    """Return the whole state of a stream."""
    end = answer.end
    usage = end.usage if end else answer.usage
    return summary(stream_id, record) | {
        "status": answer.status,
        "offset": answer.offset.text(stream_id),
        "blocks": [_block(block) for block in answer.blocks],
        "text": answer.text,
        "stop_reason": end.stop_reason if end else None,
        "stop_sequence": end.stop_sequence if end else None,
        "usage": {name: getattr(usage, name) for name in usage.__struct_fields__},
        "attempts": answer.attempts,
        "timings": _timings(record.created_ms, answer, usage.output_tokens),
        "error": _error(answer),
    }


def _block(block: Block) -> dict[str, Any]:
    """Return one block as JSON; only the fields that its kind has."""
    shown: dict[str, Any] = {"block": block.block, "kind": block.kind, "complete": block.complete}
    named = {"id": block.id, "name": block.name, "source": block.source}
    shown |= {name: value for name, value in named.items() if value is not None}
    if block.kind in ("text", "thinking"):
        shown["text"] = block.text
    if block.kind == "thinking":
        shown["signature"] = block.signature
    if block.kind == "tool_use":
        shown["json"] = block.json
    if block.data is not None:
        shown["data"] = msgspec.Raw(block.data)
    return shown


def _timings(created_ms: int, answer: Answer, output_tokens: int) -> dict[str, float | None]:
    """Return the times of a stream, in milliseconds from the request, and its speed; None where not known yet."""
    told = (answer.started_ms, answer.first_token_ms, answer.ended_ms)
    queued, first, ended = (None if at is None else max(at - created_ms, 0) for at in told)
    speed = None
    if first is not None and ended is not None and ended > first and output_tokens:
        speed = round(output_tokens / (ended - first) * 1000, 1)
    return {"queued_ms": queued, "first_token_ms": first, "duration_ms": ended, "tokens_per_second": speed}


def _error(answer: Answer) -> dict[str, Any] | None:
    """Return the error of a failed stream in the shape every error has."""
    if answer.error is None or answer.status != "failed":
        return None
    error = answer.error
    shown: dict[str, Any] = {"code": error.code, "message": error.message, "retryable": error.retryable}
    return shown | ({} if error.retry_after_s is None else {"retry_after_s": error.retry_after_s})
