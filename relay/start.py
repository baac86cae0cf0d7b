"""Starting a stream: what a request must be for that, what it is answered, and what a repeated one is led to."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, replace

import structlog

from relay.start_order import StartOrder
from shared.admission import Admitted, Applicant
from shared.errors import (
    ConflictError,
    InvalidRequestError,
    LimitError,
    OverloadedError,
    UnavailableError,
    UnknownModelError,
)
from shared.expressible import refuse_unsupported
from shared.metrics import STREAMS_STARTED
from shared.models import Model
from shared.offset import new_stream_id
from shared.record import Record
from shared.request import CancelAfter, StreamRequest
from shared.settings import Settings
from shared.stream_log import StreamLog

log = structlog.get_logger()

MAX_KEY_LENGTH = 256
_UNSETTLED_S = 0.1


@dataclass(frozen=True)
class Started:
    """A stream that exists; ``attached`` when an idempotency key led to one that had been started before."""

    stream_id: str
    attached: bool
    record: Record


class Starter:
    """Starts streams. Raises ``RedisError`` when Redis is away; with the same key a request is safe to repeat."""

    def __init__(self, settings: Settings, order: StartOrder, stream_log: StreamLog) -> None:
        """Start by ``order``, and look in ``stream_log`` for what a repeated request has started."""
        self._settings = settings
        self._order = order
        self._log = stream_log

    async def start(
        self,
        tenant: str,
        request: StreamRequest,
        idempotency_key: str | None,
        keep: bytes | None = None,
        *,
        followed: bool = False,
    ) -> Started:
        """Start a stream, or return the one that the key started before. ``keep`` is kept for as long as its log.

        ``followed``: a subscription of it, here and from its start, comes next.
        Raises ``UnknownModelError``, ``InvalidRequestError``, ``ConflictError``, ``LimitError``, ``OverloadedError``,
        ``UnavailableError``.
        """
        if idempotency_key is not None and not _is_key(idempotency_key):
            message = f"Idempotency-Key must be text of 1 to {MAX_KEY_LENGTH} printable characters"
            raise InvalidRequestError(message)
        name, model = self.model_named(request.model)
        if request.provider is not None and request.provider != model.provider:
            message = f"model {name!r} is served by provider {model.provider!r}, not {request.provider!r}"
            raise UnknownModelError(message)
        refuse_unsupported(model, request)
        body = request.model_dump_json(exclude_unset=True).encode()
        body_hash = hashlib.sha256(body).hexdigest()
        applicant = Applicant(new_stream_id(), tenant, idempotency_key, body_hash, round(time.time() * 1000))
        record = self._record(applicant, request, body, name, model)
        admitted, made = await self._begin(applicant, record, keep, followed=followed)
        _refuse(applicant, admitted)
        attached = admitted.status == "repeated"
        if attached and (found := await self._log.record(admitted.stream_id)) and found.status != "queued":
            return Started(admitted.stream_id, attached=True, record=found)
        found = replace(record, created_ms=admitted.created_ms)
        if not made:
            found = await self._order.finish(admitted.stream_id, found, keep, new=not attached)
        if not attached:
            STREAMS_STARTED.inc()
        log.info("stream.started", stream=admitted.stream_id, tenant=tenant, model=name, attached=attached)
        if found is None:
            message = "the stream was started but cannot be read yet; follow it with GET"
            raise UnavailableError(message, retry_after_s=1, stream_id=admitted.stream_id)
        return Started(admitted.stream_id, attached, found)

    async def _begin(
        self, applicant: Applicant, record: Record, keep: bytes | None, *, followed: bool
    ) -> tuple[Admitted, bool]:
        """Begin; after a restart or failover of Redis, once it is certain what the key stands for."""
        deadline_s = time.monotonic() + 2 * self._settings.lease_s
        while (begun := await self._order.begin(applicant, record, keep, followed=followed))[0].status == "unsettled":
            if time.monotonic() > deadline_s:
                message = (
                    "Redis has just restarted, and this Idempotency-Key cannot be looked up yet; try again shortly"
                )
                raise OverloadedError(message, retry_after_s=1)
            await asyncio.sleep(_UNSETTLED_S)
        return begun

    def model_named(self, asked: str | None) -> tuple[str, Model]:
        """Return the model of that name, of None the default, and its name. Raises ``UnknownModelError``."""
        offered = self._settings.offered_models()
        if not offered:
            message = (
                "no models are configured: set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY, or TAILRACE_MODELS"
            )
            raise UnknownModelError(message)
        name = asked or self._settings.default_model or next(iter(offered))
        model = offered.get(name)
        if model is None:
            message = f"there is no model {name!r}; GET /v1/models lists those there are"
            raise UnknownModelError(message)
        return name, model

    def _record(self, applicant: Applicant, request: StreamRequest, body: bytes, name: str, model: Model) -> Record:
        """Return the record of a new stream, whose request is ``body`` as JSON."""
        asked = request.max_tokens or min(self._settings.max_tokens_default, model.max_tokens)
        when = request.when_abandoned
        limits: dict[str, float | None] = {"continue": None, "cancel": self._settings.abandon_grace_s}
        return Record(
            tenant=applicant.tenant,
            model=name,
            provider=model.provider,
            created_ms=applicant.created_ms,
            max_tokens=min(asked, model.max_tokens, self._settings.max_tokens_cap),
            metadata=request.metadata,
            request=body,
            when_abandoned_s=when.cancel_after_s if isinstance(when, CancelAfter) else limits[when],
            idempotency=applicant.remembered,
            body_hash=applicant.body_hash if applicant.remembered else "",
        )


def _refuse(applicant: Applicant, admitted: Admitted) -> None:
    """Raise what a start that was not admitted is answered, unless it is a repeat of the same request."""
    if admitted.status == "tenant full":
        message = "this API key has as many queued and running streams as it may have; wait for one to end"
        raise LimitError(message, retry_after_s=2)
    if admitted.status == "full":
        message = "the service is running as many streams as it can; try again shortly"
        raise OverloadedError(message, retry_after_s=2)
    if admitted.body_hash != applicant.body_hash:
        message = "this Idempotency-Key was used for a different request; use a new key for a new request"
        raise ConflictError(message, stream_id=admitted.stream_id)


def _is_key(text: str) -> bool:
    """Tell whether ``text`` will do as an idempotency key; bytes that are no text do not survive encoding."""
    return 0 < len(text) <= MAX_KEY_LENGTH and text.isprintable()
