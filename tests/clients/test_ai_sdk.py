"""Vercel's AI SDK as it comes from npm, 6 and 7, unpatched: ``useChat``'s chat and ``WorkflowChatTransport``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from hypothesis import Phase, given, settings

from relay.dialects.ui_messages import AI_SDK_V6, AI_SDK_V7, WORKFLOW_V6, WORKFLOW_V7
from shared.entry import Entry
from tests.clients.support_node import Node
from tests.conftest import StartService
from tests.faults.links import Fate, Link
from tests.relay.dialects.random_logs import logs
from tests.relay.dialects.support import past_of, told
from tests.support import eventually
from tests.support_services import Service

DIALECTS = {"6": (AI_SDK_V6, WORKFLOW_V6), "7": (AI_SDK_V7, WORKFLOW_V7)}
versions = pytest.mark.parametrize("version", ["6", "7"])
FAST: dict[str, Any] = {"tokens": 20}
SLOW: dict[str, Any] = {"tokens": 60, "per_second": 60}
SLOWER: dict[str, Any] = {"tokens": 120, "per_second": 40}


def words(count: int) -> str:
    """Return what the simulated model says in so many tokens."""
    return " ".join(f"w{index}" for index in range(count))


def text(state: dict[str, Any]) -> str:
    """Return the text of the last message of a chat."""
    return "".join(part["text"] for part in state["messages"][-1]["parts"] if part["type"] == "text")


def is_whole(state: dict[str, Any], count: int) -> bool:
    """Tell whether a chat has its answer, once, in one message, with nothing that looks as if it still came."""
    parts = state["messages"][-1]["parts"]
    roles = [message["role"] for message in state["messages"]]
    streaming = [part for part in parts if part.get("state") == "streaming"]
    done = (state["status"], state["error"], roles) == ("ready", None, ["user", "assistant"])
    return done and text(state) == words(count) and not streaming


async def run(node: Node, version: str, scenario: str, url: str, script: dict[str, Any]) -> list[Any]:
    """Return what a scenario of ``ai_sdk.mjs`` has told."""
    return await node.run("ai_sdk.mjs", version, scenario, url, json.dumps(script))


@versions
async def test_a_plain_answer(node: Node, relay: Service, version: str) -> None:
    """Thinking and text, in one step, with the reason for the end."""
    (state,) = await run(node, version, "plain", relay.url, FAST | {"thinking": 3})
    assert is_whole(state, 20)
    answer = state["messages"][-1]
    assert answer["id"].startswith("msg_")
    assert [part["type"] for part in answer["parts"]] == ["step-start", "reasoning", "text"]
    assert answer["parts"][1]["providerMetadata"]["sim"]["signature"]
    assert state["finishes"] == [{"isAbort": False, "isError": False, "finishReason": "stop"}]


@versions
async def test_a_tool_of_the_pages_own(node: Node, relay: Service, version: str) -> None:
    """Its output goes back by itself, and the answer goes on in the same message: one, with two steps."""
    (state,) = await run(
        node, version, "tools", relay.url, {"tokens": 3, "tools": [{"name": "t", "input": {"a": [1]}}]}
    )
    assert (state["status"], state["error"]) == ("ready", None)
    assert [message["role"] for message in state["messages"]] == ["user", "assistant"]
    parts = state["messages"][-1]["parts"]
    assert [part["type"] for part in parts] == ["step-start", "text", "tool-t", "step-start", "text"]
    assert (parts[2]["state"], parts[2]["input"]) == ("output-available", {"a": [1]})
    assert parts[2]["output"] == {"degrees": 21, "asked": {"a": [1]}}
    assert parts[4]["text"].startswith("w0 w1")
    assert [finish["finishReason"] for finish in state["finishes"]] == ["tool-calls", "stop"]


@versions
async def test_an_answer_that_fails(node: Node, relay: Service, version: str) -> None:
    """The provider's sentence is the chat's error, after what there was of the text."""
    (state,) = await run(node, version, "plain", relay.url, FAST | {"fail_at": 10, "fault": "refused"})
    assert state["status"] == "error"
    assert "the script says so" in state["error"]


@versions
async def test_a_request_that_is_refused(node: Node, relay: Service, version: str) -> None:
    """Our sentence, as it is: no JSON around it."""
    (state,) = await run(node, version, "refused", relay.url, FAST)
    assert state["status"] == "error"
    assert state["error"] == "there is no model 'none'; GET /v1/models lists those there are"


@versions
async def test_a_stop_from_another_device(node: Node, relay: Service, version: str) -> None:
    """What there is of the answer stays, nothing fails, and nothing is left to resume."""
    answer, state, resumed = await run(node, version, "stop", relay.url, {"tokens": 500, "per_second": 50})
    assert answer == {"success": True}
    assert (state["status"], state["error"]) == ("ready", None)
    assert words(500).startswith(text(state))
    assert state["finishes"][0]["finishReason"] == ("other" if version == "6" else "interrupted")
    assert resumed["messages"] == state["messages"]


@versions
async def test_a_page_that_is_reloaded(node: Node, relay: Service, version: str) -> None:
    """Leaving is not stopping: the new page gets the answer from its start, and once it has ended, 204."""
    left, reloaded, again = await run(node, version, "reload", relay.url, SLOW)
    assert 0 < len(text(left)) < len(words(60))
    assert is_whole(reloaded, 60)
    assert reloaded["messages"][-1]["id"] == left["messages"][-1]["id"]
    assert again["messages"] == reloaded["messages"]


@pytest.fixture
def port(relay: Service) -> int:
    """Give the relay's port."""
    found = urlsplit(relay.url).port
    assert found is not None
    return found


def cuts(*after_bytes: int) -> Any:
    """Return what has the first connections cut after so many bytes each, and no later one."""
    left = [Fate("cut", count) for count in after_bytes]
    return lambda: left.pop(0) if left else None


@versions
async def test_a_connection_cut_in_the_middle(node: Node, port: int, version: str) -> None:
    """The chat is in error, with what it has; asked to resume, it has all of it, in the same message."""
    async with Link(lambda: [port]) as link:
        link.draw = cuts(4000)
        cut, state = await run(node, version, "survive", f"http://127.0.0.1:{link.port}", SLOW)
        assert link.struck == 1
    assert cut["status"] == "error"
    assert 0 < len(text(cut)) < len(words(60))
    assert is_whole(state, 60)
    assert state["messages"][-1]["id"] == cut["messages"][-1]["id"]


@versions
async def test_a_relay_drained_under_both(
    node: Node, version: str, relay_process: StartService, worker_process: StartService
) -> None:
    """The chat is in error, never silently short, and resumes at another relay; the run just goes on there."""
    sim = {"TAILRACE_SIM": "true", "TAILRACE_RELAY_DRAIN_S": "0.5"}
    services = [relay_process(**sim), relay_process(**sim), worker_process(**sim)]
    leaving, staying, _ = [await service.ready() for service in services]
    ports = [urlsplit(service.url).port or 0 for service in (leaving, staying)]
    async with Link(lambda: ports) as link, asyncio.TaskGroup() as group:
        url = f"http://127.0.0.1:{link.port}"
        chat, flow = (group.create_task(run(node, version, one, url, SLOWER)) for one in ("survive", "workflow"))
        await eventually(lambda: are_running(leaving.url, 2), deadline_s=20)
        leaving.terminate()
        await asyncio.wait({chat, flow})
    left, resumed = chat.result()
    assert left["status"] == "error"
    assert 0 < len(text(left)) < len(words(120))
    assert is_whole(resumed, 120)
    assert is_whole(flow.result()[0], 120)


async def are_running(url: str, count: int) -> bool:
    """Tell whether so many streams are running."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/streams") as response:
        streams = (await response.json())["streams"]
    return [stream["status"] for stream in streams] == ["running"] * count


@versions
async def test_a_run_comes_back_by_itself(node: Node, port: int, version: str) -> None:
    """Cut three times, by a count of chunks: every word once, and nobody had to ask."""
    async with Link(lambda: [port]) as link:
        link.draw = cuts(3000, 2500, 2000)
        (state,) = await run(node, version, "workflow", f"http://127.0.0.1:{link.port}", SLOW)
        assert link.struck == 3
    assert is_whole(state, 60)


@versions
async def test_the_end_of_a_run_alone(node: Node, relay: Service, version: str) -> None:
    """A negative index in the middle of a text begins with that text's start, and what follows is not lost."""
    (state,) = await run(node, version, "tail", relay.url, SLOW)
    assert (state["status"], state["error"]) == ("ready", None)
    assert text(state) == words(60)


@settings(max_examples=60, phases=[Phase.generate], database=None)
@given(entries=logs())
def _note(told_of: dict[str, list[str]], entries: list[Entry]) -> None:
    """Note what readers of every dialect are told of a random log."""
    for version, dialects in DIALECTS.items():
        for dialect in dialects:
            for past in (None, past_of(dialect, entries)):
                frames = told(dialect, entries, past=past)
                told_of[version].append(json.dumps([frame.event.data.decode() for frame in frames]))


@versions
async def test_every_chunk_is_one_that_the_sdk_knows(node: Node, tmp_path: Path, version: str) -> None:
    """Checked by its own schema, and each stream read by its own reader, over random logs."""
    told_of: dict[str, list[str]] = {"6": [], "7": []}
    _note(told_of)
    streams = tmp_path / "streams.jsonl"
    streams.write_text("\n".join(told_of[version]))
    (found,) = await node.run("ui_chunks.mjs", version, str(streams))
    assert found["problems"] == []
    assert found["streams"] == len(told_of[version])
    assert found["chunks"] > 500
