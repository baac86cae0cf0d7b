"""The client's requests: what it sends, what it makes of refusals and of answers that are no relay's."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from shared.errors import (
    ConflictError,
    GoneError,
    InvalidOffsetError,
    InvalidRequestError,
    LimitError,
    OverloadedError,
    ProviderError,
    TailraceError,
    UnauthorizedError,
)
from tailrace import (
    AnswerFailedError,
    Client,
    ConnectionLostError,
    ModelInfo,
    Reconnect,
    ServerTroubleError,
    Timeouts,
    UnexpectedAnswerError,
)
from tests.support import ROOT, clean_environment, eventually, free_port
from tests.tailrace.far_relay import (
    PREAMBLE,
    QUICK,
    STREAM_ID,
    FarRelay,
    answer,
    answer_events,
    event,
    hang,
    read,
    refuse,
)


async def test_a_start_carries_the_question_the_options_and_the_key(client: Client, relay: FarRelay) -> None:
    """As ``docs/api.md`` has it, with an idempotency key of the client's own."""
    await client.ask("Hi", model="sim", system="Be brief.", metadata={"chat": "7"})
    (asked,) = relay.asked
    assert (asked.method, asked.path) == ("POST", "/v1/streams")
    assert asked.body == {
        "messages": [{"role": "user", "content": "Hi"}],
        "model": "sim",
        "system": "Be brief.",
        "metadata": {"chat": "7"},
    }
    assert asked.headers["Authorization"] == "Bearer key-of-mine"
    assert len(asked.headers["Idempotency-Key"]) == 32


async def test_each_start_has_a_key_of_its_own(client: Client, relay: FarRelay) -> None:
    """Otherwise the second question would be attached to the first one's answer; a key given is taken."""
    await client.ask("Hi")
    await client.ask("Hi")
    await read(client.stream("Hi", idempotency_key="mine"))
    keys = [asked.headers["Idempotency-Key"] for asked in relay.asked]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


async def test_a_stream_can_be_looked_at_listed_cancelled_and_deleted(client: Client, relay: FarRelay) -> None:
    """Each is one request; fields of a newer relay are ignored."""
    assert (await client.status(STREAM_ID)).timings.tokens_per_second == 21.4
    page = await client.list(status="completed", metadata={"chat": "7"}, limit=5, cursor="here")
    assert (page.streams[0].id, page.next_cursor) == (STREAM_ID, "more")
    assert relay.asked[-1].query == {"status": "completed", "metadata.chat": "7", "limit": "5", "cursor": "here"}
    assert await client.models() == (ModelInfo("sim", "sim", 9, default=True),)
    assert (await client.cancel(STREAM_ID)).status == "cancelled"
    await client.delete(STREAM_ID)
    assert [(asked.method, asked.path) for asked in relay.asked[-2:]] == [
        ("POST", f"/v1/streams/{STREAM_ID}/cancel"),
        ("DELETE", f"/v1/streams/{STREAM_ID}"),
    ]


async def test_deleting_what_is_deleted_already_is_done(client: Client, relay: FarRelay) -> None:
    """The first try may have done it and only its answer been lost."""
    relay.replies.append(refuse(410, "gone"))
    await client.delete(STREAM_ID)


async def test_a_stream_can_be_cancelled_while_it_is_read(client: Client, relay: FarRelay) -> None:
    """By the object that reads it; before it has begun there is nothing to cancel."""
    relay.replies.append(hang(len(PREAMBLE) + 300))
    stream = client.stream("Hi")
    with pytest.raises(RuntimeError, match="not begun"):
        await stream.cancel()
    async with stream:
        assert (await stream.cancel()).status == "cancelled"


async def test_a_cancelled_reader_cancels_nothing_but_its_connection(client: Client, relay: FarRelay) -> None:
    """Disconnecting is not cancelling."""
    relay.replies.append(hang(len(PREAMBLE) + 300))
    stream = client.stream("Hi")
    reading = asyncio.create_task(read(stream))
    await eventually(lambda: stream.offset)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.wait_for(relay.gone.wait(), 5)
    assert [asked.method for asked in relay.asked] == ["POST"]


async def test_breaking_off_closes_the_connection(client: Client, relay: FarRelay) -> None:
    """Also without ``async with``, and while the client stays open."""
    relay.replies.append(hang(len(PREAMBLE) + 300))
    async for _event in client.stream("Hi"):
        break
    await asyncio.wait_for(relay.gone.wait(), 5)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_request", InvalidRequestError),
        (400, "invalid_offset", InvalidOffsetError),
        (401, "unauthorized", UnauthorizedError),
        (409, "idempotency_conflict", ConflictError),
        (410, "gone", GoneError),
        (502, "provider_error", ProviderError),
        (418, "of_tomorrow", UnexpectedAnswerError),
    ],
)
async def test_a_refusal_is_raised_as_its_class(
    client: Client, relay: FarRelay, status: int, code: str, kind: type[TailraceError]
) -> None:
    """At once, with the relay's own sentence, by a start as by a plain request."""
    relay.replies.extend([refuse(status, code), refuse(status, code)])
    with pytest.raises(kind, match=f"This is {code}") as caught:
        await client.ask("Hi")
    assert type(caught.value) is kind
    with pytest.raises(kind):
        await client.status(STREAM_ID)
    assert len(relay.asked) == 2


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limited"), (503, "overloaded"), (500, "internal")])
async def test_a_refusal_that_may_pass_is_tried_again(client: Client, relay: FarRelay, status: int, code: str) -> None:
    """Under the same key, so that it cannot become two answers."""
    relay.replies.extend([refuse(status, code, retryable=True)] * 2)
    assert await read(client.stream("Hi")) == relay.events
    assert len({asked.headers["Idempotency-Key"] for asked in relay.asked}) == 1
    assert len(relay.asked) == 3


async def test_retry_after_is_waited_out(client: Client, relay: FarRelay, notes: list[Reconnect]) -> None:
    """In whole, and jitter comes on top: not all must return at that very moment."""
    relay.replies.append(refuse(429, "rate_limited", retryable=True, retry_after_s=1))
    await client.models()
    (note,) = notes
    assert 1.0 <= note.delay_s <= 1.25


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(429, "rate_limited", LimitError), (503, "overloaded", OverloadedError)]
)
async def test_a_retry_after_beyond_all_patience_is_raised_at_once(
    client: Client, relay: FarRelay, status: int, code: str, kind: type[TailraceError]
) -> None:
    """Rather than waiting for a try that comes too late; the caller learns when."""
    relay.replies.append(refuse(status, code, retryable=True, retry_after_s=3600))
    with pytest.raises(kind) as caught:
        await client.ask("Hi")
    assert caught.value.retry_after_s == 3600


async def test_a_retry_after_may_be_a_date(relay: FarRelay) -> None:
    """HTTP allows both, and a proxy may send no error of ours with it."""
    relay.replies.append(answer(503, html="<h1>Busy</h1>", Retry_After="Fri, 01 Jan 2100 00:00:00 GMT"))
    async with Client(relay.url, timeouts=QUICK) as client:
        with pytest.raises(ServerTroubleError) as caught:
            await client.ask("Hi")
    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s > 3600


async def test_a_web_page_is_not_taken_for_an_answer(client: Client, relay: FarRelay) -> None:
    """The address leads to something else: said in one sentence, at once."""
    for ask in (client.ask("Hi"), client.status(STREAM_ID)):
        relay.replies.append(answer(200, html="<h1>It works!</h1>"))
        with pytest.raises(UnexpectedAnswerError, match=r"text/html.*is this the address of a relay"):
            await ask


async def test_a_proxys_error_page_is_tried_again(client: Client, relay: FarRelay) -> None:
    """A 502 in HTML is a proxy whose relays are just restarting."""
    relay.replies.extend([answer(502, html="<h1>Bad gateway</h1>")] * 2)
    assert await read(client.stream("Hi")) == relay.events


async def test_a_redirect_is_told_and_not_followed(client: Client, relay: FarRelay) -> None:
    """The API key must not go where a redirect leads."""
    async with FarRelay() as other:
        relay.replies.append(answer(307, Location=other.url + "/v1/streams"))
        with pytest.raises(UnexpectedAnswerError, match="redirects to http"):
            await client.ask("Hi")
        assert other.asked == []


async def test_json_that_is_no_state_is_an_unexpected_answer(client: Client, relay: FarRelay) -> None:
    """Some other API may live at the address."""
    relay.replies.append(answer(200, {"hello": 1}))
    with pytest.raises(UnexpectedAnswerError, match="id"):
        await client.status(STREAM_ID)


async def test_events_that_are_none_of_ours_are_an_unexpected_answer(client: Client, relay: FarRelay) -> None:
    """Some other SSE may live at the address."""
    relay.tell([event("start")])
    with pytest.raises(UnexpectedAnswerError, match="after the start"):
        await client.ask("Hi")


async def test_a_failed_answer_is_raised_with_what_there_is_of_it(client: Client, relay: FarRelay) -> None:
    """Its text must not pass for the whole by accident; reading event by event raises nothing."""
    *events, end = answer_events("Hel", status="failed", stop_reason=None)
    relay.tell([*events, event("error", code="provider_error", message="It broke.", retryable=False), end])
    with pytest.raises(AnswerFailedError, match="It broke") as caught:
        await client.ask("Hi")
    assert (caught.value.answer.text, caught.value.failure_code) == ("Hel", "provider_error")
    assert len(await read(client.follow(STREAM_ID))) == len(relay.log)


async def test_nobody_at_the_address_is_a_lost_connection() -> None:
    """Said with the address, once the time for a start is over."""
    url = f"http://127.0.0.1:{free_port()}"
    async with Client(url, timeouts=Timeouts(start_s=0.1)) as client:
        with pytest.raises(ConnectionLostError, match=f"{url} cannot be reached: Connection refused"):
            await client.ask("Hi")


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://host", "http://", "http://user:pass@host", "http://h/?x=1"])
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    """And a password in it is not repeated."""
    with pytest.raises(ValueError, match="address of a relay") as caught:
        Client(url)
    assert "pass@" not in str(caught.value)


def test_the_key_is_never_shown() -> None:
    """Neither by the client's representation nor by the error for a key that no header can carry."""
    assert "s3cret" not in repr(Client(api_key="s3cret"))
    with pytest.raises(ValueError, match="API key") as caught:
        Client(api_key="s3cret\r\nX: y")
    assert "s3cret" not in str(caught.value)


async def test_an_id_that_cannot_be_one_is_refused_before_anything_is_sent(client: Client, relay: FarRelay) -> None:
    """Also one that would change the path."""
    for wrong in ("", "../models", "k3f9"):
        with pytest.raises(InvalidRequestError, match="not a stream id"):
            client.follow(wrong)
        with pytest.raises(InvalidRequestError):
            await client.status(wrong)
    assert relay.asked == []


@pytest.mark.parametrize("name", ["first_byte_s", "idle_s", "total_s", "start_s", "lost_s"])
def test_a_timeout_of_nothing_is_refused(name: str) -> None:
    """It would end everything at once."""
    with pytest.raises(ValueError, match=name):
        Timeouts(**{name: 0.0})


async def test_a_client_that_is_not_open_says_so() -> None:
    """Instead of failing somewhere inside."""
    with pytest.raises(RuntimeError, match="async with"):
        await Client().models()


def test_importing_the_client_imports_no_service() -> None:
    """Neither ours nor what they need: an application that only reads answers needs no Redis library."""
    code = "import sys, tailrace; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean_environment(), capture_output=True, check=True
    )
    assert not {"relay", "worker", "redis", "arq", "anthropic", "pydantic"} & set(run.stdout.decode().split())
