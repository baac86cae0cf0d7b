"""The SDKs for Node as they come from npm, unpatched, each with a stream running on a relay that is drained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.clients.support_node import Node
from tests.conftest import StartService
from tests.support import Process, eventually


async def test_a_relay_that_leaves_cuts_every_sdk_and_each_goes_on_at_another(
    node: Node, relay_process: StartService, worker_process: StartService, tmp_path: Path
) -> None:
    """An error, never a silent end; then the rest, and only the rest, by the dialect's own way to resume."""
    settings = {"TAILRACE_SIM": "true", "TAILRACE_RELAY_DRAIN_S": "0.5"}
    services = [relay_process(**settings), relay_process(**settings), worker_process(**settings)]
    leaving, staying, _ = [await service.ready() for service in services]
    script = Process(node.command("drained.mjs", leaving.url, staying.url), tmp_path / "node.log").start()
    try:
        await eventually(lambda: script.output().count('"name":"begun"') == 3, 20)
        leaving.terminate()
        assert await script.ended(30) == 0, script.tail()
    finally:
        script.end()
    assert await leaving.ended() == 0
    told: list[dict[str, Any]] = [json.loads(line) for line in script.output().splitlines()]
    text = " ".join(f"w{number}" for number in range(120))
    found = {line.pop("name"): line for line in told if line["name"] != "begun"}
    resumed = {"cut": True, "begun": True, "rest": True, "same": True, "text": text}
    assert found == {"messages": resumed, "chat": resumed, "responses": resumed}
