"""The ``@anthropic-ai/sdk`` package for Node as it comes from npm: nothing of it is patched."""

from __future__ import annotations

from tests.clients.cutter import Cutter
from tests.clients.support_node import Node
from tests.support_services import Service


async def test_the_node_sdk_is_answered_as_by_anthropic(node: Node, relay: Service) -> None:
    """Answers, thinking, tools, errors, a cancel, a retry of its own, and a cut in the middle."""
    async with Cutter(relay.url, 0, 8000) as wire:
        told = {line.pop("name"): line for line in await node.run("anthropic.mjs", relay.url, wire.url)}
    call = {"type": "tool_use", "name": "weather", "input": {"city": "Graz"}}
    assert told == {
        "whole": {"text": "w0 w1 w2", "reason": "end_turn", "usage": 3},
        "streamed": {"text": "w0 w1 w2", "thinking": "t0 t1 ", "signature": "sim-signature-0"},
        "tools": {"reason": "tool_use", "call": call},
        "refused": {"is": True, "type": "invalid_request_error"},
        "failed": {"is": True, "type": "invalid_request_error"},
        "cancelled": {"reason": "cancelled"},
        "retried": {"text": "w0 w1 w2", "streams": 1},
        "resumed": {"text": " ".join(f"w{number}" for number in range(60)), "resumes": 1, "last": "message_stop"},
        "replayed": {"same": True},
    }
