"""What Chat Completions calls the parts of an answer that it tells both in a stream and whole."""

from __future__ import annotations

from relay.dialects.dialect import Body
from shared.events import EndEvent, Usage

_REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def finish_reason(end: EndEvent) -> str:
    """Return why the answer ended, as one of the API's four words; ``stop`` for every reason that has none.

    An answer that was cancelled, or reached the service's own limits, is not whole: that is ``length``, since a
    program that reads ``stop`` acts on what it got, and strict clients refuse a fifth word.
    """
    if end.status != "completed":
        return "length"
    return _REASONS.get(end.stop_reason or "", "stop")


def usage_body(usage: Usage) -> Body:
    """Return token counts; what was read from or written to a cache is part of the prompt here."""
    prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output_tokens,
        "total_tokens": prompt + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
    }


def told_call_id(stream_id: str, block: int, given: str | None) -> str:
    """Return a tool call's id: the provider's, or one that is the same each time where it gave none."""
    return given or f"call_{stream_id}_{block}"
