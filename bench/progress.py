"""How far a run is, told where its result is not."""

from __future__ import annotations

import sys


def tell(text: str) -> None:
    """Write a line to standard error."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
