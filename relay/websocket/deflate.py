"""Compression of sockets (permessage-deflate): who gets it, and with how small a window."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

_OFFER = re.compile(r"permessage-deflate(?![^,;\s])([^,]*)")
_WINDOW = re.compile(r"server_max_window_bits\s*=\s*\"?(\d{1,3})")
_BITS = 13
"""The window: 8 KiB hold the last fifty messages, which is what the next one has most in common with. With twice that
nothing is gained; with half of it the same takes twice the time, since more has to be found anew."""
_LEAST_BITS = 9
"""zlib has no smaller window."""


class Deflate:
    """Gives so many sockets at a time a compressor; the others send as it is."""

    def __init__(self, most: int) -> None:
        """Take how many."""
        self._left = most

    @contextmanager
    def agreed(self, offers: str) -> Iterator[str]:
        """Return the offer to accept out of a client's, empty for none; counted while the block runs.

        A server may lay down the window of what it sends whether or not the client has named one (RFC 7692, 7.1.2.1).
        """
        offer = self._offer(offers) if self._left > 0 else ""
        if not offer:
            yield ""
            return
        self._left -= 1
        try:
            yield offer
        finally:
            self._left += 1

    def _offer(self, offers: str) -> str:
        """Return the first offer that can be met, in our own words."""
        for found in _OFFER.finditer(offers):
            asked = _WINDOW.search(found[1])
            bits = min(int(asked[1]), _BITS) if asked else _BITS
            if bits >= _LEAST_BITS:
                takeover = "; server_no_context_takeover" if "server_no_context_takeover" in found[1] else ""
                return f"permessage-deflate{takeover}; server_max_window_bits={bits}"
        return ""
