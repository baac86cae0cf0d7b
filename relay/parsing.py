"""Reading what a client sent: every mistake becomes one sentence that says what to do."""

from __future__ import annotations

from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from shared.errors import InvalidOffsetError, InvalidRequestError, NotAcceptableError, UnsupportedMediaTypeError
from shared.offset import START, MalformedOffsetError, Offset

Parsed = TypeVar("Parsed", bound=BaseModel)
_MOST_PROBLEMS = 3


async def json_body(request: web.Request, model: type[Parsed]) -> Parsed:
    """Return the body as ``model``. Raises ``UnsupportedMediaTypeError`` or ``InvalidRequestError``."""
    if request.content_type != "application/json":
        message = "send the request as JSON, with 'Content-Type: application/json'"
        raise UnsupportedMediaTypeError(message)
    body = await request.read()
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        raise InvalidRequestError("; ".join(map(_sentence, problems[:_MOST_PROBLEMS]))) from None


def _sentence(problem: object) -> str:
    """Return one of pydantic's problems as a sentence that names the field."""
    assert isinstance(problem, dict)
    if problem["type"] == "extra_forbidden":
        return f"unknown field {_path(problem['loc'])!r}"
    if problem["type"] == "json_invalid":
        return f"the body is not valid JSON: {problem['msg'].removeprefix('Invalid JSON: ')}"
    return f"{_path(problem['loc']) or 'the body'}: {problem['msg']}"


def _path(location: tuple[str | int, ...]) -> str:
    """Return a field's path; names of pydantic's own union branches are left out."""
    return ".".join(str(part) for part in location if not (isinstance(part, str) and ("[" in part or part == "str")))


def number(request: web.Request, name: str, *, most: float) -> float | None:
    """Return a query parameter from 0 to ``most``, None when it is absent. Raises ``InvalidRequestError``."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        message = f"{name} must be a number from 0 to {most:g}"
        raise InvalidRequestError(message)
    return value


def offset_of(request: web.Request, stream_id: str) -> Offset | None:
    """Return where the client stands: ``Last-Event-ID`` wins over ``?offset=``; None for ``offset=now``.

    Raises ``InvalidOffsetError``.
    """
    text = request.headers.get("Last-Event-ID") or request.query.get("offset") or ""
    if text == "now":
        return None
    if not text:
        return START
    try:
        return Offset.parse(text, stream_id)
    except MalformedOffsetError as error:
        message = f"{error}; send the id of the last event you have, or no offset to start over"
        raise InvalidOffsetError(message, stream_id=stream_id) from None


def accepts_sse(request: web.Request) -> bool:
    """Tell whether the client asks for server-sent events."""
    return "text/event-stream" in request.headers.get("Accept", "")


def require_sse(request: web.Request) -> None:
    """Raise ``NotAcceptableError`` when the client rules server-sent events out."""
    accept = request.headers.get("Accept", "*/*")
    if not any(kind in accept for kind in ("text/event-stream", "text/*", "*/*")):
        message = "this route answers with text/event-stream; accept that, or use ?mode=poll for JSON"
        raise NotAcceptableError(message)
