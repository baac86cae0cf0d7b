"""Signed links: who has one may read one stream for a short while, with nothing else to show, as EventSource must.

A token is its expiry and a signature over the stream's id and that expiry. It is signed with a key in the stream's
record (all relays of one Redis share it; forgetting it revokes all links of the stream) and ``link_secret``. Tokens
are never logged and never repeated in an answer but the one that made them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from base64 import urlsafe_b64encode
from typing import NamedTuple

from aiohttp import web

from relay.auth import Authenticator
from relay.state import owned_record
from shared.errors import GoneError, NotFoundError, UnauthorizedError
from shared.link_keys import LinkKeys
from shared.offset import NO_ENTRY, is_stream_id
from shared.settings import Settings
from shared.stream_log import StreamLog

_TOKEN = re.compile(r"([0-9]{1,15})\.[A-Za-z0-9_-]{43}")
_NOT_GOOD = (
    "this link is not good for this stream: it was revoked, altered, or made for another one; "
    "ask for a new one with POST /v1/streams/{id}/links"
)


class Link(NamedTuple):
    """A way to read one stream until ``expires_ms`` (Unix milliseconds)."""

    token: str
    expires_ms: int


class Reader(NamedTuple):
    """Who may read a stream: its tenant, or whoever has a link of the tenant's, until ``expires_ms``."""

    tenant: str
    expires_ms: int | None = None

    def left_s(self) -> float | None:
        """Return for how long; None: without an end."""
        return None if self.expires_ms is None else max(self.expires_ms / 1000 - time.time(), 0.0)


class Links:
    """Makes links, revokes them, and lets their holders in. Raises ``RedisError``."""

    def __init__(self, settings: Settings, stream_log: StreamLog, keys: LinkKeys, authenticator: Authenticator) -> None:
        """Keep the streams' keys in ``keys``."""
        self._secret = b"" if settings.link_secret is None else settings.link_secret.get_secret_value().encode()
        self._log = stream_log
        self._keys = keys
        self._authenticator = authenticator

    async def make(self, stream_id: str, tenant: str, lasts_s: float) -> Link:
        """Return a link to a stream of ``tenant``. Raises ``NotFoundError``, or ``GoneError`` without its log."""
        await owned_record(self._log, stream_id, tenant)
        if await self._log.tail(stream_id) == NO_ENTRY:
            message = "the stream's log has expired or was deleted; start a new stream"
            raise GoneError(message, stream_id=stream_id)
        key = await self._keys.of(stream_id)
        if not key:
            message = "there is no such stream any more"
            raise NotFoundError(message)
        expires_ms = round((time.time() + lasts_s) * 1000)
        return Link(f"{expires_ms}.{self._signature(key, stream_id, expires_ms)}", expires_ms)

    async def revoke(self, stream_id: str, tenant: str) -> None:
        """Have no link work that was made before now. Readers who are in stay until their links expire.

        Raises ``NotFoundError``.
        """
        await owned_record(self._log, stream_id, tenant)
        await self._keys.forget(stream_id)

    async def reader(self, request: web.Request, stream_id: str) -> Reader:
        """Return who asks to read: by ``?token=`` where there is one, else by API key. Raises ``UnauthorizedError``."""
        token = request.query.get("token")
        if token is None:
            return Reader(self._authenticator.tenant(request))
        return await self.holder(token, stream_id)

    async def holder(self, token: str, stream_id: str) -> Reader:
        """Return what the link with this token lets its holder read. Raises ``UnauthorizedError``."""
        found = _TOKEN.fullmatch(token)
        if found is None or not is_stream_id(stream_id):
            raise UnauthorizedError(_NOT_GOOD)
        expires_ms = int(found[1])
        if expires_ms <= time.time() * 1000:
            message = "this link has expired; ask for a new one with POST /v1/streams/{id}/links"
            raise UnauthorizedError(message)
        record = await self._log.record(stream_id)
        if record is None or not record.link_key or not self._authenticator.knows(record.tenant):
            raise UnauthorizedError(_NOT_GOOD)
        expected = f"{expires_ms}.{self._signature(record.link_key, stream_id, expires_ms)}"
        if not hmac.compare_digest(token, expected):
            raise UnauthorizedError(_NOT_GOOD)
        return Reader(record.tenant, expires_ms)

    def _signature(self, key: str, stream_id: str, expires_ms: int) -> str:
        """Return the signature of a link. A key has always the same length, so that it cannot pass for the secret."""
        signed = f"tailrace link 1 {stream_id} {expires_ms}".encode()
        digest = hmac.digest(self._secret + key.encode(), signed, hashlib.sha256)
        return urlsafe_b64encode(digest).decode().rstrip("=")
