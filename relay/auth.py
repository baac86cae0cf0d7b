"""Who is asking: API keys map to tenants, and a key is compared by its digest in constant time."""

from __future__ import annotations

import hashlib
import hmac

from aiohttp import web

from shared.errors import UnauthorizedError
from shared.settings import Settings

LOCAL_TENANT = "local"


class Authenticator:
    """Finds the tenant of a request. Keeps digests only, so that no key can leak from here."""

    def __init__(self, settings: Settings) -> None:
        """Take the keys; without any, everybody is the one local tenant (the relay then listens on loopback only)."""
        self._digests = settings.key_digests()

    def tenant(self, request: web.Request) -> str:
        """Return the tenant whose key the request carries. Raises ``UnauthorizedError``."""
        return self.holder(_key_of(request))

    def holder(self, key: str) -> str:
        """Return the tenant whose key this is. Raises ``UnauthorizedError``."""
        if not self._digests:
            return LOCAL_TENANT
        given = hashlib.sha256(key.encode(errors="surrogateescape")).digest()
        found = None
        for tenant, digest in self._digests.items():  # always all of them: the time must not tell which matched
            if hmac.compare_digest(digest, given):
                found = tenant
        if found is None:
            message = "send a valid API key: 'Authorization: Bearer KEY' or 'x-api-key: KEY'"
            raise UnauthorizedError(message)
        return found

    def knows(self, tenant: str) -> bool:
        """Tell whether the tenant still has a key."""
        return tenant in self._digests if self._digests else tenant == LOCAL_TENANT


def _key_of(request: web.Request) -> str:
    """Return the API key in the request's headers, empty when there is none."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
