"""Close codes: which range one is in says whether to come back, so that a client need not know them all."""

from __future__ import annotations

from enum import IntEnum

from shared.errors import TailraceError

_LATER = 4100
_NEVER = 4400


class CloseCode(IntEnum):
    """Why the relay closed. 4000 to 4099: come back at once; 4100 to 4199: later; 4400 to 4499: not as before.

    Those for errors end like the error's HTTP status: 4401 is for what a plain request is answered with 401.
    """

    DRAINING = 4000
    """The relay is about to go. Others are there."""
    NOT_JSON = 4400
    """A message was no JSON text."""


def close_code_of(error: TailraceError) -> int:
    """Return the code by which a socket is closed, or never opened, for ``error``."""
    return (_LATER if error.retryable else _NEVER) + error.status % 100
