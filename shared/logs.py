"""Structured logging: one line per step of a life cycle, as key-values, to stderr."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from structlog.processors import JSONRenderer, TimeStamper, add_log_level, format_exc_info

from shared.settings import Settings

_ENCODER = msgspec.json.Encoder(enc_hook=repr)
_LEVELS = {"exception": "error", "warn": "warning"}
"""Of the calls that are not named like their level."""


def configure_logs(settings: Settings) -> None:
    """Send our events, and warnings of the libraries, to stderr in the chosen form. Call once per process."""
    level = logging.getLevelNamesMapping()[settings.log_level]
    steps: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_log_level,
        TimeStamper(fmt="iso"),
    ]
    finish: structlog.typing.Processor = JSONRenderer() if settings.log_json else structlog.dev.ConsoleRenderer()
    if settings.log_json:
        ours: list[structlog.typing.Processor] = [structlog.contextvars.merge_contextvars, _as_json]
        write: Callable[..., Any] = structlog.BytesLoggerFactory(file=sys.stderr.buffer)
    else:
        ours, write = [*steps, format_exc_info, finish], structlog.WriteLoggerFactory(file=sys.stderr)
    structlog.configure(
        processors=ours,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=write,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=steps,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                format_exc_info,
                finish,
            ],
        )
    )
    logging.getLogger("aiohttp.server").addFilter(_is_not_about_malformed_http)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)


def _as_json(logger: Any, name: str, event: structlog.typing.EventDict) -> bytes:
    """Return an event as a line of JSON, with its level and the time.

    It is what structlog's own processors make of text, numbers and lists, in three fifths of their time: a stream's
    start and end are five lines. What is not ASCII is escaped, since some of it ends a line or speaks to a terminal.
    """
    if "exc_info" in event:
        event = format_exc_info(logger, name, event)
    event["level"] = _LEVELS.get(name, name)
    event["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    with suppress(TypeError, ValueError):  # half a character, which only escapes can say, or an odd key
        if (line := _ENCODER.encode(event)).isascii():
            return line
    return json.dumps(event, default=repr, skipkeys=True).encode()


def _is_not_about_malformed_http(record: logging.LogRecord) -> bool:
    """Drop what aiohttp says of requests that are no HTTP: anybody can send those, and it quotes headers, keys too."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)
