"""OpenAI Chat Completions in our own description: what the route takes and answers, and OpenAI's shape of errors."""

from __future__ import annotations

from itertools import groupby

from relay.dialects.chat_body import ChatBody
from relay.dialects.openai_errors import openai_code, openai_status
from relay.openapi.parts import RETRY_AFTER, START_REFUSALS, STREAM_HEADERS, TEXT, Part, answer, content, parameters
from relay.openapi.schemas import ref
from shared import errors
from shared.errors import TailraceError

_MAYBE_TEXT: Part = {"type": ["string", "null"]}
_SHOULD_RETRY: Part = {"x-should-retry": {"required": True, "schema": TEXT | {"enum": ["true", "false"]}}}
_CHUNK_EXAMPLE = """: open
id: k3f9-00000001-00000003-001-000
data: {"id":"chatcmpl-k3f9...","object":"chat.completion.chunk","created":1790000000,"model":"claude-sonnet-5-5",\
"choices":[{"index":0,"delta":{"content":"Hello"},"logprobs":null,"finish_reason":null}]}

"""


def chat_schemas() -> dict[str, Part]:
    """Return the schemas of this dialect by name; what it shares with OpenAI is described there."""
    request = ChatBody.model_json_schema(ref_template="#/components/schemas/{model}")
    parts: dict[str, Part] = request.pop("$defs")
    parts.pop("CancelAfter")  # the native request's
    completion: Part = {
        "type": "object",
        "description": "A chat completion as OpenAI describes it, of one choice.",
        "properties": {"id": TEXT, "object": {"const": "chat.completion"}, "choices": {"type": "array", "minItems": 1}},
        "required": ["id", "object", "created", "model", "choices", "usage"],
    }
    fields: Part = {
        "message": TEXT | {"description": "A sentence that says what to do."},
        "type": TEXT,
        "param": _MAYBE_TEXT | {"description": "The field of the request that it is about."},
        "code": _MAYBE_TEXT,
    }
    error: Part = {
        "type": "object",
        "description": "What went wrong, in OpenAI's shape.",
        "properties": {"error": {"type": "object", "properties": fields, "required": list(fields)}},
        "required": ["error"],
    }
    return {"ChatRequest": request, "ChatCompletion": completion, "OpenAIError": error} | parts


def chat_paths() -> dict[str, Part]:
    """Return the path items of this dialect."""
    chunks: Part = {"text/event-stream": {"schema": TEXT, "example": _CHUNK_EXAMPLE}}
    create: Part = {
        "operationId": "createChatCompletion",
        "summary": "OpenAI Chat Completions: start a stream, or attach to the one that was started before",
        "description": "With `stream: true` the chunks come at once. The stream can be followed with "
        "`GET {Location}/events?format=openai-chat` (`openai-chat-usage`: with its usage).",
        "tags": ["dialects"],
        "parameters": parameters("IdempotencyKey"),
        "requestBody": {"required": True, "content": content("ChatRequest")},
        "responses": {"200": answer("The answer.", content("ChatCompletion") | chunks, STREAM_HEADERS)}
        | openai_refusals(*START_REFUSALS, errors.ProviderError),
    }
    return {"/v1/chat/completions": {"post": create}}


def openai_refusals(*kinds: type[TailraceError]) -> dict[str, Part]:
    """Return the responses of these errors in OpenAI's shape, and of those that any route may give, by status."""
    all_kinds: set[type[TailraceError]] = {*kinds, errors.UnauthorizedError, errors.InternalError}
    told = sorted(all_kinds, key=lambda kind: (openai_status(kind), kind.code))
    return {str(status): _refusal(list(group)) for status, group in groupby(told, key=openai_status)}


def _refusal(kinds: list[type[TailraceError]]) -> Part:
    codes = [openai_code(kind.code) for kind in kinds]
    narrowed = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
    body = {"application/json": {"schema": {"allOf": [ref("OpenAIError"), narrowed]}}}
    about = " ".join(f"`{openai_code(kind.code)}`: {(kind.__doc__ or '').strip()}" for kind in kinds)
    always = all(kind in (errors.LimitError, errors.OverloadedError, errors.UnavailableError) for kind in kinds)
    return answer(about, body, _SHOULD_RETRY | (RETRY_AFTER if always else {}))
