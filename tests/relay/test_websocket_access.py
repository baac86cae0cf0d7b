"""Who may open a socket and what it may do then: keys, links, subprotocols, pages of other origins, and no secrets."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from relay.websocket.closing import close_code_of
from shared.errors import InternalError, InvalidRequestError, LimitError, OverloadedError, UnauthorizedError
from shared.offset import new_stream_id
from tests.conftest import StartService
from tests.relay.api import Api, script
from tests.relay.conftest import MakeApi, StartWorker
from tests.relay.socket_client import WORD_BY_WORD, connected, events_of

KEYS = {"acme": "key-of-acme", "globex": "schlüssel, of globex"}
HOME = "https://chat.example"
SLOW = {"messages": script(tokens=2000, per_second=50)}
Link = Callable[[Api, str], Awaitable[str]]


def offered(key: str) -> str:
    """Return the subprotocol that shows a key."""
    return "tailrace.key." + urlsafe_b64encode(key.encode()).decode().rstrip("=")


async def token(api: Api, stream_id: str, **wanted: float) -> str:
    """Return the token of a new link."""
    answer = await api.post(f"/v1/streams/{stream_id}/links", json=wanted)
    assert answer.status == 201, answer
    return str(answer.json()["token"])


async def refused(api: Api, *protocols: str, protocol: str = "tailrace.v1", **headers: str) -> tuple[int, bytes]:
    """Be refused a socket and return the status; the body repeats nothing of what was shown."""
    opening = {
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": ", ".join([protocol, *protocols]),
    }
    opening |= {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await api.get("/v1/ws", headers={name: value for name, value in opening.items() if value})
    for shown in protocols:
        assert shown.encode() not in answer.body
    assert {"code", "message", "retryable"} <= answer.error().keys()
    return answer.status, answer.body


@pytest.fixture
async def relay(make_api: MakeApi, start_worker: StartWorker) -> Api:
    """Give a client without a key of a relay with keys; a worker answers."""
    await start_worker()
    return await make_api(api_keys=KEYS, cors_origins=[HOME], **WORD_BY_WORD)


async def test_a_key_opens_by_header_or_by_subprotocol(relay: Api) -> None:
    """What is agreed on is the protocol alone; the socket acts for the key's tenant."""
    by_tenant = {}
    for tenant, key in KEYS.items():
        async with connected(relay, offered(key)) as client:
            assert client.socket.protocol == "tailrace.v1"
            by_tenant[tenant] = (await client.ask("create", request={"messages": script(tokens=2)}))["stream"]
    for header in ({"Authorization": "Bearer key-of-acme"}, {"x-api-key": "key-of-acme"}):
        async with connected(relay, headers=header) as client:
            await client.say("follow", stream=by_tenant["acme"])
            await client.until("unsubscribed", reason="ended")
            for kind in ("follow", "cancel"):
                foreign = await client.ask(kind, stream=by_tenant["globex"])
                unknown = await client.ask(kind, stream=new_stream_id())
                assert (foreign["type"], foreign["code"]) == ("error", "not_found")
                assert foreign["message"] == unknown["message"]


async def test_without_anything_valid_there_is_no_socket(relay: Api) -> None:
    """401, whatever is wrong with what is shown; a link does not become better by a key beside it."""
    acme = relay.having(x_api_key="key-of-acme")
    stream_id = await acme.start()
    good = await token(acme, stream_id)
    for protocols in (
        (),
        (offered("wrong"),),
        ("tailrace.key.",),
        ("tailrace.key.!!!",),
        ("tailrace.key._w",),
        (f"tailrace.link.{stream_id}.{good[:-1]}",),
        (f"tailrace.link.{new_stream_id()}.{good}",),
        (f"tailrace.link.{stream_id}.x", offered("key-of-acme")),
    ):
        assert (await refused(relay, *protocols))[0] == 401, protocols


@pytest.mark.parametrize(
    "wrong",
    [
        {"Upgrade": ""},
        {"Upgrade": "h2c"},
        {"Connection": "close"},
        {"Sec_WebSocket_Version": "8"},
        {"Sec_WebSocket_Version": ""},
        {"Sec_WebSocket_Key": ""},
        {"Sec_WebSocket_Key": "short"},
        {"Sec_WebSocket_Key": "é" * 24},
        {"Sec_WebSocket_Protocol": ""},
        {"Sec_WebSocket_Protocol": "tailrace.v2, chat"},
    ],
    ids=str,
)
async def test_what_is_no_handshake_is_told_what_one_is(api: Api, wrong: dict[str, str]) -> None:
    """400, as any request that cannot be understood."""
    status, body = await refused(api, **wrong)
    assert status == 400
    assert b"WebSocket" in body or b"tailrace.v1" in body


async def test_pages_of_other_origins_get_no_socket(relay: Api) -> None:
    """Only those of the settings and the relay's own: a browser would send what it knows of the user along."""
    good = offered("key-of-acme")
    host = relay.url.removeprefix("http://")
    for origin in (
        "https://evil.example",
        "http://chat.example",
        f"{HOME}.evil.example",
        f"{HOME}:8443",
        "null",
        "file://",
        f"ftp://{host}",
        "http://[",
        f"http://{host}.evil.example",
        f"http://x@{host}",
        "http://",
    ):
        assert (await refused(relay, good, Origin=origin))[0] == 403, origin
    for origin in (HOME, f"http://{host}", f"https://{host}"):
        async with connected(relay, good, headers={"Origin": origin}) as client:
            assert (await client.ask("ping"))["type"] == "pong"
    async with connected(relay, good, headers={"Origin": "https://a.example", "Host": "A.example"}) as client:
        assert (await client.ask("ping"))["type"] == "pong"


async def test_a_page_is_told_on_the_socket_what_it_could_not_see(make_api: MakeApi, start_worker: StartWorker) -> None:
    """A browser shows no status: the socket opens, says the error, and closes by a code that ends like the status."""
    await start_worker()
    relay = await make_api(api_keys=KEYS, cors_origins=[HOME], max_connections_per_tenant=1)
    async with connected(relay, offered("wrong"), headers={"Origin": HOME}) as client:
        assert await client.closed() == 4401
    assert [told["code"] for told in client.heard] == ["unauthorized"]
    async with connected(relay, offered("key-of-acme")):
        assert (await refused(relay, offered("key-of-acme")))[0] == 429
        async with connected(relay, offered("key-of-acme"), headers={"Origin": HOME}) as client:
            assert await client.closed() == 4129
    assert [(told["code"], told["retryable"]) for told in client.heard] == [("rate_limited", True)]


def test_the_range_of_a_close_code_says_whether_to_come_back() -> None:
    """Of every error that may stand against a socket."""
    codes = {kind: close_code_of(kind("x")) for kind in (UnauthorizedError, InvalidRequestError)}
    assert codes == {UnauthorizedError: 4401, InvalidRequestError: 4400}
    assert all(4100 <= close_code_of(kind("x")) < 4200 for kind in (LimitError, OverloadedError, InternalError))


async def test_a_link_reads_its_stream_and_does_nothing_else(relay: Api) -> None:
    """Others need a token of their own, which a socket of whatever kind may bring."""
    acme = relay.having(x_api_key="key-of-acme")
    first, second = await acme.finished(), await acme.finished()
    async with connected(relay, f"tailrace.link.{first}.{await token(acme, first)}") as client:
        for stream_id, more in ((first, {}), (second, {"token": await token(acme, second)})):
            await client.say("follow", stream=stream_id, **more)
            assert (await client.until("unsubscribed"))["reason"] == "ended"
            assert client.events(stream_id) == await events_of(acme, stream_id)
        for refusal in (
            await client.ask("follow", stream=second),
            await client.ask("follow", stream=first, token="x"),
            await client.ask("cancel", stream=first),
            await client.ask("create", request={"messages": script(tokens=2)}),
        ):
            assert (refusal["type"], refusal["code"]) == ("error", "unauthorized")
    async with connected(relay, offered(KEYS["globex"])) as client:
        await client.say("follow", stream=second, token=await token(acme, second))
        assert (await client.until("unsubscribed"))["reason"] == "ended"


async def test_a_links_time_ends_what_it_follows(relay: Api) -> None:
    """The last word says so; a new token goes on from there, on the same socket."""
    acme = relay.having(x_api_key="key-of-acme")
    stream_id = await acme.start(messages=script(tokens=120, per_second=60))
    brief = await token(acme, stream_id, lasts_s=0.8)
    async with connected(relay, f"tailrace.link.{stream_id}.{brief}") as client:
        await client.say("follow", stream=stream_id)
        last = await client.until("unsubscribed")
        assert last["reason"] == "expired"
        expired = await client.ask("follow", stream=stream_id, token=brief)
        assert (expired["code"], "expired" in expired["message"]) == ("unauthorized", True)
        again = {"offset": last["offset"], "token": await token(acme, stream_id)}
        await client.say("follow", stream=stream_id, **again)
        assert (await client.until("unsubscribed"))["reason"] == "ended"
    assert client.events(stream_id) == await events_of(acme, stream_id)


async def test_what_is_shown_is_in_no_log(relay_process: StartService, api: Api) -> None:
    """Neither keys nor tokens, right or wrong, agreed on or not, at the most talkative level."""
    key = "k3y-right-0001"
    relay = await relay_process(
        TAILRACE_SIM="true", TAILRACE_LOG_LEVEL="DEBUG", TAILRACE_API_KEYS=f'{{"acme": "{key}"}}'
    ).ready()
    away = Api(api.session, relay.url)
    acme = away.having(x_api_key=key)
    stream_id = await acme.start()
    shown = [offered(key), offered("k3y-wrong-0002"), f"tailrace.link.{stream_id}.{await token(acme, stream_id)}"]
    for one in shown:
        await refused(away, one, protocol="chat")
        await refused(away, one + "x")
        try:
            async with connected(away, one, headers={"Origin": relay.url}) as client:
                await client.say("follow", stream=stream_id, token=shown[2].rpartition(".link.")[2][27:])
                await client.say("follow", token="t0ken-wrong-0003")
                await client.say("x", token="t0ken-wrong-0003")
                await client.socket.send_str("t0ken-wrong-0003")
                await client.closed()
        except aiohttp.WSServerHandshakeError:
            pass
    relay.terminate()
    assert await relay.ended() == 0
    assert "socket.opened" in relay.output()
    for secret in (key, "k3y-wrong", "t0ken", *(one.rpartition(".")[2] for one in shown)):
        assert secret not in relay.output()
