"""The Anthropic provider against a real server on real sockets: what it sends, tells, refuses and closes."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic

from shared.answer import Answer
from shared.errors import ProviderError
from shared.events import Event
from shared.models import Continuation, Model
from tests.messages_script import Cut, Script, whole_text
from tests.messages_server import MessagesServer
from tests.support import eventually, free_port
from worker.continuation import plan_attempt
from worker.llm import Call, Finish
from worker.providers.anthropic import AnthropicProvider
from worker.providers.upstream import Limits, retry_after_s

KEY = "sk-ant-test-0123456789abcdef"
MODEL = Model(provider="anthropic", continuation="prefill")
CALL = Call(MODEL, "m-1", [{"role": "user", "content": "hi"}], 1000)
PATIENT = Limits(first_token_s=20, idle_s=20, calls=600)


@pytest.fixture
async def server() -> AsyncIterator[MessagesServer]:
    """Give a Messages server."""
    async with MessagesServer() as running:
        yield running


@pytest.fixture
async def provider(server: MessagesServer) -> AsyncIterator[AnthropicProvider]:
    """Give a provider that talks to it."""
    talking = AnthropicProvider(api_key=KEY, limits=PATIENT, base_url=server.base_url)
    yield talking
    await talking.aclose()


async def impatient(server: MessagesServer, call: Call, limits: Limits) -> ProviderError:
    """Return how a call fails under other limits."""
    provider = AnthropicProvider(api_key=KEY, limits=limits, base_url=server.base_url)
    try:
        return await failure(provider, call)
    finally:
        await provider.aclose()


async def told(provider: AnthropicProvider, call: Call = CALL) -> tuple[list[Event | Finish], ProviderError | None]:
    """Return all events of a call, and its error if it fails."""
    events: list[Event | Finish] = []
    try:
        async with aclosing(provider.stream(call)) as batches:
            async for batch in batches:
                assert batch
                events += batch
    except ProviderError as error:
        return events, error
    return events, None


async def failure(provider: AnthropicProvider, call: Call = CALL) -> ProviderError:
    """Return how a call fails."""
    _, error = await told(provider, call)
    assert error is not None
    return error


def folded(events: list[Event | Finish], into: Answer | None = None) -> Answer:
    """Return what events add up to."""
    answer = into or Answer()
    for event in events:
        if not isinstance(event, Finish):
            answer.apply(event)
    return answer


async def test_an_answer_is_told_whole(server: MessagesServer, provider: AnthropicProvider) -> None:
    """Thinking, text and tools, from real sockets; the last thing is the finish."""
    server.say(Script(tokens=300, thinking=5, tools=[{"name": "t", "input": {"a": 1}}], ping_every=3))
    events, error = await told(provider)
    assert error is None
    assert [block.kind for block in folded(events).blocks] == ["thinking", "text", "tool_use"]
    assert folded(events).text == whole_text(Script(tokens=300))
    assert isinstance(events[-1], Finish)
    assert events[-1].stop_reason == "tool_use"


async def test_the_version_of_the_api_is_one_that_takes_the_request(
    server: MessagesServer, provider: AnthropicProvider
) -> None:
    """The newest takes no sampling parameters; which one is asked for may be said, too."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, anthropic_version()),
        ({"top_p": 0.9}, "2023-06-01"),
        ({"provider_options": {"top_k": 5}}, "2023-06-01"),
        ({"provider_options": {"anthropic_version": "2023-06-01"}}, "2023-06-01"),
    ]
    for options, expected in cases:
        await told(provider, replace(CALL, options=options))
        assert server.calls[-1].headers["anthropic-version"] == expected
        assert "anthropic_version" not in server.calls[-1].body


def anthropic_version() -> str:
    """Return the version that the SDK sends by itself."""
    return str(AsyncAnthropic(api_key="k").default_headers["anthropic-version"])


async def test_the_request_is_what_the_client_wrote(server: MessagesServer, provider: AnthropicProvider) -> None:
    """Every option under the API's name for it, with what the provider alone knows, which replaces nothing of ours."""
    options: dict[str, Any] = {
        "system": [{"type": "text", "text": "s"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["X"],
        "thinking": {"odd": 1},
        "tools": [{"name": "t", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
    }
    more = {"service_tier": "auto", "model": "x", "stream": False, "temperature": 9, "stop_sequences": []}
    more |= {"betas": ["one-2026-01-01", "two"]}
    await told(provider, replace(CALL, options={**options, "provider_options": more}))
    (call,) = server.calls
    expected = {key: value for key, value in options.items() if key != "stop"}
    assert call.body == {
        **expected,
        "stop_sequences": ["X"],
        "service_tier": "auto",
        "model": "m-1",
        "max_tokens": 1000,
        "stream": True,
        "messages": CALL.messages,
    }
    assert call.headers["anthropic-beta"] == "one-2026-01-01,two"
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert KEY in call.headers["authorization"]
    assert call.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, "invalid_request", False),
        (401, "authentication", False),
        (402, "billing", False),
        (403, "permission", False),
        (404, "not_found", False),
        (408, "timeout", True),
        (409, "conflict", True),
        (413, "too_large", False),
        (418, "invalid_request", False),
        (422, "invalid_request", False),
        (429, "rate_limited", True),
        (500, "server_error", True),
        (502, "server_error", True),
        (504, "timeout", True),
        (529, "overloaded", True),
    ],
)
async def test_each_refusal_has_its_kind_and_costs_one_call(
    server: MessagesServer, provider: AnthropicProvider, status: int, kind: str, *, retryable: bool
) -> None:
    """The SDK must not retry: only attempts in the log may multiply calls."""
    server.say(Script(status=status, headers={"retry-after": "7"}))
    error = await failure(provider)
    assert (error.kind, error.retryable) == (kind, retryable)
    assert error.retry_after_s == (7 if retryable else None)
    assert error.message.endswith(".") or "scripted" in error.message
    assert len(server.calls) == 1


async def test_a_spending_limit_is_not_waited_out(server: MessagesServer, provider: AnthropicProvider) -> None:
    """It comes as 429, but no delay of ours outlasts it."""
    server.say(Script(status=429, error_details={"error_code": "enforced_spend_limit_reached"}))
    error = await failure(provider)
    assert (error.kind, error.retryable) == ("billing", False)


async def test_what_is_wrong_with_a_request_is_said_without_secrets(
    server: MessagesServer, provider: AnthropicProvider
) -> None:
    """The provider's words help its client; keys in them help nobody, and long words are cut."""
    server.say(Script(status=400, error_message=f"prompt is too long\nfor {KEY} and Bearer abcdefgh " + "x" * 999))
    error = await failure(provider)
    assert "prompt is too long for [hidden] and [hidden]" in error.message
    assert len(error.message) < 500
    server.say(Script(status=401, error_message=f"invalid key {KEY}"))
    assert KEY not in repr(await failure(provider))


@pytest.mark.parametrize("headers", [{"retry-after-ms": "1500", "retry-after": "9"}, {"retry-after": "1.5"}])
def test_the_wait_is_read_from_either_header(headers: dict[str, str]) -> None:
    """The finer one wins."""
    assert retry_after_s(httpx2.Headers(headers)) == 1.5


def test_a_wait_that_is_a_date_or_nonsense_is_understood_or_ignored() -> None:
    """HTTP allows dates; nothing makes a negative, infinite or absent wait a number."""
    at = retry_after_s(httpx2.Headers({"retry-after": formatdate(time() + 30, usegmt=True)}))
    assert at is not None
    assert 25 < at <= 30
    assert retry_after_s(httpx2.Headers({"retry-after": formatdate(time() - 30, usegmt=True)})) == 0
    for text in ("soon", "-1", "inf", "nan", ""):
        assert retry_after_s(httpx2.Headers({"retry-after": text})) is None
    assert retry_after_s(httpx2.Headers()) is None


@pytest.mark.parametrize("cut", ["reset", "close", "eof"])
async def test_a_cut_answer_is_an_error_after_what_was_told(
    server: MessagesServer, provider: AnthropicProvider, cut: Cut
) -> None:
    """Whether the connection breaks or its body just ends: without ``message_stop`` nothing is finished."""
    server.say(Script(tokens=20, per_second=500, cut_at=12, cut=cut))
    events, error = await told(provider)
    assert error is not None
    assert (error.kind, error.retryable) == ("cut", True)
    assert whole_text(Script()).startswith(folded(events).text)
    assert not any(isinstance(event, Finish) for event in events)


@pytest.mark.parametrize("cut", ["reset", "eof"])
async def test_a_connection_that_ends_at_once_is_retryable(
    server: MessagesServer, provider: AnthropicProvider, cut: Cut
) -> None:
    """Before any frame."""
    server.say(Script(cut_at=0, cut=cut))
    error = await failure(provider)
    assert error.kind in ("cut", "connection")
    assert error.retryable


async def test_a_provider_that_is_not_there_is_retryable() -> None:
    """Nobody listens on the port."""
    provider = AnthropicProvider(api_key=KEY, limits=PATIENT, base_url=f"http://127.0.0.1:{free_port()}")
    error = await failure(provider)
    await provider.aclose()
    assert (error.kind, error.retryable) == ("connection", True)


async def test_an_error_in_the_stream_comes_after_what_was_told(
    server: MessagesServer, provider: AnthropicProvider
) -> None:
    """Also what came in the same read."""
    server.say(Script(error_at=5, error_type="overloaded_error"))
    events, error = await told(provider)
    assert error is not None
    assert (error.kind, error.retryable) == ("overloaded", True)
    assert folded(events).text == "w0 w1 w2"


async def test_silence_in_an_answer_is_a_timeout(server: MessagesServer) -> None:
    """What was said before it is told."""
    server.say(Script(stall_at=5))
    error = await impatient(server, CALL, replace(PATIENT, idle_s=0.2))
    assert (error.kind, error.retryable) == ("timeout", True)
    assert "fell silent for 0.2 s" in error.message


async def test_pings_are_signs_of_life_in_an_answer(server: MessagesServer) -> None:
    """A silent model whose server pings is at work."""
    provider = AnthropicProvider(api_key=KEY, limits=replace(PATIENT, idle_s=0.25), base_url=server.base_url)
    server.say(Script(stall_at=5, stall_pings_s=0.05))
    reading = asyncio.create_task(told(provider))
    started = asyncio.get_running_loop().time()
    await eventually(lambda: asyncio.get_running_loop().time() > started + 0.6)
    assert not reading.done()
    reading.cancel()
    await asyncio.wait([reading])
    await provider.aclose()


async def test_pings_do_not_stand_for_the_first_token(server: MessagesServer) -> None:
    """A provider that only pings has not begun."""
    server.say(Script(stall_at=1, stall_pings_s=0.02))
    error = await impatient(server, CALL, Limits(0.3, 20, 10))
    assert error.kind == "timeout"
    assert "did not begin its answer within 0.3 s" in error.message


async def test_a_server_that_accepts_and_says_nothing_is_a_timeout() -> None:
    """Not even the head of an HTTP answer."""
    async with await asyncio.start_server(_mute, "127.0.0.1", 0) as mute:
        url = f"http://127.0.0.1:{mute.sockets[0].getsockname()[1]}"
        provider = AnthropicProvider(api_key=KEY, limits=Limits(0.2, 20, 10), base_url=url)
        error = await failure(provider)
        await provider.aclose()
    assert (error.kind, error.retryable) == ("timeout", True)


async def _mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read until the client goes."""
    while await reader.read(65536):
        pass
    writer.close()


@pytest.mark.parametrize("how", ["aclose", "cancel"])
@pytest.mark.parametrize("after", [0, 6])
async def test_leaving_an_answer_closes_its_connection_at_once(
    server: MessagesServer, provider: AnthropicProvider, how: str, after: int
) -> None:
    """Or the provider goes on and bills for what nobody reads."""
    server.say(Script(tokens=10, stall_at=after or 1))
    stream = provider.stream(CALL)
    if how == "cancel" or after == 0:
        reading = asyncio.create_task(told(provider))
        await eventually(lambda: server.calls and server.calls[0].sent_frames == (after or 1))
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
    else:
        await anext(stream)
        await stream.aclose()
    await asyncio.wait_for(server.calls[0].disconnected.wait(), 2)


async def test_leaving_an_answer_leaves_nothing_to_the_garbage_collector(
    server: MessagesServer, provider: AnthropicProvider
) -> None:
    """A generator that is collected instead of closed is closed by a task that nobody waits for."""
    server.say(Script(stall_at=4))
    stream = provider.stream(CALL)
    await anext(stream)
    await stream.aclose()
    del stream
    for _ in range(3):
        await asyncio.sleep(0)
        assert "async_generator_athrow" not in {type(task.get_coro()).__name__ for task in asyncio.all_tasks()}


async def test_hundreds_of_answers_run_at_once(server: MessagesServer, provider: AnthropicProvider) -> None:
    """The transport's pool must not queue calls: 300 are open before the first ends."""
    stalled = Script(stall_at=4)
    server.say(*[stalled] * 300)
    reading = [asyncio.create_task(told(provider)) for _ in range(300)]
    await eventually(lambda: server.most_at_once == 300, 30)
    for task in reading:
        task.cancel()
    await asyncio.wait(reading)
    await eventually(lambda: all(call.disconnected.is_set() for call in server.calls), 10)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Give a server's certificate for 127.0.0.1, which the provider trusts."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl is not installed, and a certificate cannot be made")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [openssl, "req", *kind, *name, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return context


async def test_finished_answers_leave_their_connection_to_the_next(tls: ssl.SSLContext) -> None:
    """Also for a reader that leaves at the finish: a TLS handshake per call would delay every first token."""
    async with MessagesServer(tls=tls) as server:
        provider = AnthropicProvider(api_key=KEY, limits=PATIENT, base_url=server.base_url)
        for _ in range(3):
            async with aclosing(provider.stream(CALL)) as batches:
                async for batch in batches:
                    if isinstance(batch[-1], Finish):
                        break
        await provider.aclose()
        assert len({call.peer for call in server.calls}) == 1


async def test_without_tls_each_call_has_its_own_connection(
    server: MessagesServer, provider: AnthropicProvider
) -> None:
    """Servers of local models close kept connections under the next call; connecting to them costs nothing."""
    for _ in range(3):
        await told(provider)
    assert len({call.peer for call in server.calls}) == 3


async def test_a_request_that_no_json_can_hold_is_refused(provider: AnthropicProvider) -> None:
    """Half of a surrogate pair, which JSON escapes can write and UTF-8 cannot."""
    error = await failure(provider, replace(CALL, messages=[{"role": "user", "content": "\ud83d"}]))
    assert (error.kind, error.retryable) == ("invalid_request", False)


@pytest.mark.parametrize("continuation", ["prefill", "user_turn"])
@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("cut_at", [2, 3, 7, 21, 23])
async def test_a_cut_answer_is_continued_to_the_same_text(
    server: MessagesServer, provider: AnthropicProvider, continuation: Continuation, cut_at: int, *, echo: bool
) -> None:
    """Cut anywhere, by either means, also by a server that repeats the prefill: nothing is doubled or lost."""
    model = MODEL.model_copy(update={"continuation": continuation, "echoes_prefill": echo})
    script = Script(
        tokens=20, per_second=1000, thinking=0, cut_at=cut_at, cut="eof", echo=echo and continuation == "prefill"
    )
    server.say(script, script.whole())
    first = replace(CALL, model=model)
    events, error = await told(provider, first)
    assert error is not None
    answer = folded(events)
    plan = plan_attempt(replace(first, attempt=2, step=2), answer.blocks, "continue")
    assert plan is not None
    answer.blocks = answer.blocks[: plan.keep_blocks]
    events, error = await told(provider, plan.call)
    assert error is None
    assert folded(events, answer).text == whole_text(script)
    assert len([block for block in answer.blocks if block.text]) == 1
    assert all(block.complete for block in answer.blocks)


async def test_closing_twice_is_closing_once(provider: AnthropicProvider) -> None:
    """At shutdown nobody knows who was first."""
    await told(provider)
    await provider.aclose()
    await provider.aclose()


async def test_a_server_that_closes_its_connections_without_a_word_is_asked_on_new_ones() -> None:
    """Twenty answers in a row from a server that hangs up after each, as servers of local models do."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        asked += 1
        body = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"m","usage":{}}}\n\n'
        body += b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'
        body += b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        provider = AnthropicProvider(api_key="none", limits=Limits(5, 5, 10), base_url=f"http://{host}:{port}")
        call = Call(Model(provider="anthropic"), "m", [{"role": "user", "content": "hello"}], 10)
        for _ in range(20):
            ends = [batch[-1] async for batch in provider.stream(call)]
            assert isinstance(ends[-1], Finish)
        await provider.aclose()
    assert asked == 20
