"""What can be asked for an answer: how each system is asked, and which processes pay for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Shape = Literal["messages", "tutorial", "tailrace"]

_PATHS: dict[Shape, str] = {"messages": "/v1/messages", "tutorial": "/chat", "tailrace": "/v1/streams"}


@dataclass(frozen=True)
class Target:
    """One system. ``at`` gives it its place."""

    name: str
    title: str
    """As a person reads it."""
    shape: Shape
    port: int = 0
    pids: Mapping[str, int] = field(default_factory=dict, compare=False)
    """The processes whose CPU time, and whose children's, is its price, by what they are."""

    def at(self, port: int, pids: Mapping[str, int]) -> Target:
        """Return the target as it runs: on a loopback port, paid for by these processes."""
        return replace(self, port=port, pids=pids)

    def request(self, tokens: int, per_second: float) -> bytes:
        """Return the HTTP request for an answer of that many tokens at that pace."""
        body = json.dumps(self._body(json.dumps({"tokens": tokens, "per_second": per_second}))).encode()
        head = (
            f"POST {_PATHS[self.shape]} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\nconnection: close\r\n"
            f"accept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _body(self, text: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": text}]
        match self.shape:
            case "messages":
                return {"model": "bench", "max_tokens": 32_000, "stream": True, "messages": messages}
            case "tutorial":
                return {"message": text}
            case "tailrace":
                return {"model": "bench", "max_tokens": 32_000, "messages": messages}


DIRECT = Target("direct", "the provider read directly", "messages")
PROXY = Target("proxy", "bare aiohttp pass-through", "messages")
TUTORIAL = Target("tutorial", "FastAPI + SDK tutorial", "tutorial")
SDK_SERVER = Target("sdk", "bare create(stream=True) server", "messages")
TAILRACE = Target("tailrace", "Tailrace", "tailrace")
AS_MESSAGES = Target("messages", "Tailrace in the Messages dialect", "messages")
OURS = (TAILRACE, AS_MESSAGES)
"""One running system, asked in two dialects."""
