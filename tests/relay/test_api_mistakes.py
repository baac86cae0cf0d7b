"""What clients get wrong: each mistake is a 4xx in the one shape, with a sentence that says what to do."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.models import Model
from shared.offset import new_stream_id
from tests.relay.api import Answer, Api, script
from tests.relay.conftest import MakeApi
from tests.support import eventually

OK = {"messages": script(tokens=1)}
JSON = {"Content-Type": "application/json"}
DEEP = b'{"messages":[{"role":"user","content":[{"a":%s%s}]}]}'


def refused(answer: Answer, status: int, code: str, *words: str) -> None:
    """Check that an answer is this error, and that its message has these words."""
    error = answer.error()
    assert (answer.status, error["code"]) == (status, code), answer
    assert error["retryable"] is False
    assert not [word for word in words if word not in error["message"]], error["message"]
    assert len(error["message"]) < 1500, "a mistake is not to be read back at length"
    assert "\n" not in error["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ["not valid JSON"]),
        (b"{", ["not valid JSON", "line 1"]),
        (b"\x00", ["not valid JSON"]),
        (b"\xef\xbb\xbf{}", ["not valid JSON"]),
        (b'{"messages":[{"role":"user","content":"\xff"}]}', ["not valid JSON"]),
        (b'{"messages":[{"role":"user","content":"\\ud800"}]}', ["not valid JSON"]),
        (json.dumps(OK).encode("utf-16"), ["not valid JSON"]),
        (DEEP % (b"[" * 300, b"]" * 300), ["recursion limit"]),
        (DEEP % (b"[" * 100_000, b""), ["recursion limit"]),
        (b'{"max_tokens":1' + b"0" * 5000 + b"}", ["out of range"]),
        (b"[]", ["the body", "object"]),
        (b"null", ["the body"]),
        (b'"x"', ["the body"]),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_a_body_that_is_no_json_object_is_refused(api: Api, body: bytes, words: list[str]) -> None:
    """Broken, empty, in the wrong encoding, or nested without end."""
    refused(await api.post(data=body, headers=JSON), 400, "invalid_request", *words)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"messages": []}, ["messages"]),
        ({"messages": None}, ["messages"]),
        ({"messages": "Hello"}, ["messages"]),
        ({"messages": [{"role": "user", "content": ""}]}, ["messages.0.content"]),
        ({"messages": [{"role": "user", "content": 5}]}, ["messages.0.content: Input should be a valid string"]),
        ({"messages": [{"role": "robot", "content": "x"}]}, ["messages.0.role"]),
        ({"stream": True, "n": 1}, ["unknown field 'stream'", "unknown field 'n'"]),
        ({"x" * 100_000: 1}, ["unknown field"]),
        ({"max_tokens": "many"}, ["max_tokens"]),
        ({"max_tokens": 0}, ["max_tokens"]),
        ({"temperature": 3}, ["temperature"]),
        ({"metadata": {"a": 1}}, ["metadata.a"]),
        ({"when_abandoned": {"cancel_after_s": -1}}, ["when_abandoned.cancel_after_s"]),
        ({"on_interruption": "panic"}, ["on_interruption"]),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_wrong_field_is_named(api: Api, fields: dict[str, Any], words: list[str]) -> None:
    """Wrong types, values out of range and unknown fields; the path as the client wrote it."""
    refused(await api.post(json=OK | fields), 400, "invalid_request", *words)


async def test_missing_messages_are_asked_for(api: Api) -> None:
    """The one field that every request must have."""
    refused(await api.post(json={}), 400, "invalid_request", "messages: Field required")


async def test_a_model_nobody_serves_is_refused_before_anything_starts(api: Api, make_api: MakeApi) -> None:
    """An unknown model, a provider that does not serve it, and a relay that has no models at all."""
    refused(await api.post(json=OK | {"model": "gpt-0"}), 400, "unknown_model", "'gpt-0'", "GET /v1/models")
    refused(await api.post(json=OK | {"provider": "anthropic"}), 400, "unknown_model", "'sim'", "'anthropic'")
    bare = await make_api(sim=False)
    refused(await bare.post(json=OK), 400, "unknown_model", "ANTHROPIC_API_KEY")
    assert (await api.get("/v1/streams")).json()["streams"] == []


async def test_what_the_models_provider_has_no_words_for_is_refused_before_anything_starts(make_api: MakeApi) -> None:
    """The field is named; what is said in its words already must not come as a field of the provider's own."""
    models = {"chat": Model(provider="openai", base_url="http://127.0.0.1:1/v1")}
    api = await make_api(models=models)
    odd = {"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}
    refused(await api.post(json=odd), 400, "invalid_request", "messages.0.content.0.type", "search_result")
    long = {"messages": OK["messages"], "tools": [{"type": "x" * 5000}, {"name": "t", "y\n" * 5000: 1}]}
    refused(await api.post(json=long), 400, "invalid_request", "tools.0.type", "tools.1.")
    asked = OK | {"provider_options": {"n": 2}}
    refused(await api.post(json=asked), 400, "invalid_request", "provider_options.n")
    assert (await api.post(json=OK | {"provider_options": {"seed": 2}})).status == 201


async def test_a_body_over_the_limit_is_refused(api: Api, make_api: MakeApi) -> None:
    """The default of 1 MiB, announced or in chunks, and one of one's own."""
    large = b'{"messages":[{"role":"user","content":"' + b"x" * 1_048_576 + b'"}]}'
    refused(await api.post(data=io.BytesIO(large), headers=JSON), 413, "too_large", "limit")

    async def chunks() -> Any:
        for at in range(0, len(large), 65_536):
            yield large[at : at + 65_536]

    refused(await api.post(data=chunks(), headers=JSON), 413, "too_large", "limit")
    narrow = await make_api(max_body_bytes=100)
    refused(await narrow.post(json=OK | {"system": "x" * 100}), 413, "too_large")
    assert (await narrow.post(json=OK)).status == 201


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ";;;=;", ""])
async def test_what_is_not_sent_as_json_is_refused(api: Api, kind: str) -> None:
    """A form of another site's page can send anything but this type."""
    refused(
        await api.post(data=json.dumps(OK).encode(), headers={"Content-Type": kind}),
        415,
        "unsupported_media_type",
        "application/json",
    )


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "rot13"])
async def test_a_compressed_body_is_refused(api: Api, encoding: str) -> None:
    """Whether it would unfold to a request, to a gigabyte or to nothing."""
    for body in (gzip.compress(json.dumps(OK).encode()), gzip.compress(b" " * 50_000_000, 1), b"not compressed"):
        answer = await api.post(data=body, headers=JSON | {"Content-Encoding": encoding})
        refused(answer, 415, "unsupported_media_type", "uncompressed")


async def test_a_body_that_does_not_come_is_not_waited_for(make_api: MakeApi) -> None:
    """Whoever announces more than is sent, or sends it a byte an hour, is told within the send timeout."""
    api = await make_api(send_timeout_s=0.3)
    head = b"POST /v1/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    answer = await api.raw(head + b"Content-Length: 200\r\n\r\n{}", deadline_s=20)
    refused(answer, 400, "invalid_request", "did not arrive within 0.3 s")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("HEAD", "/v1/streams", "GET,POST"),
        ("OPTIONS", "/v1/streams", "GET,POST"),
        ("PUT", "/v1/streams", "GET,POST"),
        ("DELETE", "/v1/streams", "GET,POST"),
        ("PATCH", "/v1/streams/x", "DELETE,GET"),
        ("POST", "/v1/streams/x/events", "GET"),
        ("GET", "/v1/streams/x/cancel", "POST"),
        ("POST", "/v1/models", "GET"),
        ("POST", "/openapi.json", "GET"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(api: Api, method: str, path: str, allow: str) -> None:
    """405, with ``Allow`` as HTTP asks; a HEAD gets the headers alone."""
    answer = await api.ask(method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, allow)
    if method != "HEAD":
        refused(answer, 405, "method_not_allowed", "openapi.json")


@pytest.mark.parametrize("path", ["/v2/streams", "/v1", "/v1/", "/v1/streams/", "/v1/streams//events", "/V1/STREAMS"])
async def test_an_unknown_route_is_told_where_the_known_ones_are(api: Api, path: str) -> None:
    """404 in the one shape, not a page of the HTTP library's."""
    refused(await api.get(path), 404, "not_found", "openapi.json")


@pytest.mark.parametrize("odd", ["x", "%00", "%FF%FE", "..%2Fmodels", "a" * 4000, "\u00e9", "k3f9%0A"])
async def test_an_id_that_cannot_be_is_unknown(api: Api, odd: str) -> None:
    """Whatever stands there, and on each route; nothing of it reaches Redis as a key."""
    for method, rest in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
        refused(await api.ask(method, f"/v1/streams/{odd}{rest}"), 404, "not_found", "check the id")


async def test_a_stream_that_never_was_is_unknown(api: Api) -> None:
    """A well-formed id is not enough."""
    for method, rest in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
        refused(await api.ask(method, f"/v1/streams/{new_stream_id()}{rest}"), 404, "not_found", "check the id")


async def test_an_offset_that_is_not_of_this_stream_is_refused(api: Api) -> None:
    """Malformed, another stream's, or bytes that are no text; by query or header, as SSE or poll."""
    stream_id, other = await api.start(), await api.start()
    for offset in (
        "x",
        "0",
        "1-1",
        f"{stream_id[:4]}-001-1-000",
        f"{stream_id[:4]}-00000001-00000001-000 ",
        "\u0663",
        "NOW",
    ):
        for query in ("?mode=sse", "?mode=poll"):
            answer = await api.get(f"/v1/streams/{stream_id}/events{query}", params={"offset": offset})
            refused(answer, 400, "invalid_offset", "send the id of the last event you have")
    foreign = f"{other[:4]}-00000001-00000001-000"
    answer = await api.poll(stream_id, headers={"Last-Event-ID": foreign})
    refused(answer, 400, "invalid_offset", "another stream")
    raw = f"GET /v1/streams/{stream_id}/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
    refused(await api.raw(raw + b"Last-Event-ID: \xff\xfe\r\n\r\n"), 400, "invalid_offset")


@pytest.mark.parametrize("accept", ["application/json", "text/html", "image/*"])
async def test_a_reader_that_takes_no_events_is_pointed_to_the_poll(api: Api, accept: str) -> None:
    """406 before the first byte; the poll does not mind."""
    stream_id = await api.start()
    answer = await api.get(f"/v1/streams/{stream_id}/events", headers={"Accept": accept})
    refused(answer, 406, "not_acceptable", "text/event-stream", "?mode=poll")
    assert (await api.poll(stream_id, headers={"Accept": accept})).status == 200


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/v1/streams?limit=0", "limit must be a whole number from 1 to 100"),
        ("/v1/streams?limit=101", "limit"),
        ("/v1/streams?limit=0.5", "limit"),
        ("/v1/streams?limit=nan", "limit"),
        ("/v1/streams?limit=%D9%A3", "limit"),
        ("/v1/streams?limit=", "limit"),
        ("/v1/streams?status=sleeping", "status must be one of queued"),
        ("/v1/streams?status=", "status"),
        ("/v1/streams?cursor=", "cursor must be the next_cursor"),
        ("/v1/streams?cursor=1", "cursor"),
        ("/v1/streams?cursor=1.2.3", "cursor"),
        ("/v1/streams?cursor=-1.0", "cursor"),
        ("/v1/streams?cursor=1." + "9" * 26, "cursor"),
        ("/v1/streams?cursor=" + "9" * 30 + ".1", "cursor"),
        ("/v1/streams?cursor=%D9%A3.%D9%A3", "cursor"),
    ],
)
async def test_a_wrong_query_of_the_list_is_refused(api: Api, path: str, word: str) -> None:
    """Numbers that are none, out of range, or larger than Redis can count."""
    refused(await api.get(path), 400, "invalid_request", word)


@pytest.mark.parametrize("wait", ["-1", "301", "inf", "nan", "soon", "", "1e9"])
async def test_a_wrong_wait_is_refused(api: Api, wait: str) -> None:
    """On a start, before anything has started, and on a poll."""
    refused(await api.post(f"/v1/streams?wait={wait}", json=OK), 400, "invalid_request", "wait must be", "300")
    assert (await api.get("/v1/streams")).json()["streams"] == []
    stream_id = await api.start()
    refused(await api.poll(stream_id, f"&wait={wait}"), 400, "invalid_request", "wait must be")


async def test_a_wrong_mode_is_refused(api: Api) -> None:
    """There are two ways to follow."""
    stream_id = await api.start()
    refused(await api.get(f"/v1/streams/{stream_id}/events?mode=x"), 400, "invalid_request", "sse or poll")


@pytest.mark.parametrize("key", ["", "k" * 257, "a\tb", "\u2028"])
async def test_a_key_that_cannot_be_kept_is_refused(api: Api, key: str) -> None:
    """Empty, too long, or not printable."""
    refused(await api.post(json=OK, headers={"Idempotency-Key": key}), 400, "invalid_request", "1 to 256")


async def test_an_expectation_that_nobody_can_meet_is_refused(api: Api) -> None:
    """Whatever the route, and whatever bytes it is; to be told to go on is met."""
    head = b"GET /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: %s\r\n\r\n"
    for path in (b"v1/models", b"v1/nowhere"):
        for odd in (b"miracles", b"\xff\xfe"):
            refused(await api.raw(head % (path, odd)), 400, "invalid_request", "without Expect")
    answer = await api.post(json=OK, expect100=True)
    assert answer.status == 201


async def test_bytes_that_are_no_text_break_nothing(make_api: MakeApi) -> None:
    """HTTP headers may hold any bytes: as a key, as a name for a key, as a type, as what is accepted."""
    api = await make_api(api_keys={"acme": "s3cret"})
    body = json.dumps(OK).encode()
    start = b"POST /v1/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n" % len(body)
    key, kind = b"x-api-key: s3cret\r\n", b"Content-Type: application/json\r\n"
    odd = b"\xff\xfe\x80"
    answer = await api.raw(start + key + kind + b"Idempotency-Key: " + odd + b"\r\n\r\n" + body)
    refused(answer, 400, "invalid_request", "1 to 256")
    refused(await api.raw(start + b"x-api-key: " + odd + b"\r\n\r\n" + body), 401, "unauthorized")
    refused(await api.raw(start + b"Authorization: Bearer " + odd + b"\r\n\r\n" + body), 401, "unauthorized")
    answer = await api.raw(start + key + b"Content-Type: " + odd + b"\r\n\r\n" + body)
    refused(answer, 415, "unsupported_media_type")
    assert (await api.raw(start + key + kind + b"Accept: " + odd + b"\r\n\r\n" + body)).status == 201


async def test_an_expired_stream_is_gone(make_api: MakeApi, start_worker: Any) -> None:
    """410 on each route that reads, with the stream named, once the log's time has passed."""
    await start_worker(ttl_s=0.3, linger_s=0.1)
    api = await make_api(ttl_s=0.3, linger_s=0.1)
    stream_id = await api.finished()
    answer = await eventually(lambda: answered(api, f"/v1/streams/{stream_id}", 410))
    for method, rest in (("GET", ""), ("GET", "/events"), ("GET", "/events?mode=poll&offset=now"), ("POST", "/cancel")):
        answer = await api.ask(method, f"/v1/streams/{stream_id}{rest}")
        refused(answer, 410, "gone", "start a new stream")
        assert answer.error()["stream_id"] == answer.headers["X-Stream-Id"] == stream_id


async def answered(api: Api, path: str, status: int) -> Answer | None:
    """Return the answer if it has this status."""
    answer = await api.get(path)
    return answer if answer.status == status else None


async def test_a_log_that_was_lost_while_its_stream_ran_is_told_of(api: Api, redis: Redis) -> None:
    """Its state cannot be told any more, and nothing is made up."""
    stream_id = await api.start()
    for key in await redis.keys(f"*{stream_id}*log"):
        await redis.delete(key)
    refused(await api.get(f"/v1/streams/{stream_id}"), 410, "gone")
