"""The `openai` package for Node as it comes from npm, on Chat Completions: nothing of it is patched."""

from __future__ import annotations

from tests.clients.cutter import Cutter
from tests.clients.support_node import Node
from tests.support_services import Service


async def test_the_node_sdk_is_answered_as_by_openai(node: Node, relay: Service) -> None:
    """Answers, tools, errors, a cancel, a retry of its own that finds its stream, and a cut in the middle."""
    async with Cutter(relay.url, 0, 8000) as wire:
        told = {line.pop("name"): line for line in await node.run("openai-chat.mjs", relay.url, wire.url)}
    assert told == {
        "whole": {"text": "w0 w1 w2", "usage": 3},
        "streamed": {"text": "w0 w1 w2", "usage": 3},
        "tools": {"reason": "tool_calls", "calls": [{"name": "weather", "arguments": '{"city":"Graz"}'}]},
        "refused": {"is": True, "param": "n"},
        "failed": {"is": True, "code": "provider_error"},
        "cancelled": {"reasons": ["length"], "first": "w0", "ended": True},
        "retried": {"text": "w0 w1 w2", "streams": 1},
        "resumed": {"text": " ".join(f"w{number}" for number in range(60)), "resumes": 1},
    }
