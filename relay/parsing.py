"""Reading what a client sent: every mistake becomes one sentence that says what to do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Container
from typing import NoReturn, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from relay.dialects.place import NO_PLACE, Place
from shared.errors import InvalidOffsetError, InvalidRequestError, NotAcceptableError, UnsupportedMediaTypeError
from shared.offset import START, MalformedOffsetError, Offset

Parsed = TypeVar("Parsed", bound=BaseModel)
Stands = TypeVar("Stands", Offset, Place)
_MOST_PROBLEMS = 3
_LONGEST_PATH = 200
"""Of a field's name in a message; the client chose it."""
_BRANCHES = frozenset(("str", "constrained-str", "CancelAfter"))
"""How pydantic calls the branches of the request's unions."""
_DIGITS = re.compile(r"[0-9]{1,9}")


async def json_body(
    request: web.Request, model: type[Parsed], deadline_s: float, types: Container[str] = ("application/json",)
) -> Parsed:
    """Return the body, which must arrive within ``deadline_s``, as ``model``.

    Raises ``UnsupportedMediaTypeError`` or ``InvalidRequestError``.
    """
    if request.content_type not in types:
        message = "send the request as JSON, with 'Content-Type: application/json'"
        raise UnsupportedMediaTypeError(message)
    if request.headers.get("Content-Encoding", "identity") != "identity":
        message = "send the request uncompressed, without 'Content-Encoding'"
        raise UnsupportedMediaTypeError(message)
    body = await _read(request, deadline_s)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise refusal(error) from None


def checked(model: type[Parsed], value: object, *at: str | int) -> Parsed:
    """Return what stands ``at`` this place of a body as ``model``. Raises ``InvalidRequestError``, which names it."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise refusal(error, at) from None


def refuse(why: str, *at: str | int) -> NoReturn:
    """Raise ``InvalidRequestError`` for what stands ``at`` this place of a body."""
    place = _path(at)
    message = f"{place}: {why}"
    raise InvalidRequestError(message, field=place)


def refusal(error: ValidationError, at: tuple[str | int, ...] = (), *, inside: int = 0) -> InvalidRequestError:
    """Return what the client is told of pydantic's problems with what stands ``at`` a place of the body.

    The first ``inside`` parts of the places that pydantic names are left out.
    """
    problems = error.errors(include_url=False, include_input=False, include_context=False)[:_MOST_PROBLEMS]
    for problem in problems:
        problem["loc"] = (*at, *problem["loc"][inside:])
    return InvalidRequestError("; ".join(map(_sentence, problems)), field=_path(problems[0]["loc"]) or None)


async def _read(request: web.Request, deadline_s: float) -> bytes:
    """Return the request's body. Raises ``InvalidRequestError`` when it breaks off or does not come in time."""
    try:
        async with asyncio.timeout(deadline_s):
            return await request.read()
    except TimeoutError:
        message = f"the request's body did not arrive within {deadline_s:g} s; send it again"
        raise InvalidRequestError(message) from None
    except web.RequestPayloadError:
        message = "the request's body breaks off or is not encoded as its headers say"
        raise InvalidRequestError(message) from None


def _sentence(problem: object) -> str:
    """Return one of pydantic's problems as a sentence that names the field."""
    assert isinstance(problem, dict)
    if problem["type"] == "extra_forbidden":
        return f"unknown field {_path(problem['loc'])!r}"
    if problem["type"] == "json_invalid":
        return f"the body is not valid JSON: {problem['msg'].removeprefix('Invalid JSON: ')}"
    return f"{_path(problem['loc']) or 'the body'}: {problem['msg'].removeprefix('Value error, ')}"


def _path(location: tuple[str | int, ...]) -> str:
    """Return a field's path; names of pydantic's own union branches are left out."""
    named = (str(part) for part in location if not (isinstance(part, str) and ("[" in part or part in _BRANCHES)))
    return ".".join(named)[:_LONGEST_PATH]


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


def count(request: web.Request, name: str, *, default: int, most: int) -> int:
    """Return a query parameter that counts something, from 1 to ``most``. Raises ``InvalidRequestError``."""
    text = request.query.get(name)
    if text is None:
        return default
    value = int(text) if _DIGITS.fullmatch(text) else 0
    if not 1 <= value <= most:
        message = f"{name} must be a whole number from 1 to {most}"
        raise InvalidRequestError(message)
    return value


def offset_of(request: web.Request, stream_id: str) -> Offset | None:
    """Return where the client stands: ``Last-Event-ID`` wins over ``?offset=``; None for ``offset=now``.

    Raises ``InvalidOffsetError``.
    """
    return _stands(request, stream_id, Offset.parse, START)


def place_of(request: web.Request, stream_id: str) -> Place | None:
    """Return where the client stands in a dialect, as ``offset_of`` does."""
    return _stands(request, stream_id, Place.parse, NO_PLACE)


def _stands(request: web.Request, stream_id: str, parse: Callable[[str, str], Stands], start: Stands) -> Stands | None:
    """Return what ``parse`` makes of what the client has, ``start`` for nothing, None for ``now``."""
    return place_in(request.headers.get("Last-Event-ID") or request.query.get("offset") or "", stream_id, parse, start)


def place_in(text: str, stream_id: str, parse: Callable[[str, str], Stands], start: Stands) -> Stands | None:
    """Return what ``parse`` makes of ``text``, ``start`` where it is empty, None for ``now``.

    Raises ``InvalidOffsetError``.
    """
    if text == "now":
        return None
    if not text:
        return start
    try:
        return parse(text, stream_id)
    except MalformedOffsetError as error:
        message = f"{error}; send the id of the last event you have, or no offset to start over"
        raise InvalidOffsetError(message, stream_id=stream_id) from None


def accepts_sse(request: web.Request) -> bool:
    """Tell whether the client asks for server-sent events."""
    return "text/event-stream" in request.headers.get("Accept", "").lower()


def require_sse(request: web.Request) -> None:
    """Raise ``NotAcceptableError`` when the client rules server-sent events out."""
    accept = request.headers.get("Accept", "*/*").lower()
    if not any(kind in accept for kind in ("text/event-stream", "text/*", "*/*")):
        message = "this route answers with text/event-stream; accept that, or use ?mode=poll for JSON"
        raise NotAcceptableError(message)
