"""JSON answers, and errors: in one shape, but for the routes of dialects that have their own."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any

import msgspec
import structlog
from aiohttp import web
from redis.exceptions import RedisError

from shared.errors import (
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    TailraceError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)
from shared.metrics import HTTP_ERRORS

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ErrorShape = Callable[[TailraceError], web.Response]
ERROR_SHAPES: web.AppKey[dict[str, ErrorShape]] = web.AppKey("error_shapes", dict)
"""How errors are told: by what the path of a dialect's route begins with, or by a header that only its clients send."""
_BY_STATUS: dict[int, TailraceError] = {
    404: NotFoundError("there is no such route; /openapi.json lists those there are"),
    405: MethodNotAllowedError("this route has other methods; /openapi.json lists them"),
    413: TooLargeError("the request body is over this service's limit"),
}


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON answer that nobody may cache or sniff."""
    safe = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(
        body=msgspec.json.encode(body), status=status, headers=safe | (headers or {}), content_type="application/json"
    )


def stream_headers(stream_id: str) -> dict[str, str]:
    """Return the headers every answer about a stream has."""
    return {"X-Stream-Id": stream_id, "Location": f"/v1/streams/{stream_id}"}


def error_headers(error: TailraceError) -> dict[str, str]:
    """Return the headers of an error's answer, whatever its body: where it knows when to come back, ``Retry-After``."""
    headers = {} if error.stream_id is None else stream_headers(error.stream_id)
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def error_answer(error: TailraceError) -> web.Response:
    """Return the answer for an error in the native shape."""
    return json_answer(error.body(), error.status, error_headers(error))


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure in the shape of its route; a defect of ours is logged and told without details."""
    headers: dict[str, str] = {}
    try:
        return await handler(request)
    except TailraceError as error:
        told = error
    except web.HTTPException as error:
        if error.status < 400:  # noqa: PLR2004 - a redirect is an answer
            raise
        told = _BY_STATUS.get(error.status, InvalidRequestError("the request is not valid HTTP for this route"))
        if isinstance(error, web.HTTPMethodNotAllowed):
            headers["Allow"] = error.headers["Allow"]
    except (RedisError, OSError) as error:
        log.warning("request.redis_lost", error=type(error).__name__, path=request.path)
        told = UnavailableError("the service's memory does not answer; try again shortly", retry_after_s=1)
    except Exception:
        log.exception("request.failed", method=request.method, path=request.path)
        told = InternalError("something went wrong here; the request may be repeated")
    HTTP_ERRORS.labels(told.code).inc()
    answer = _shape_for(request)(told)
    answer.headers.update(headers)
    return answer


def _shape_for(request: web.Request) -> ErrorShape:
    """Return how an error is told there: as its dialect does, or, of a route for all, as the client's header asks."""
    shapes = request.app[ERROR_SHAPES]
    by_path = (shape for mark, shape in shapes.items() if mark.startswith("/") and request.path.startswith(mark))
    by_header = (shape for mark, shape in shapes.items() if not mark.startswith("/") and mark in request.headers)
    return next(chain(by_path, by_header), error_answer)


def refuse_expectations(runner: web.AppRunner) -> None:
    """Answer requests that expect anything but to be told to go on; call after ``runner.setup()``.

    aiohttp looks at ``Expect`` before any middleware, and fails with a 500 of its own where it is no text.
    """
    server = runner.server
    assert server is not None
    handle = server.request_handler

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", "100-continue").lower() == "100-continue":
            return await handle(request)
        told = InvalidRequestError(
            "this service meets no expectation but 100-continue; send the request without Expect"
        )
        HTTP_ERRORS.labels(told.code).inc()
        return error_answer(told)

    server.request_handler = handler
