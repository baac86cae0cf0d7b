"""How hard a model is to think: the effort that a budget of tokens stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Effort = Literal["low", "medium", "high"]

_LOW_BELOW = 4_096
_MEDIUM_BELOW = 16_384


def effort_of(thinking: Mapping[str, Any] | None) -> Effort | None:
    """Return the effort that a request's ``thinking`` asks for; None where the model is to choose it.

    That is so for ``adaptive``, and for ``disabled`` or nothing: no wire of efforts has one that every model knows as
    not thinking at all.
    """
    if thinking is None or thinking["type"] != "enabled":
        return None
    budget = thinking["budget_tokens"]
    if budget < _LOW_BELOW:
        return "low"
    return "medium" if budget < _MEDIUM_BELOW else "high"


def thinks(thinking: Mapping[str, Any] | None) -> bool:
    """Tell whether a request asks for thoughts."""
    return thinking is not None and thinking["type"] != "disabled"
