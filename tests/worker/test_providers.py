"""What every provider does, whatever its wire: against a real server on real sockets, through the real SDK.

All of it both as an answer's own task reads it and as the worker's sweep does under load; and once more where the SDK
has sent such calls before, so that they are sent without it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.answer import Answer
from shared.errors import ProviderError
from shared.events import BlockStartEvent, BlockStopEvent, DeltaEvent, Event, StepEvent, Usage
from shared.models import Model
from tests.chat_wire import CHAT
from tests.generate_wire import GENERATE
from tests.messages_script import SIGNATURE, Cut, Script, whole_text
from tests.messages_server import MessagesServer
from tests.messages_wire import MESSAGES
from tests.responses_wire import RESPONSES
from tests.support import eventually, free_port
from tests.wire import Wire
from tests.worker.support_sweep import SweptProvider
from worker.continuation import plan_attempt
from worker.llm import Call, Finish
from worker.providers.anthropic import AnthropicProvider
from worker.providers.gemini import GeminiProvider
from worker.providers.openai import OpenAIProvider
from worker.providers.provider import Provider
from worker.providers.upstream import Limits

KEY = "sk-test-0123456789abcdef"
PATIENT = Limits(first_token_s=20, idle_s=20, calls=600)
QUESTION = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Case:
    """A wire, a model that speaks it, and the provider that calls it, read in a sweep or not, its head known or not."""

    wire: Wire
    model: Model
    talking_to: Callable[[str, Limits], Provider]
    swept: bool = False
    known: bool = False

    @property
    def name(self) -> str:
        """The case's name."""
        return self.wire.name + "-swept" * self.swept + "-known" * self.known

    def make(self, url: str, limits: Limits) -> Provider:
        """Return a provider that talks to the server of that address."""
        provider = self.talking_to(url, limits)
        return SweptProvider(provider) if self.swept else provider

    @property
    def call(self) -> Call:
        """A call of the model."""
        return Call(self.model, "m-1", QUESTION, 1000, stream_id="s1")

    def place(self, script: Script, token: int) -> int:
        """Return the number of the frame that tells a token."""
        body = {"model": "m", "max_tokens": 1000, "max_output_tokens": 1000, "messages": QUESTION}
        body["generationConfig"] = {"maxOutputTokens": 1000}
        frames = self.wire.frames(script, body, "")
        return next(place for place, frame in enumerate(frames) if frame.token == token)


def _anthropic(url: str, limits: Limits) -> Provider:
    return AnthropicProvider(api_key=KEY, limits=limits, base_url=url)


def _openai(url: str, limits: Limits) -> Provider:
    return OpenAIProvider(api_key=KEY, limits=limits, base_url=f"{url}/v1")


def _google(url: str, limits: Limits) -> Provider:
    return GeminiProvider(api_key=KEY, limits=limits, base_url=url)


CASES = [
    Case(MESSAGES, Model(provider="anthropic"), _anthropic),
    Case(CHAT, Model(provider="openai"), _openai),
    Case(RESPONSES, Model(provider="openai", api="responses"), _openai),
    Case(GENERATE, Model(provider="google"), _google),
]
CASES = [variant for case in CASES for variant in (case, replace(case, swept=True), replace(case, known=True))]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Give each wire in turn."""
    assert isinstance(request.param, Case)
    return request.param


@pytest.fixture
async def server(case: Case) -> AsyncIterator[MessagesServer]:
    """Give a server that speaks the wire."""
    async with MessagesServer(wire=case.wire) as running:
        yield running


@pytest.fixture
async def provider(case: Case, server: MessagesServer) -> AsyncIterator[Provider]:
    """Give a provider that talks to it, and has done so twice if the head of its calls is to be known."""
    talking = case.make(server.base_url, PATIENT)
    for _ in range(2 * case.known):
        await told(talking, replace(case.call, messages=[{"role": "user", "content": "before"}]))
    server.calls.clear()
    yield talking
    await talking.aclose()


async def told(provider: Provider, call: Call) -> tuple[list[Event | Finish], ProviderError | None]:
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


async def failure(provider: Provider, call: Call) -> ProviderError:
    """Return how a call fails."""
    _, error = await told(provider, call)
    assert error is not None
    return error


async def impatient(case: Case, server: MessagesServer, limits: Limits) -> ProviderError:
    """Return how a call fails under other limits."""
    provider = case.make(server.base_url, limits)
    try:
        return await failure(provider, case.call)
    finally:
        await provider.aclose()


def folded(events: list[Event | Finish], into: Answer | None = None) -> Answer:
    """Return what events add up to."""
    answer = into or Answer()
    for event in events:
        if not isinstance(event, Finish):
            answer.apply(event)
    return answer


def check_grammar(events: list[Event | Finish]) -> None:
    """Fail unless the step frames the answer, and every block opens before its deltas, closes once, and is numbered."""
    assert isinstance(events[0], StepEvent)
    assert isinstance(events[-2], StepEvent)
    assert isinstance(events[-1], Finish)
    opened: set[int] = set()
    closed: set[int] = set()
    for event in events:
        match event:
            case BlockStartEvent(block=block):
                assert block == len(opened)
                opened.add(block)
            case DeltaEvent(block=block):
                assert block in opened - closed
            case BlockStopEvent(block=block):
                assert block in opened - closed
                closed.add(block)
    assert opened == closed


async def test_an_answer_is_told_whole(case: Case, server: MessagesServer, provider: Provider) -> None:
    """Thoughts, text and tool calls, from real sockets; usage and the finish; nothing left open."""
    tools = [{"name": "one", "input": {"a": 1, "é": "ü"}}, {"name": "two", "input": {"b": [1.5, None, "x" * 40]}}]
    server.say(Script(tokens=300, thinking=5, tools=tools, bytes_per_write=0))
    events, error = await told(provider, case.call)
    assert error is None
    check_grammar(events)
    answer = folded(events)
    blocks = [block for block in answer.blocks if block.kind != "thinking"]
    assert [(block.kind, block.name) for block in blocks] == [("text", None), ("tool_use", "one"), ("tool_use", "two")]
    assert [json.loads(block.json) for block in blocks[1:]] == [tool["input"] for tool in tools]
    assert all(block.id for block in blocks[1:])
    assert len({block.id for block in blocks}) == 3
    assert answer.blocks[0].kind == "thinking"
    assert answer.blocks[0].text == "t0 t1 t2 t3 t4 "
    assert answer.text == whole_text(Script(tokens=300))
    finish = events[-1]
    assert isinstance(finish, Finish)
    assert finish.stop_reason == "tool_use"
    assert finish.usage == Usage(11, 301, 3, 2 if case.wire is MESSAGES else 0)


async def test_an_answer_that_comes_in_crumbs_is_the_same(
    case: Case, server: MessagesServer, provider: Provider
) -> None:
    """However the network cuts it, also inside characters and escapes."""
    script = Script(text="héllo wörld 🌊", thinking=2, tools=[{"name": "t", "input": {"ö": "🌊"}}])
    server.say(script, replace(script, bytes_per_write=7))
    (whole, error), (crumbs, other) = await told(provider, case.call), await told(provider, case.call)
    assert error is other is None
    assert folded(crumbs).text == whole_text(script)
    assert [(block.text, block.json) for block in folded(crumbs).blocks] == [
        (block.text, block.json) for block in folded(whole).blocks
    ]


@pytest.mark.parametrize("tools", [(), ({"name": "t", "input": {"a": 1}},)], ids=["text", "call"])
async def test_a_signature_is_byte_exact(case: Case, server: MessagesServer, provider: Provider, tools: Any) -> None:
    """It goes back to the provider, which takes no other. Chat Completions alone has none."""
    server.say(Script(tokens=3, thinking=2, tools=tools))
    events, error = await told(provider, case.call)
    assert error is None
    signatures = [block.signature for block in folded(events).blocks if block.signature]
    assert signatures == ([] if case.wire is CHAT else [json.loads(f'"{SIGNATURE}"')])


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "refusal"])
async def test_the_reason_for_the_end_has_one_name(
    case: Case, server: MessagesServer, provider: Provider, reason: str
) -> None:
    """Whatever each wire calls it: a refusal, too, is an end and no error."""
    server.say(Script(tokens=5, stop_reason=reason))
    events, error = await told(provider, case.call)
    assert error is None
    assert isinstance(events[-1], Finish)
    assert events[-1].stop_reason == reason
    assert folded(events).text == whole_text(Script(tokens=5))


async def test_no_more_tokens_are_asked_for_than_the_call_may_have(
    case: Case, server: MessagesServer, provider: Provider
) -> None:
    """Under the field that the wire has for it."""
    server.say(Script(tokens=50))
    events, error = await told(provider, replace(case.call, max_tokens=7))
    assert error is None
    assert isinstance(events[-1], Finish)
    assert events[-1].stop_reason == "max_tokens"
    assert folded(events).text == whole_text(Script(tokens=7))


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, "invalid_request", False),
        (401, "authentication", False),
        (403, "permission", False),
        (404, "not_found", False),
        (408, "timeout", True),
        (409, "conflict", True),
        (413, "too_large", False),
        (422, "invalid_request", False),
        (429, "rate_limited", True),
        (500, "server_error", True),
        (503, "server_error", True),
        (504, "timeout", True),
        (529, "overloaded", True),
    ],
)
async def test_each_refusal_has_its_kind_and_costs_one_call(
    case: Case, server: MessagesServer, provider: Provider, status: int, kind: str, *, retryable: bool
) -> None:
    """The SDK must not retry behind our back: attempts are counted, and each is billed."""
    server.say(Script(status=status, headers={"retry-after": "7"}))
    error = await failure(provider, case.call)
    assert (error.kind, error.retryable) == (kind, retryable)
    assert error.retry_after_s == (7 if retryable else None)
    assert len(server.calls) == 1


async def test_what_is_wrong_with_a_request_is_said_without_secrets(
    case: Case, server: MessagesServer, provider: Provider
) -> None:
    """The provider's own words, cut short, help; a key in them does not."""
    server.say(Script(status=400, error_type="invalid_request_error", error_message=f"max_tokens: bad key {KEY} " * 50))
    error = await failure(provider, case.call)
    assert "max_tokens: bad key" in error.message
    assert KEY not in error.message
    assert len(error.message) < 500


async def test_the_key_is_sent_and_nothing_is_compressed(
    case: Case, server: MessagesServer, provider: Provider
) -> None:
    """Where the SDK puts it; a compressed stream would wait for its compressor."""
    await told(provider, case.call)
    (call,) = server.calls
    assert KEY in json.dumps(call.headers)
    assert call.headers["accept-encoding"] == "identity"


async def test_calls_of_a_kind_are_sent_alike_by_the_sdk_and_without_it(
    case: Case, server: MessagesServer, provider: Provider
) -> None:
    """The third one is sent without it."""
    odd = {"role": "user", "content": [{"type": "text", "text": "é\u2028😀"}]}
    options = {"temperature": 0.5, "system": "be brief", "tools": [{"name": "t", "input_schema": {"type": "object"}}]}
    call = replace(case.call, messages=[*QUESTION, odd, *QUESTION], options=options)
    for _ in range(3):
        _, error = await told(provider, call)
        assert error is None
    first, second, third = server.calls
    assert first.body == second.body == third.body
    for one in server.calls:
        del one.headers["content-length"]  # JSON has more than one way to write a character
    assert first.headers == second.headers == third.headers


async def test_fields_of_the_providers_own_api_are_sent_as_they_are(
    case: Case, server: MessagesServer, provider: Provider
) -> None:
    """Beside ours."""
    extra = {"service_tier": "flex", "deep": [{"snake_case": 1, "camelCase": None}]}
    _, error = await told(provider, replace(case.call, options={"provider_options": extra, "temperature": 0.5}))
    assert error is None
    body = server.calls[0].body
    assert {name: body[name] for name in extra} == extra
    assert "0.5" in json.dumps(body)


async def test_what_the_wire_has_no_words_for_is_never_sent(
    case: Case, server: MessagesServer, provider: Provider
) -> None:
    """A relay refuses it at the start; one of another version may not have. Anthropic's own wire takes everything."""
    odd = [{"role": "user", "content": [{"type": "search_result", "source": "x"}]}]
    events, error = await told(provider, replace(case.call, messages=odd))
    if case.wire is MESSAGES:
        assert error is None
        assert events
    else:
        assert error is not None
        assert (error.kind, error.retryable, server.calls) == ("invalid_request", False, [])
        assert "messages.0.content.0.type" in error.message


@pytest.mark.parametrize("cut", ["reset", "close", "eof"])
async def test_a_cut_answer_is_an_error_after_what_was_told(
    case: Case, server: MessagesServer, provider: Provider, cut: Cut
) -> None:
    """Whether the connection breaks or its body just ends: without the provider's end nothing is finished."""
    script = Script(tokens=20, per_second=500)
    server.say(replace(script, cut_at=case.place(script, 12), cut=cut))
    events, error = await told(provider, case.call)
    assert error is not None
    assert (error.kind, error.retryable) == ("cut", True)
    assert whole_text(script).startswith(folded(events).text)
    assert not any(isinstance(event, Finish) for event in events)


@pytest.mark.parametrize("cut", ["reset", "eof"])
async def test_a_connection_that_ends_at_once_is_retryable(
    case: Case, server: MessagesServer, provider: Provider, cut: Cut
) -> None:
    """Before any frame."""
    server.say(Script(cut_at=0, cut=cut))
    error = await failure(provider, case.call)
    assert error.kind in ("cut", "connection")
    assert error.retryable


async def test_a_provider_that_is_not_there_is_retryable(case: Case) -> None:
    """Nobody listens on the port."""
    provider = case.make(f"http://127.0.0.1:{free_port()}", PATIENT)
    error = await failure(provider, case.call)
    await provider.aclose()
    assert (error.kind, error.retryable) == ("connection", True)


async def test_an_error_in_the_stream_comes_after_what_was_told(
    case: Case, server: MessagesServer, provider: Provider
) -> None:
    """Also what came in the same read."""
    script = Script()
    server.say(replace(script, error_at=case.place(script, 3), error_type="overloaded_error"))
    events, error = await told(provider, case.call)
    assert error is not None
    assert error.retryable
    assert error.kind == ("server_error" if case.wire is GENERATE else "overloaded")
    assert folded(events).text == "w0 w1 w2"


async def test_silence_in_an_answer_is_a_timeout(case: Case, server: MessagesServer) -> None:
    """What was said before it is told."""
    script = Script()
    server.say(replace(script, stall_at=case.place(script, 3)))
    error = await impatient(case, server, replace(PATIENT, idle_s=0.2))
    assert (error.kind, error.retryable) == ("timeout", True)
    assert "fell silent for 0.2 s" in error.message


async def test_pings_do_not_stand_for_the_first_token(case: Case, server: MessagesServer) -> None:
    """A provider that only pings has not begun; nor has one that has sent no more than the head of its answer."""
    server.say(Script(stall_at=0 if case.wire is GENERATE else 1, stall_pings_s=0.02))
    error = await impatient(case, server, Limits(0.3, 20, 10))
    assert error.kind == "timeout"
    assert "did not begin its answer within 0.3 s" in error.message


async def test_pings_are_signs_of_life_in_an_answer(case: Case, server: MessagesServer) -> None:
    """A silent model whose server pings, if only by comments, is at work."""
    provider = case.make(server.base_url, replace(PATIENT, idle_s=0.5))
    script = Script()
    server.say(replace(script, stall_at=case.place(script, 3), stall_pings_s=0.05))
    reading = asyncio.create_task(told(provider, case.call))
    started = asyncio.get_running_loop().time()
    await eventually(lambda: asyncio.get_running_loop().time() > started + 1.2)
    assert not reading.done()
    reading.cancel()
    await asyncio.wait([reading])
    await provider.aclose()


async def test_a_server_that_accepts_and_says_nothing_is_a_timeout(case: Case) -> None:
    """Not even the head of an HTTP answer."""
    async with await asyncio.start_server(_mute, "127.0.0.1", 0) as mute:
        provider = case.make(f"http://127.0.0.1:{mute.sockets[0].getsockname()[1]}", Limits(0.2, 20, 10))
        error = await failure(provider, case.call)
        await provider.aclose()
    assert (error.kind, error.retryable) == ("timeout", True)


async def _mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read until the client goes."""
    while await reader.read(65536):
        pass
    writer.close()


async def test_leaving_an_answer_leaves_nothing_to_the_garbage_collector(
    case: Case, server: MessagesServer, provider: Provider
) -> None:
    """A generator that is collected instead of closed is closed by a task that nobody waits for."""
    script = Script()
    server.say(replace(script, stall_at=case.place(script, 2)))
    stream = provider.stream(case.call)
    await anext(stream)
    await stream.aclose()
    del stream
    for _ in range(3):
        await asyncio.sleep(0)
        assert "async_generator_athrow" not in {type(task.get_coro()).__name__ for task in asyncio.all_tasks()}


@pytest.mark.parametrize("how", ["aclose", "cancel"])
@pytest.mark.parametrize("token", [None, 3])
async def test_leaving_an_answer_closes_its_connection_at_once(
    case: Case, server: MessagesServer, provider: Provider, how: str, token: int | None
) -> None:
    """Or the provider goes on and bills for what nobody reads."""
    script = Script(tokens=10)
    at = 0 if token is None else case.place(script, token)
    server.say(replace(script, stall_at=at))
    if how == "cancel" or at == 0:
        reading = asyncio.create_task(told(provider, case.call))
        await eventually(lambda: server.calls and server.calls[0].sent_frames == at)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
    else:
        stream = provider.stream(case.call)
        await anext(stream)
        await stream.aclose()
    await asyncio.wait_for(server.calls[0].disconnected.wait(), 2)


async def test_many_answers_run_at_once(case: Case, server: MessagesServer, provider: Provider) -> None:
    """The transport's pool must not queue calls: 150 are open before the first ends."""
    script = Script()
    server.say(*[replace(script, stall_at=case.place(script, 1))] * 150)
    reading = [asyncio.create_task(told(provider, case.call)) for _ in range(150)]
    await eventually(lambda: server.most_at_once == 150, 30)
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


@pytest.fixture(params=["plain", "tls"])
async def keeping(request: pytest.FixtureRequest, case: Case) -> AsyncIterator[MessagesServer]:
    """Give a server, and one over TLS."""
    tls = request.getfixturevalue("tls") if request.param == "tls" else None
    async with MessagesServer(tls=tls, wire=case.wire) as running:
        yield running


async def test_finished_answers_leave_their_connection_to_the_next(case: Case, keeping: MessagesServer) -> None:
    """Also for a reader that leaves at the finish: a new connection per call would delay every first token.

    To the next but those that come in the moment of its end, or where the machine stands still for too long.
    """
    provider = case.make(keeping.base_url, PATIENT)
    for _ in range(4):
        async with aclosing(provider.stream(case.call)) as batches:
            async for batch in batches:
                if isinstance(batch[-1], Finish):
                    break
        rested_s = time.monotonic() + 0.01
        await eventually(partial(_has_come, rested_s), 5)
    await provider.aclose()
    assert len({call.peer for call in keeping.calls}) < 4


def _has_come(moment_s: float) -> bool:
    """Tell whether a moment of the monotonic clock is over."""
    return time.monotonic() >= moment_s


async def test_a_call_is_never_sent_twice(case: Case, keeping: MessagesServer) -> None:
    """Nobody knows whether it has been paid for: over a new connection or a kept one, its end is the attempt's."""
    provider = case.make(keeping.base_url, PATIENT)
    keeping.say(Script(hangs_up=True), Script(), Script(hangs_up=True))
    for calls, hangs_up in ((1, True), (2, False), (3, True)):
        _, error = await told(provider, case.call)
        assert (error is not None) == hangs_up
        assert error is None or (error.kind, error.retryable) == ("connection", True)
        assert len(keeping.calls) == calls
    await provider.aclose()


async def test_where_an_answer_leads_elsewhere_nobody_follows(case: Case, server: MessagesServer) -> None:
    """The key must not go there."""
    provider = case.make(server.base_url, PATIENT)
    server.say(Script(status=307, headers={"location": f"{server.base_url}/elsewhere"}))
    error = await failure(provider, case.call)
    await provider.aclose()
    assert (error.kind, error.retryable) == ("not_found", False)
    assert "leads elsewhere" in error.message


async def test_a_request_that_no_json_can_hold_is_refused(case: Case, provider: Provider) -> None:
    """Half of a surrogate pair, which UTF-8 cannot write."""
    error = await failure(provider, replace(case.call, messages=[{"role": "user", "content": "\ud83d"}]))
    assert (error.kind, error.retryable) == ("invalid_request", False)


@pytest.mark.parametrize("token", [0, 1, 6, 19])
async def test_a_cut_answer_is_continued_to_the_same_text(
    case: Case, server: MessagesServer, provider: Provider, token: int
) -> None:
    """Cut anywhere: nothing is doubled or lost, and it stays one block."""
    script = Script(tokens=20, per_second=1000)
    server.say(replace(script, cut_at=case.place(script, token), cut="eof"), script)
    events, error = await told(provider, case.call)
    assert error is not None
    answer = folded(events)
    plan = plan_attempt(replace(case.call, attempt=2, step=2), answer.blocks, "continue")
    assert plan is not None
    answer.blocks = answer.blocks[: plan.keep_blocks]
    events, error = await told(provider, plan.call)
    assert error is None
    assert folded(events, answer).text == whole_text(script)
    assert len([block for block in answer.blocks if block.text]) == 1
    assert all(block.complete for block in answer.blocks)


async def test_closing_twice_is_closing_once(case: Case, provider: Provider) -> None:
    """At shutdown nobody knows who was first."""
    await told(provider, case.call)
    await provider.aclose()
    await provider.aclose()
