"""A stream's record: what is known of it beside its events."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

_json = msgspec.json


@dataclass(frozen=True, slots=True)
class Record:
    """The record as stored. ``request`` is erased when the stream ends, ``metadata`` when it is deleted."""

    tenant: str
    model: str
    provider: str
    created_ms: int
    max_tokens: int
    metadata: dict[str, str]
    request: bytes
    """The request's JSON, empty once the stream has ended."""
    when_abandoned_s: float | None = None
    """Seconds without a viewer after which the stream is cancelled; None: never."""
    idempotency: str = ""
    """The Redis key that remembers the client's idempotency key, empty if it gave none."""
    body_hash: str = ""
    """What is remembered there of the request, to tell it from another one under the same key."""
    kept: bool = False
    """Whether more is kept of the request, beyond the end; see ``shared/kept_requests.py``."""
    status: str = "queued"
    attempt: int = 0
    """The latest attempt's number: it only grows, but leaps where Redis may have lost attempts."""
    attempts: int = 0
    """How many attempts there have been."""
    token: str = ""
    worker: str = ""
    cancel_ms: int = 0
    ended_ms: int = 0
    link_key: str = field(default="", repr=False)
    """What the stream's signed links are made with, empty if it has none: see ``shared/link_keys.py``."""

    def to_fields(self) -> list[str | bytes | int]:
        """Return the fields and values of the Redis hash that holds the record, but no ``link_key``."""
        fields: dict[str, str | bytes | int] = {
            "tenant": self.tenant,
            "model": self.model,
            "provider": self.provider,
            "created_ms": self.created_ms,
            "max_tokens": self.max_tokens,
            "metadata": _json.encode(self.metadata),
            "request": self.request,
            "when_abandoned_s": "" if self.when_abandoned_s is None else str(self.when_abandoned_s),
            "idempotency": self.idempotency,
            "status": self.status,
            "attempt": self.attempt,
            "attempts": self.attempts,
        }
        later: dict[str, str | int] = {
            "token": self.token,
            "worker": self.worker,
            "cancel": self.cancel_ms,
            "ended_ms": self.ended_ms,
            "body_hash": self.body_hash,
            "kept": int(self.kept),
        }
        fields |= {name: value for name, value in later.items() if value}
        return [part for pair in fields.items() for part in pair]

    @classmethod
    def from_fields(cls, found: dict[bytes, bytes]) -> Record:
        """Return the record in a Redis hash."""
        text = {name.decode(): value for name, value in found.items()}
        abandoned = text.get("when_abandoned_s", b"")
        return cls(
            tenant=text["tenant"].decode(),
            model=text["model"].decode(),
            provider=text["provider"].decode(),
            created_ms=int(text["created_ms"]),
            max_tokens=int(text["max_tokens"]),
            metadata=_json.decode(text.get("metadata", b"{}"), type=dict[str, str]),
            request=text.get("request", b""),
            when_abandoned_s=float(abandoned) if abandoned else None,
            idempotency=text.get("idempotency", b"").decode(),
            body_hash=text.get("body_hash", b"").decode(),
            kept=text.get("kept", b"") == b"1",
            status=text.get("status", b"queued").decode(),
            attempt=int(text.get("attempt", 0)),
            attempts=int(text.get("attempts", text.get("attempt", 0))),
            token=text.get("token", b"").decode(),
            worker=text.get("worker", b"").decode(),
            cancel_ms=int(text.get("cancel", 0)),
            ended_ms=int(text.get("ended_ms", 0)),
            link_key=text.get("link_key", b"").decode(),
        )
