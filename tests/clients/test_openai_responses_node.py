"""The `openai` package for Node as it comes from npm, on the Responses API: nothing of it is patched."""

from __future__ import annotations

from tests.clients.cutter import Cutter
from tests.clients.support_node import Node
from tests.support_services import Service


async def test_the_node_sdk_is_answered_as_by_openai(node: Node, relay: Service) -> None:
    """Answers, a chain, tools, errors, a cancel, and a cut that its own helper goes on from."""
    async with Cutter(relay.url, 8000) as wire:
        told = {line.pop("name"): line for line in await node.run("openai-responses.mjs", relay.url, wire.url)}
    assert told == {
        "whole": {"text": "w0 w1 w2", "status": "completed"},
        "chained": {"text": "w0 w1", "items": ["user", "assistant", "user"]},
        "tools": {"thought": "t0 t1 ", "call": '{"city":"Graz"}'},
        "refused": {"is": True, "param": "truncation"},
        "failed": {"status": "failed", "code": "server_error"},
        "cancelled": {"status": "cancelled"},
        "resumed": {"text": " ".join(f"w{number}" for number in range(60)), "cuts": 1, "whole": True},
    }
