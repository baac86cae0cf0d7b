"""What tests ask of a parent and its children: who they are, whether they serve, and what they count together."""

from __future__ import annotations

from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.support import Process, eventually
from tests.tailrace.local_support import children


def processes(parent: Process) -> dict[int, int]:
    """Return the number and process id of each child that runs."""
    started = {int(said["process"]): int(said["pid"]) for said in named(parent, "process.started")}
    return {number: pid for number, pid in started.items() if pid in children(parent.pid)}


def named(parent: Process, event: str) -> list[dict[str, Any]]:
    """Return the log lines of parent and children whose event is this."""
    return [fields for fields in parent.events() if fields.get("event") == event]


async def all_say(parent: Process, event: str, count: int) -> None:
    """Wait until ``event`` has been logged so often, as by each child once it serves."""
    await eventually(lambda: len(named(parent, event)) >= count, 20, f"{count} times {event}")


async def metrics(url: str) -> dict[str, float]:
    """Return the value of every sample, by a new connection: name and label values, joined by spaces."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        assert answer.status == 200, await answer.text()
        families = list(text_string_to_metric_families(await answer.text()))
    return {" ".join((one.name, *one.labels.values())): one.value for family in families for one in family.samples}
