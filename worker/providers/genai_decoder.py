"""The Gemini API's SSE bytes in, canonical events out. Pure: no clock, no network."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw

from shared.events import Event, Usage
from worker.llm import Call, Finish
from worker.providers import failures
from worker.providers import genai_wire as wire
from worker.providers.sse_decoder import SseDecoder
from worker.providers.telling import given

_TEXT, _THOUGHT = "text", "thought"
_REASONS = {
    "STOP": "end_turn",
    "MAX_TOKENS": "max_tokens",
    **dict.fromkeys(("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"), "refusal"),
    **dict.fromkeys(("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION"), "refusal"),
}
_DEFECTS = frozenset(("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"))
"""Ends of an answer that the model got wrong, where another attempt may help."""
OPAQUE_BLOCK = "google_part"
"""The type of a block that holds a part without a canonical form, with the part's own fields beside it."""


class GenaiDecoder(SseDecoder):
    """Decodes one answer. Feed it every chunk; it is done when ``finished`` is true, and cut if that never happens.

    The wire has no end but the body's, after a chunk with a reason for it. A signature belongs to the part it comes
    with, of whatever kind; canonical events know one on thoughts alone. So it is told as that of the thought before
    a call, if need be an empty one, or of an empty thought after a text; ``genai_call`` puts it back where it was.
    """

    def __init__(self, call: Call) -> None:
        """Take the call whose answer this is."""
        super().__init__(call)
        self._reason: str | None = None
        self._usage: Usage | None = None

    def at_end(self) -> list[Event | Finish]:
        """Return the finish, where the answer had a reason for one."""
        telling, reason = self._telling, self._reason
        if reason is not None and not telling.finished:
            if reason in _DEFECTS:
                raise failures.malformed()
            if self._usage is not None:
                telling.tell_usage(self._usage)
            stop_reason = _REASONS.get(reason, reason.lower())
            telling.finish("tool_use" if stop_reason == "end_turn" and telling.tools else stop_reason)
        return telling.take()

    def _on_event(self, _name: str, data: bytes) -> None:
        self._on_chunk(wire.chunk.decode(data))

    def _on_chunk(self, chunk: wire.Chunk) -> None:
        telling = self._telling
        if chunk.error is not None:
            raise failures.told_in_stream(chunk.error.status, chunk.error.message, chunk.error.code)
        telling.step(chunk.response_id, chunk.model_version)
        if chunk.usage_metadata is not None:
            # Every chunk has the counts so far; the first are told for the input's sake, then only the last.
            self._usage = chunk.usage_metadata.usage()
            if telling.usage == Usage():
                telling.tell_usage(self._usage)
        for candidate in chunk.candidates or ():
            if candidate.index == 0:
                self._on_candidate(candidate)
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            telling.begun = True
            telling.event(
                "promptFeedback", Raw(msgspec.json.encode({"blockReason": chunk.prompt_feedback.block_reason}))
            )
            self._reason = self._reason or "SAFETY"

    def _on_candidate(self, candidate: wire.Candidate) -> None:
        telling = self._telling
        for raw in (candidate.content and candidate.content.parts) or ():
            self._on_part(wire.part.decode(raw), raw)
        for name, data in (
            ("groundingMetadata", candidate.grounding_metadata),
            ("citationMetadata", candidate.citation_metadata),
            ("urlContextMetadata", candidate.url_context_metadata),
        ):
            if given(data):
                assert isinstance(data, Raw)
                telling.event(name, data)
        if candidate.finish_reason is not None:
            telling.begun = True
            self._reason = candidate.finish_reason
            if _REASONS.get(self._reason) == "refusal":
                details = {"finishReason": self._reason, "finishMessage": candidate.finish_message}
                telling.event("finishReason", Raw(msgspec.json.encode(details)))

    def _on_part(self, part: wire.Part, raw: Raw) -> None:
        telling, signature = self._telling, part.thought_signature
        if part.function_call is not None:
            telling.close(_TEXT)
            if signature is not None:
                telling.signature(_THOUGHT, signature)
            self._on_call(part.function_call)
        elif part.text is None:
            self._close_both()
            # Beside its own fields it gets the type that every block of content has.
            telling.opaque(OPAQUE_BLOCK, Raw(b'{"type":"' + OPAQUE_BLOCK.encode() + b'",' + bytes(raw).lstrip()[1:]))
        elif part.thought:
            telling.close(_TEXT)
            telling.thinking(_THOUGHT, part.text)
            if signature is not None:
                telling.signature(_THOUGHT, signature)
                telling.close(_THOUGHT)
        else:
            if part.text:
                telling.close(_THOUGHT)
                telling.text(_TEXT, part.text)
            if signature is not None:
                self._close_both()
                telling.signature(_THOUGHT, signature)
                telling.close(_THOUGHT)

    def _on_call(self, call: wire.FunctionCall) -> None:
        self._close_both()
        key = ("call", self._telling.tools)
        self._telling.tool(key, call.id, call.name)
        self._telling.arguments(key, "{}" if call.args is UNSET else bytes(call.args).decode())
        self._telling.close(key)

    def _close_both(self) -> None:
        self._telling.close(_THOUGHT)
        self._telling.close(_TEXT)
