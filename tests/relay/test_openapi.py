"""The description of the API and the API itself: neither has what the other lacks, and every answer is as described."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator

from relay.app import Relay
from relay.openapi.document import describe
from shared import errors
from shared.events import KNOWN_TYPES
from shared.offset import new_stream_id
from shared.request import StreamRequest
from tests.relay.api import Answer, Api, script
from tests.relay.conftest import MakeApi, StartRelay, StartWorker
from tests.shared.test_request import FULL
from tests.support import eventually
from tests.support_sse import SseReader

SLOW = {"messages": script(tokens=2000, per_second=50)}
ROUTES = (
    ("GET", ""),
    ("GET", "/events"),
    ("POST", "/cancel"),
    ("DELETE", ""),
    ("POST", "/links"),
    ("DELETE", "/links"),
)
"""Of one stream: methods and the rest of their paths."""
UNTOLD_ROUTES = {"/", "/page/{name}", "/clients/js/{name}"}
"""The chat page is no part of the API."""


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with every object of the events closed, so that a field it does not describe is an error.

    Clients must ignore fields that they do not know; the server's own tests must not.
    """
    strict = copy.deepcopy(document)
    for schema in strict["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return strict


class Description:
    """The document as clients get it, and whether answers are as it says."""

    def __init__(self, document: dict[str, Any]) -> None:
        """Take the document."""
        self.document = closed(document)

    def check(self, schema: dict[str, Any], value: Any) -> None:
        """Raise ``ValidationError`` unless the value is as the schema says."""
        whole = {**schema, "components": self.document["components"]}
        Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)

    def operation(self, method: str, path: str) -> dict[str, Any]:
        """Return the description of a route, by the path of a request."""
        bare = path.partition("?")[0]
        for template, item in self.document["paths"].items():
            if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), bare):
                found: dict[str, Any] = item[method.lower()]
                return found
        message = f"{path} is not described"
        raise AssertionError(message)

    def check_answer(self, method: str, path: str, answer: Answer) -> None:
        """Check the status, the headers and the body of an answer."""
        told = self.operation(method, path)["responses"]
        assert str(answer.status) in told, f"{method} {path} is not said to answer {answer.status}: {answer}"
        response = told[str(answer.status)]
        for name, header in response.get("headers", {}).items():
            assert name in answer.headers, f"{method} {path} answered {answer.status} without {name}"
            kind = int if header["schema"]["type"] == "integer" else str
            self.check(header["schema"], kind(answer.headers[name]))
        if "content" not in response:
            assert answer.body == b""
            return
        media = answer.headers["Content-Type"].partition(";")[0]
        assert media in response["content"], f"{method} {path} is not said to answer {media}"
        if media == "application/json":
            self.check(response["content"][media]["schema"], answer.json())


@pytest.fixture
def described() -> Description:
    """Give the description."""
    return Description(describe())


class CheckedApi(Api):
    """A client that compares every answer with the description, and keeps what it has seen."""

    def __init__(self, api: Api, described: Description) -> None:
        """Ask as ``api`` does."""
        super().__init__(api.session, api.url, **api.headers)
        self.described = described
        self.seen: set[tuple[str, str, int]] = set()

    async def ask(self, method: str, path: str, *, deadline_s: float = 10.0, **request: Any) -> Answer:
        """Return the answer, which is as described."""
        answer = await super().ask(method, path, deadline_s=deadline_s, **request)
        self.described.check_answer(method, path, answer)
        self.seen.add((method, path, answer.status))
        return answer


async def test_the_document_is_what_is_served(api: Api) -> None:
    """As JSON, to anybody, valid by the specification's own schema, every reference leading somewhere."""
    answer = await api.get("/openapi.json")
    assert answer.headers["Content-Type"].startswith("application/json")
    document = answer.json()
    assert document == json.loads(json.dumps(describe()))
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def registered(app: web.Application) -> Iterator[tuple[str, str]]:
    """Yield the method and path of every route of an application."""
    for route in app.router.routes():
        assert route.resource is not None
        if route.resource.canonical not in UNTOLD_ROUTES and route.method != "HEAD":
            yield route.method, route.resource.canonical


async def test_every_route_is_described_and_none_besides(start_relay: StartRelay) -> None:
    """A route that is added, renamed or removed on one side alone fails here."""
    relay: Relay = await start_relay()
    app = relay._runner.app
    told = {(method.upper(), path) for path, item in describe()["paths"].items() for method in item}
    assert told == set(registered(app))


def test_every_part_is_used() -> None:
    """A schema or parameter that nothing refers to describes nothing."""
    document = describe()
    text = json.dumps(document)
    for kind in ("schemas", "parameters"):
        for name in document["components"][kind]:
            assert f'"#/components/{kind}/{name}"' in text, f"{name} is not used"


def test_every_error_of_the_table_has_its_code() -> None:
    """And every status of an operation is one of its errors'."""
    document = describe()
    codes = document["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"]
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TailraceError)
    ]
    assert set(codes) == {kind.code for kind in kinds}


def test_every_event_is_described() -> None:
    """By its type, in the union."""
    mapping = describe()["components"]["schemas"]["Event"]["discriminator"]["mapping"]
    assert set(mapping) == KNOWN_TYPES


@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({}, True),
        ({"when_abandoned": "cancel"}, True),
        ({"max_tokens": None}, True),
        ({"messages": []}, False),
        ({"messages": [{"role": "user", "content": ""}]}, False),
        ({"unknown": 1}, False),
        ({"max_tokens": 0}, False),
        ({"temperature": 2.5}, False),
        ({"stop": ["x"] * 17}, False),
        ({"metadata": {"a": 1}}, False),
        ({"when_abandoned": {"cancel_after_s": -1}}, False),
    ],
    ids=str,
)
def test_the_request_is_described_as_it_is_parsed(
    described: Description, changes: dict[str, Any], *, good: bool
) -> None:
    """The schema takes what the relay takes, and refuses what it refuses."""
    schema = {"$ref": "#/components/schemas/StreamRequest"}
    body = FULL | changes
    if good:
        StreamRequest.model_validate_json(json.dumps(body))
        described.check(schema, body)
    else:
        with pytest.raises(ValueError, match="validation error"):
            StreamRequest.model_validate_json(json.dumps(body))
        with pytest.raises(ValidationError):
            described.check(schema, body)


def test_an_undescribed_field_is_noticed(described: Description) -> None:
    """The checks below can fail: one field too many in a state, an event or an error, or one too few."""
    error = {"error": {"code": "gone", "message": "x", "retryable": False}}
    event = {"type": "delta", "block": 0, "text": "x"}
    described.check({"$ref": "#/components/schemas/Error"}, error)
    described.check({"$ref": "#/components/schemas/Event"}, event)
    for name, wrong in (
        ("Error", {"error": error["error"] | {"more": 1}}),
        ("Error", {"error": {"code": "gone", "message": "x"}}),
        ("Error", {"error": error["error"] | {"code": "other"}}),
        ("Event", event | {"more": 1}),
        ("Event", event | {"type": "other"}),
        ("Poll", {"events": [], "offset": "x"}),
    ):
        with pytest.raises(ValidationError):
            described.check({"$ref": f"#/components/schemas/{name}"}, wrong)


async def test_states_are_as_described(make_api: MakeApi, start_worker: StartWorker, described: Description) -> None:
    """Queued, running, completed, failed, cancelled and incomplete; with every kind of block that the model makes."""
    api = CheckedApi(await make_api(), described)
    queued = await api.start(**SLOW, metadata={"a": "b"}, max_tokens=10**6)
    await api.state(queued)
    assert (await api.post("/v1/streams?wait=0", json=SLOW)).status == 202
    await start_worker()
    running = await api.start(**SLOW)
    await eventually(lambda: in_status(api, running, "running"))
    tools = [{"name": "t", "input": {"a": [1, None]}}]
    for fields in (
        {"messages": script(tokens=3, thinking=2, tools=tools)},
        {"messages": script(tokens=9), "max_tokens": 2},
        {"messages": script(tokens=9, fail_at=3, fault="refused", attempts=[1, 2, 3])},
    ):
        await api.finished(**fields)
    listed = (await api.get("/v1/streams")).json()["streams"]
    assert {stream["status"] for stream in listed} >= {"running", "completed", "failed", "incomplete"}
    await api.post(f"/v1/streams/{queued}/cancel")
    await api.ask("DELETE", f"/v1/streams/{running}")
    await api.ask("DELETE", f"/v1/streams/{running}")
    paged = (await api.get("/v1/streams?limit=1")).json()["next_cursor"]
    await api.get(f"/v1/streams?limit=1&cursor={paged}&status=completed&metadata.a=b")
    await api.post(f"/v1/streams/{queued}/links")
    await api.post(f"/v1/streams/{queued}/links", json={"lasts_s": 60})
    await api.ask("DELETE", f"/v1/streams/{queued}/links")
    for path in ("/v1/models", "/v1/models/sim", "/healthz", "/readyz", "/metrics", "/openapi.json"):
        await api.get(path)


async def in_status(api: Api, stream_id: str, status: str) -> bool:
    """Tell whether the stream is in this status."""
    return bool((await api.state(stream_id))["status"] == status)


async def test_events_are_as_described(make_api: MakeApi, start_worker: StartWorker, described: Description) -> None:
    """Over SSE and by poll: every kind that an answer, a cut one and a failed one have."""
    await start_worker(retry_delay_s=0.01)
    api = CheckedApi(await make_api(), described)
    frame = described.operation("GET", "/v1/streams/x/events")["responses"]["200"]["content"]["text/event-stream"]
    seen = set()
    for messages, more in (
        (
            script(tokens=3, thinking=2, tools=[{"name": "t", "input": {}}]),
            {"max_tokens": 10**6, "metadata": {"a": ""}},
        ),
        (script(tokens=9, fail_at=5, fault="cut"), {"on_interruption": "restart"}),
        (script(tokens=9, fail_at=5, fault="refused"), {}),
    ):
        stream_id = await api.finished(messages=messages, **more)
        async with api.follow(stream_id) as reader:
            for event in await reader.rest():
                described.check(frame["x-itemSchema"], {"id": event.id, "event": event.event, "data": event.data})
                described.check({"$ref": "#/components/schemas/Event"}, event.json())
                assert event.event == event.json()["type"]
                seen.add(event.event)
        polled = (await api.poll(stream_id)).json()
        assert polled["events"]
        await api.poll(stream_id, f"&offset={polled['offset']}")
        assert (await api.get(f"/v1/streams/{stream_id}/events?offset={reader.last_id}")).status == 204
        fork = (await api.poll(stream_id, f"&offset={stream_id[:4]}-00000900-00000009-000")).json()
        assert fork["events"][0]["event"] == "reset"
    assert seen >= KNOWN_TYPES - {"data"}


async def test_an_error_after_the_first_byte_is_as_described(
    make_api: MakeApi, described: Description, redis: Any
) -> None:
    """A stream deleted under its reader's eyes: the same fields as over HTTP, as an event without a place."""
    api = CheckedApi(await make_api(quiet_check_s=0.1), described)
    stream_id = await api.start()
    async with api.follow(stream_id) as reader:
        await reader.take(1)
        for key in await redis.keys(f"*{stream_id}*record"):
            await redis.hset(key, "ended_ms", 1)
        for key in await redis.keys(f"*{stream_id}*log"):
            await redis.delete(key)
        told = await reader.rest()
    assert [event.event for event in told] == ["error"]
    assert told[0].json()["code"] == "gone"
    assert told[0].json()["stream_id"] == stream_id
    described.check({"$ref": "#/components/schemas/Event"}, told[0].json())


async def refuse_sockets(api: Api, shut: Api) -> None:
    """Be refused a WebSocket in every way; ``api`` has all the connections it may have."""
    opening = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "tailrace.v1",
    }
    assert (await api.get("/v1/ws")).status == 400
    assert (await shut.get("/v1/ws", headers=opening)).status == 401
    assert (await api.get("/v1/ws", headers=opening | {"Origin": "https://x.example"})).status == 403
    assert (await api.get("/v1/ws", headers=opening)).status == 429


async def test_refusals_are_as_described(make_api: MakeApi, described: Description) -> None:
    """Every status of every route that a client can bring about, with its code and its headers."""
    settings = {"max_active_per_tenant": 2, "max_connections_per_tenant": 1, "max_body_bytes": 5000}
    relay = await make_api(api_keys={"acme": "key"}, **settings)
    shut, api = CheckedApi(relay, described), CheckedApi(relay.having(x_api_key="key"), described)
    good = {"messages": script(tokens=1)}
    stream_id, gone = await api.start(), await api.start()
    assert (await api.post(json=good)).status == 429
    async with api.follow(stream_id) as reader:
        await reader.take(1)
        await api.get(f"/v1/streams/{stream_id}/events")
        await refuse_sockets(api, shut)
    await api.ask("DELETE", f"/v1/streams/{gone}")
    await api.post(json=good, headers={"Idempotency-Key": "k"})
    await api.post(json=good, headers={"Idempotency-Key": "k"})
    await api.post(json=good | {"max_tokens": 1}, headers={"Idempotency-Key": "k"})
    await api.post(json={})
    await api.post(json=good | {"model": "none"})
    await api.post(json=good | {"system": "x" * 5000})
    await api.post(data=b"x")
    await api.get("/v1/streams?limit=x")
    await api.get(f"/v1/streams/{stream_id}?format=x")
    await api.get(f"/v1/streams/{stream_id}/events?mode=x")
    await api.get(f"/v1/streams/{stream_id}/events?offset=x")
    await api.get(f"/v1/streams/{stream_id}/events", headers={"Accept": "image/png"})
    for body in ({"json": {"lasts_s": 0}}, {"json": {"more": "x" * 5000}}, {"data": b"x"}):
        await api.post(f"/v1/streams/{stream_id}/links", **body)
    for one in (gone, new_stream_id()):
        for method, rest in ROUTES:
            await api.ask(method, f"/v1/streams/{one}{rest}")
            await shut.ask(method, f"/v1/streams/{one}{rest}")
    await api.get("/v1/models/{model}")
    for path in ("/v1/streams", "/v1/models", "/v1/models/{model}"):
        await shut.get(path)
    await shut.post()
    told = {
        (method.upper(), path, int(status))
        for path, item in describe()["paths"].items()
        for method, operation in item.items()
        for status in operation["responses"]
        if 400 <= int(status) < 500 and path.startswith("/v1") and "dialects" not in operation["tags"]
    }
    ids = (stream_id, gone)
    seen = {
        (method, re.sub(r"/v1/streams/[^/]+", "/v1/streams/{stream_id}", path.partition("?")[0]), status)
        for method, path, status in api.seen | shut.seen
        if ids
    }
    assert {one for one in told - seen if one[2] != 410 or one[0] == "GET" or "links" in one[1]} == set()


async def test_what_the_full_and_the_leaving_say_is_as_described(
    make_api: MakeApi, described: Description, start_relay: StartRelay
) -> None:
    """503 where the system is full and where the relay is; one that shuts down is unready, and answers all the same."""
    api = CheckedApi(await make_api(max_active=1, max_connections=1), described)
    stream_id = await api.start()
    assert (await api.post(json=SLOW)).status == 503
    async with api.follow(stream_id) as reader:
        await reader.take(1)
        assert (await api.poll(stream_id)).status == 503
    relay = await start_relay()
    leaving = CheckedApi(Api(api.session, relay.url), described)
    await relay.services.connections.drain(0.1)
    assert (await leaving.get("/readyz")).status == 503
    assert (await leaving.poll(stream_id)).status == 200
    reader = SseReader(leaving.session, f"{leaving.url}/v1/streams", method="POST", json=SLOW)
    async with reader:
        assert reader.response.status == 200
        await reader.rest()
