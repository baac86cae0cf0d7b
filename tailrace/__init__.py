"""Tailrace for those who use it: the Python client here, the command line in ``tailrace.cli``."""

from shared.answer import Answer, Block
from shared.errors import TailraceError
from shared.events import (
    AttemptEvent,
    BlockStartEvent,
    BlockStopEvent,
    DataEvent,
    DeltaEvent,
    EndEvent,
    ErrorEvent,
    Event,
    ResetEvent,
    StartEvent,
    StepEvent,
    UnknownEvent,
    Usage,
    UsageEvent,
)
from tailrace.client import Client
from tailrace.client_errors import (
    AnswerFailedError,
    AnswerTimeoutError,
    ConnectionLostError,
    ServerTroubleError,
    UnexpectedAnswerError,
)
from tailrace.client_retry import Reconnect, Timeouts
from tailrace.client_stream import AnswerStream
from tailrace.client_types import ModelInfo, Page, StreamState

__all__ = [
    "Answer",
    "AnswerFailedError",
    "AnswerStream",
    "AnswerTimeoutError",
    "AttemptEvent",
    "Block",
    "BlockStartEvent",
    "BlockStopEvent",
    "Client",
    "ConnectionLostError",
    "DataEvent",
    "DeltaEvent",
    "EndEvent",
    "ErrorEvent",
    "Event",
    "ModelInfo",
    "Page",
    "Reconnect",
    "ResetEvent",
    "ServerTroubleError",
    "StartEvent",
    "StepEvent",
    "StreamState",
    "TailraceError",
    "Timeouts",
    "UnexpectedAnswerError",
    "UnknownEvent",
    "Usage",
    "UsageEvent",
]
