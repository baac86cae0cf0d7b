"""The ``tailrace`` command as a person uses it: real processes, pipes, a terminal and Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from shared.client_settings import ClientSettings
from shared.settings import Settings
from tests.support import ROOT, Process, clean_environment, eventually, free_port
from tests.tailrace.far_relay import (
    STREAM_ID,
    FarRelay,
    answer,
    answer_events,
    cut,
    event,
    hang,
    mute,
    offset,
    refuse,
)

TAILRACE = [sys.executable, "-m", "tailrace"]
DEADLINE_S = 30


class Run(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


async def tailrace(*arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Run:
    """Run the command to its end."""
    process = await asyncio.create_subprocess_exec(
        *TAILRACE,
        *arguments,
        cwd=ROOT,
        env=clean_environment(env),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), DEADLINE_S)
    assert process.returncode is not None
    assert "Traceback" not in err.decode(), err.decode()
    return Run(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def url(relay: FarRelay) -> str:
    """Give the address of a relay that behaves unless told otherwise."""
    return relay.url


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start commands that are to be interrupted; their stdout and stderr go to one file."""
    started: list[Process] = []

    def start(*arguments: str) -> Process:
        log = tmp_path / f"{len(started)}.log"
        started.append(Process([*TAILRACE, *arguments], log).start())
        return started[-1]

    yield start
    for process in started:
        process.end()


# Asking


async def test_ask_prints_the_answer_and_nothing_else(url: str) -> None:
    """What a script can use as it is."""
    assert await tailrace("ask", "Hi", "--url", url) == Run(0, "Hello, world\n", "")


async def test_ask_takes_its_question_from_stdin_and_the_rest_from_options_and_environment(relay: FarRelay) -> None:
    """An option for what is asked, the environment for where and as whom."""
    env = {"TAILRACE_URL": relay.url, "TAILRACE_API_KEY": "k-1"}
    run = await tailrace("ask", "-", "--model", "sim", "--system", "Be brief.", stdin="Wie groß?".encode(), env=env)
    assert run.code == 0
    (asked,) = relay.asked
    assert asked.headers["Authorization"] == "Bearer k-1"
    assert asked.body == {
        "messages": [{"role": "user", "content": "Wie groß?"}],
        "model": "sim",
        "system": "Be brief.",
    }


async def test_ask_prints_events_as_json_lines(url: str, relay: FarRelay) -> None:
    """One line per event, with the offset from which to go on."""
    run = await tailrace("ask", "Hi", "--json", "--url", url)
    lines = [json.loads(line) for line in run.out.splitlines()]
    assert lines == [{"id": place, "event": data["type"], "data": data} for place, data in relay.log]


async def test_a_cut_is_noted_on_stderr_and_leaves_no_mark_on_the_answer(url: str, relay: FarRelay) -> None:
    """A reader of stdout does not notice."""
    relay.replies.append(cut(len(relay.body()) - 200, "lose"))
    run = await tailrace("ask", "Hi", "--url", url)
    assert (run.code, run.out) == (0, "Hello, world\n")
    assert "connection was lost" in run.err
    assert "trying again" in run.err


async def test_a_reset_is_told_where_the_answer_is_read(url: str, relay: FarRelay) -> None:
    """What was printed cannot be taken back: the line between the two tellings says so."""
    events = answer_events("Hel")
    reset = event("reset", keep_blocks=0, reason="restarted")
    relay.tell([*events[:4], reset, *answer_events("Hello again")[2:]])
    run = await tailrace("ask", "Hi", "--url", url)
    first, line, second = run.out.splitlines()
    assert (first, second) == ("Hel", "Hello again")
    assert "void" in line
    assert "restarted" in line


async def test_a_tool_call_is_said_apart_from_the_text(url: str, relay: FarRelay) -> None:
    """With its arguments, when they are complete; thinking is not printed."""
    events = answer_events("Let me see.")
    tool = [
        event("block_start", block=1, kind="thinking"),
        event("delta", block=1, text="hm"),
        event("block_start", block=2, kind="tool_use", id="t", name="weather"),
        event("delta", block=2, json='{"city":'),
        event("delta", block=2, json='"Bern"}'),
        event("block_stop", block=2),
    ]
    relay.tell([*events[:-1], *tool, events[-1]])
    run = await tailrace("ask", "Hi", "--url", url)
    assert (run.code, run.out) == (0, "Let me see.\n")
    assert 'weather {"city":"Bern"}' in run.err


async def test_a_failed_answer_is_exit_code_1_and_its_sentence(url: str, relay: FarRelay) -> None:
    """What there is of the text is printed all the same."""
    *events, end = answer_events("Hel", status="failed", stop_reason=None)
    relay.tell([*events, event("error", code="provider_error", message="It broke.", retryable=False), end])
    run = await tailrace("ask", "Hi", "--url", url)
    assert (run.code, run.out) == (1, "Hel\n")
    assert "It broke." in run.err


async def test_a_terminal_is_not_at_the_mercy_of_the_answer(url: str, relay: FarRelay) -> None:
    """Escape sequences from a model do not reach a terminal; a pipe gets every byte."""
    relay.tell(answer_events("a\x1b[2Jb\x07\x9bc\td"))
    ours, theirs = os.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *TAILRACE, "ask", "Hi", "--url", url, cwd=ROOT, env=clean_environment(), stdout=theirs
        )
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 0
        assert os.read(ours, 1000) == b"a[2Jbc\td\r\n"
    finally:
        os.close(ours)
        os.close(theirs)
    assert (await tailrace("ask", "Hi", "--url", url)).out == "a\x1b[2Jb\x07\x9bc\td\n"


async def test_a_reader_who_leaves_is_no_error(url: str, relay: FarRelay) -> None:
    """``tailrace ask … | head -c 5`` ends like any program whose pipe has closed."""
    relay.tell(answer_events(*["many words "] * 20_000))
    process = await asyncio.create_subprocess_exec(
        *TAILRACE,
        *("ask", "Hi", "--url", url),
        cwd=ROOT,
        env=clean_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1024,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    await process.stdout.readexactly(5)
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 141
    assert await process.stderr.read() == b""


# Ctrl-C


async def test_ctrl_c_leaves_the_answer_to_go_on_and_says_how_to_come_back(
    relay: FarRelay, start: Callable[..., Process]
) -> None:
    """Disconnecting is not cancelling: nothing is asked of the relay."""
    relay.replies.append(hang(len(relay.body()) - 200))
    process = start("ask", "Hi", "--url", relay.url)
    await eventually(lambda: "Hello" in process.output(), 20)
    process.interrupt()
    assert f"tailrace ask --resume {STREAM_ID}" in await process.line("goes on without you")
    assert await process.ended() == 130
    assert [asked.method for asked in relay.asked] == ["POST"]
    assert "Traceback" not in process.output()


async def test_ctrl_c_twice_cancels_the_answer(relay: FarRelay, start: Callable[..., Process]) -> None:
    """The second one while the first one's sentence is on the screen."""
    relay.replies.append(hang(len(relay.body()) - 200))
    process = start("ask", "Hi", "--url", relay.url)
    await eventually(lambda: "Hello" in process.output(), 20)
    process.interrupt()
    await process.line("goes on without you")
    process.interrupt()
    assert await process.ended() == 130
    assert relay.asked[-1].path == f"/v1/streams/{STREAM_ID}/cancel"
    assert "tailrace: cancelled\n" in process.output()


async def test_ctrl_c_before_any_answer_just_stops(relay: FarRelay, start: Callable[..., Process]) -> None:
    """There is no id yet to come back to."""
    relay.replies.append(mute)
    process = start("ask", "Hi", "--url", relay.url)
    await eventually(lambda: relay.asked, 20)
    process.interrupt()
    assert await process.ended() == 130
    assert "before the relay had answered" in process.output()


async def test_a_resumed_answer_is_told_whole_and_can_be_cancelled(
    relay: FarRelay, start: Callable[..., Process]
) -> None:
    """``--resume`` is reading on as the one who asked."""
    run = await tailrace("ask", "--resume", STREAM_ID, "--url", relay.url)
    assert (run.code, run.out) == (0, "Hello, world\n")
    assert [asked.method for asked in relay.asked] == ["GET"]
    relay.replies.append(hang(len(relay.body()) - 200))
    process = start("ask", "--resume", STREAM_ID, "--url", relay.url)
    await eventually(lambda: "Hello" in process.output(), 20)
    process.interrupt()
    await process.line("goes on without you")
    process.interrupt()
    assert await process.ended() == 130
    assert relay.asked[-1].path.endswith("/cancel")


async def test_a_follower_never_cancels(relay: FarRelay, start: Callable[..., Process]) -> None:
    """It is not its answer; one Ctrl-C is enough to leave."""
    relay.replies.append(hang(len(relay.body()) - 200))
    process = start("follow", STREAM_ID, "--url", relay.url)
    await eventually(lambda: "Hello" in process.output(), 20)
    process.interrupt()
    assert await process.ended() == 130
    assert {asked.method for asked in relay.asked} == {"GET"}


# Following and looking


async def test_follow_reads_on_from_an_offset(url: str, relay: FarRelay) -> None:
    """And from the start without one; there is nothing after the end."""
    assert (await tailrace("follow", STREAM_ID, "--url", url)).out == "Hello, world\n"
    assert (await tailrace("follow", STREAM_ID, "--offset", offset(4), "--url", url)).out == ", world\n"
    run = await tailrace("follow", STREAM_ID, "--offset", relay.log[-1][0], "--url", url)
    assert (run.code, run.out) == (0, "")
    assert "nothing after this offset" in run.err


async def test_status_shows_how_a_stream_stands(url: str) -> None:
    """For a person, or as JSON."""
    run = await tailrace("status", STREAM_ID, "--url", url)
    assert run.code == 0
    for text in (STREAM_ID, "completed", "sim", "8 in, 12 out", "350 ms", "21.4 tokens/s", "Hello"):
        assert text in run.out
    run = await tailrace("status", STREAM_ID, "--json", "--url", url)
    assert json.loads(run.out)["usage"] == {"input_tokens": 8, "output_tokens": 12}


async def test_settings_are_all_named_with_meaning_default_and_value() -> None:
    """Those of the services and those of the client."""
    run = await tailrace("settings", env={"TAILRACE_HEARTBEAT_S": "7"})
    assert run.code == 0
    names = {line for line in run.out.splitlines() if line.isupper() and "_" in line and " " not in line}
    assert len(names) == len(Settings.model_fields) + len(ClientSettings.model_fields)
    assert {"TAILRACE_HEARTBEAT_S", "ANTHROPIC_API_KEY", "TAILRACE_URL", "TAILRACE_API_KEY"} <= names
    assert "Silence after which a comment is sent on an SSE connection. [seconds]\n    = 7.0 (default: 10.0)" in run.out


async def test_settings_hide_every_secret() -> None:
    """Keys whole, of an address its user and password."""
    secrets = {
        "TAILRACE_REDIS_URL": "rediss://someone:hush-1@redis.example:6380/0",
        "TAILRACE_STREAMS_URL": "redis://:hush-2@/x@redis.example:6380/0?password=hush-3",
        "TAILRACE_API_KEYS": '{"acme": "hush-4"}',
        "TAILRACE_API_KEY": "hush-5",
        "ANTHROPIC_API_KEY": "hush-6",
        "TAILRACE_URL": "http://me:hush-7@relay.example",
    }
    run = await tailrace("settings", env=secrets)
    assert run.code == 0
    assert "hush" not in run.out
    assert "redis.example:6380" in run.out
    assert "acme" in run.out


# Errors


async def test_nobody_at_the_address_is_one_sentence(relay: FarRelay) -> None:
    """Which says what to do about it."""
    run = await tailrace("status", STREAM_ID, "--url", f"http://127.0.0.1:{free_port()}")
    assert (run.code, run.out) == (1, "")
    assert "Connection refused; is a relay running there? 'tailrace run' starts one" in run.err.splitlines()[-1]
    assert relay.asked == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ask", " "], "the question is empty"),
        (["ask", "Hi", "--url", "localhost"], "the address of a relay looks like"),
        (["ask", "Hi", "--api-key", "a b"], "an API key must be visible ASCII"),
        (["follow", "nonsense"], "'nonsense' is not a stream id"),
        (["follow", STREAM_ID, "--offset", "a b"], "an offset must be visible ASCII"),
        (["ask", "--resume", "nonsense"], "'nonsense' is not a stream id"),
    ],
)
async def test_what_cannot_be_done_is_one_sentence(arguments: list[str], sentence: str) -> None:
    """On stderr, with exit code 1, and without a word to any relay."""
    run = await tailrace(*arguments)
    assert (run.code, run.out) == (1, "")
    assert len(run.err.splitlines()) == 1
    assert sentence in run.err


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["ask"], ["ask", "Hi", "--resume", STREAM_ID], ["follow"], ["status"]]
)
async def test_wrong_usage_is_exit_code_2_and_how_it_is_right(arguments: list[str]) -> None:
    """As every command does it."""
    run = await tailrace(*arguments)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("usage: tailrace")


async def test_a_refusal_is_the_relays_own_sentence(url: str, relay: FarRelay) -> None:
    """Also one that would be too long to wait for, and a page that is no relay's."""
    relay.replies.append(refuse(429, "rate_limited", retryable=True, retry_after_s=3600))
    assert await tailrace("ask", "Hi", "--url", url) == Run(1, "", "tailrace: This is rate_limited.\n")
    relay.replies.append(answer(200, html="<h1>It works!</h1>"))
    run = await tailrace("ask", "Hi", "--url", url)
    assert run.code == 1
    assert "is this the address of a relay?" in run.err


async def test_a_wrong_setting_is_one_sentence() -> None:
    """With the variable's name, for every command that needs it."""
    for command in ("settings", "run", "relay", "worker"):
        run = await tailrace(command, env={"TAILRACE_PORT": "many"})
        assert (run.code, run.out) == (1, "")
        assert re.match(r"tailrace( \w+)?: TAILRACE_PORT: ", run.err)
        assert len(run.err.splitlines()) == 1
