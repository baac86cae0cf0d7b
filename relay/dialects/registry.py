"""The dialects by name, for ``?format=``."""

from __future__ import annotations

from collections.abc import Mapping

from relay.dialects.anthropic_messages import ANTHROPIC
from relay.dialects.chat_completions import CHAT, CHAT_WITH_USAGE
from relay.dialects.dialect import Dialect
from relay.dialects.responses import RESPONSES
from relay.dialects.ui_messages import AI_SDK_V6, AI_SDK_V7
from shared.errors import InvalidRequestError

_DIALECTS: tuple[Dialect, ...] = (
    ANTHROPIC,
    CHAT,
    CHAT_WITH_USAGE,
    RESPONSES,
    AI_SDK_V6,
    AI_SDK_V7,
)
DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in _DIALECTS}


def dialect_named(name: str) -> Dialect:
    """Return the dialect of that name. Raises ``InvalidRequestError`` with the names there are."""
    dialect = DIALECTS.get(name)
    if dialect is None:
        message = f"format must be native or one of {', '.join(DIALECTS)}"
        raise InvalidRequestError(message, field="format")
    return dialect
