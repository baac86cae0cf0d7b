"""Who may do what: keys, tenants, loopback, browsers of other origins, and secrets that must not show."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from shared.settings import Settings
from tests.conftest import StartService
from tests.relay.api import Api, script
from tests.relay.conftest import MakeApi, StartWorker

KEYS = {"acme": "key-of-acme", "globex": "sha256:" + hashlib.sha256(b"key-of-globex").hexdigest()}
BODY = {"messages": script(tokens=5)}
HOME = "https://chat.example"


@pytest.mark.parametrize("key", ["key-of-acme", "key-of-globex"])
async def test_a_key_opens_by_either_header(make_api: MakeApi, key: str) -> None:
    """Whether the settings have it plain or as its digest; the scheme's case does not matter."""
    api = await make_api(api_keys=KEYS)
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"bearer  {key} "},
        {"x-api-key": key},
        {"X-API-KEY": key, "Authorization": "Basic eDp5"},
    ):
        assert (await api.get("/v1/models", headers=headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "key-of-acme"},
        {"Authorization": "Basic key-of-acme"},
        {"Authorization": "Bearer key-of-acm"},
        {"Authorization": "Bearer key-of-acme2"},
        {"Authorization": "Bearer KEY-OF-ACME"},
        {"Authorization": f"Bearer {KEYS['globex']}"},
        {"x-api-key": KEYS["globex"].removeprefix("sha256:")},
        {"x-api-key": ""},
        {"x-api-key": "wrong", "Cookie": "x-api-key=key-of-acme"},
        {"Authorization": "Bearer wrong", "x-api-key": "key-of-acme"},
    ],
    ids=str,
)
async def test_without_a_valid_key_every_route_is_shut(make_api: MakeApi, headers: dict[str, str]) -> None:
    """401, before anything is read or told; what was sent is not repeated in the answer."""
    api = await make_api(api_keys=KEYS)
    for method, path in (
        ("POST", "/v1/streams"),
        ("GET", "/v1/streams"),
        ("GET", "/v1/streams/x"),
        ("GET", "/v1/streams/x/events"),
        ("POST", "/v1/streams/x/cancel"),
        ("DELETE", "/v1/streams/x"),
        ("GET", "/v1/models"),
    ):
        answer = await api.ask(method, path, headers=headers)
        assert (answer.status, answer.error()["code"]) == (401, "unauthorized"), (method, path)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        sent = [value.removeprefix("Bearer ").encode() for value in headers.values()]
        assert not any(value in answer.body for value in sent if value)


async def test_what_operators_ask_needs_no_key(make_api: MakeApi) -> None:
    """Probes and scrapes have none; what they are told is no tenant's."""
    api = await make_api(api_keys=KEYS)
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        answer = await api.get(path)
        assert answer.status == 200
        assert not any(tenant.encode() in answer.body for tenant in KEYS)


async def test_a_foreign_stream_does_not_exist(make_api: MakeApi, start_worker: StartWorker) -> None:
    """On each route the very answer that an id gets which never was, and the stream is none the worse for it."""
    await start_worker()
    relay = await make_api(api_keys=KEYS)
    acme, globex = relay.having(x_api_key="key-of-acme"), relay.having(x_api_key="key-of-globex")
    stream_id = await acme.finished(metadata={"chat": "1"})
    for method, rest in (
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/events?offset=now"),
        ("GET", "/events?mode=poll"),
        ("GET", "/events?offset=rubbish"),
        ("POST", "/cancel"),
        ("DELETE", ""),
    ):
        foreign = await globex.ask(method, f"/v1/streams/{stream_id}{rest}")
        unknown = await globex.ask(method, f"/v1/streams/{stream_id[::-1]}{rest}")
        assert (foreign.status, foreign.body) == (404, unknown.body)
        assert "X-Stream-Id" not in foreign.headers
    assert (await globex.get("/v1/streams")).json()["streams"] == []
    assert (await globex.get("/v1/streams?metadata.chat=1")).json()["streams"] == []
    assert [stream["id"] for stream in (await acme.get("/v1/streams")).json()["streams"]] == [stream_id]
    assert (await acme.state(stream_id))["status"] == "completed"


async def test_a_foreign_stream_is_hidden_after_its_end_too(make_api: MakeApi) -> None:
    """A tombstone says 410 to its tenant alone."""
    relay = await make_api(api_keys=KEYS)
    acme, globex = relay.having(x_api_key="key-of-acme"), relay.having(x_api_key="key-of-globex")
    stream_id = await acme.start()
    await acme.ask("DELETE", f"/v1/streams/{stream_id}")
    assert (await acme.get(f"/v1/streams/{stream_id}")).status == 410
    assert (await globex.get(f"/v1/streams/{stream_id}")).status == 404


def test_without_keys_a_relay_stays_on_loopback() -> None:
    """Anything else is refused at start with a sentence, whatever spelling the address has."""
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com", ""):
        with pytest.raises(ValidationError, match="host may leave loopback only when api_keys are set"):
            Settings(host=host)
        Settings(host=host, api_keys={"acme": SecretStr("key")})
    for host in ("127.0.0.1", "::1", "localhost"):
        Settings(host=host)


async def test_secrets_are_not_in_logs_or_metrics(relay_process: StartService, api: Api) -> None:
    """At the most talkative level: neither keys, right or wrong, nor what was said, nor bytes that are no HTTP."""
    key, wrong, said = "k3y-right-0001", "k3y-wrong-0002", "s3cret-said-0003"
    relay = await relay_process(
        TAILRACE_SIM="true", TAILRACE_LOG_LEVEL="DEBUG", TAILRACE_API_KEYS=f'{{"acme": "{key}"}}'
    ).ready()
    away = Api(api.session, relay.url, x_api_key=key)
    stream_id = await away.start(messages=[{"role": "user", "content": said}], metadata={said: said})
    await away.get(f"/v1/streams?metadata.{said}={said}")
    await away.get("/v1/models", headers={"x-api-key": wrong})
    await away.post(data=f'{{"{said}": "{said}"'.encode(), headers={"Content-Type": "application/json"})
    await away.post(json={"messages": [{"role": "user", "content": said}], said: 1})
    await away.post(json=BODY | {"model": said})
    await away.ask("DELETE", f"/v1/streams/{stream_id}")
    malformed = await away.raw(f"GET /v1/models HTTP/1.1\r\nHost: x\r\nx-api-key: {key}\x01\r\n\r\n".encode())
    assert malformed.status == 400
    metrics = (await away.get("/metrics")).body.decode()
    relay.terminate()
    assert await relay.ended() == 0
    told = relay.output()
    assert "stream.deleted" in told
    for secret in (key, wrong, said):
        assert secret not in told
        assert secret not in metrics


async def asked_from(api: Api, origin: str, method: str = "GET", path: str = "/v1/models", **headers: str) -> Any:
    """Return the headers of the answer to a browser's request from ``origin``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.ask(method, path, headers={"Origin": origin} | named)


async def test_other_origins_are_not_let_in_by_default(api: Api) -> None:
    """No header of the kind, on any answer; a preflight is just a wrong method."""
    preflight = await asked_from(api, HOME, "OPTIONS", Access_Control_Request_Method="POST")
    assert preflight.status == 405
    for answer in (preflight, await asked_from(api, HOME), await asked_from(api, HOME, path="/nowhere")):
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


async def test_a_named_origin_is_let_in(make_api: MakeApi) -> None:
    """On answers, refusals and event streams alike; with the headers that its scripts must read."""
    api = await make_api(cors_origins=[HOME])
    stream_id = await api.start()
    async with api.follow(stream_id, headers={"Origin": HOME}) as reader:
        streamed = reader.response.headers
    answers = [await asked_from(api, HOME), await asked_from(api, HOME, path="/v1/streams/x")]
    for headers in (streamed, *(answer.headers for answer in answers)):
        assert headers["Access-Control-Allow-Origin"] == HOME
        assert headers["Vary"] == "Origin"
        assert {"X-Stream-Id", "Location", "Retry-After"} <= set(headers["Access-Control-Expose-Headers"].split(", "))
        assert "Access-Control-Allow-Credentials" not in headers


async def test_a_preflight_is_answered_without_a_key(make_api: MakeApi) -> None:
    """Browsers send none with it; every header and method that the API takes is allowed."""
    api = await make_api(cors_origins=[HOME, "http://localhost:3000"], api_keys=KEYS)
    asked = {"Access_Control_Request_Method": "DELETE", "Access_Control_Request_Headers": "authorization"}
    answer = await asked_from(api, HOME, "OPTIONS", "/v1/streams/x", **asked)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == HOME
    assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) == {"GET", "POST", "DELETE"}
    allowed = {name.lower() for name in answer.headers["Access-Control-Allow-Headers"].split(", ")}
    assert {"authorization", "content-type", "idempotency-key", "last-event-id", "x-api-key"} <= allowed
    assert (await asked_from(api, HOME)).status == 401


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://chat.example.evil.example", "null", "", HOME + "/"]
)
async def test_an_unnamed_origin_is_not_let_in(make_api: MakeApi, origin: str) -> None:
    """Compared whole, and caches are told that answers differ by origin."""
    api = await make_api(cors_origins=[HOME])
    for answer in (
        await asked_from(api, origin),
        await asked_from(api, origin, "OPTIONS", Access_Control_Request_Method="GET"),
    ):
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"
