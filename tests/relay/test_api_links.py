"""Signed links: what they let in and what not, until when, and that their tokens show up nowhere."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import SecretStr

from shared import keys
from shared.offset import new_stream_id
from tests.conftest import StartService
from tests.relay.api import Answer, Api, script
from tests.relay.conftest import MakeApi, StartWorker
from tests.support import eventually

KEYS = {"acme": "key-of-acme", "globex": "key-of-globex"}
SLOW = {"messages": script(tokens=2000, per_second=50)}


async def link(api: Api, stream_id: str, **wanted: Any) -> dict[str, Any]:
    """Return a new link to the stream."""
    answer = await api.post(f"/v1/streams/{stream_id}/links", **({"json": wanted} if wanted else {}))
    assert answer.status == 201, answer
    return dict(answer.json())


def refused(answer: Answer, word: str) -> bool:
    """Tell whether the answer is the 401 that says so."""
    assert answer.status == 401, answer
    assert answer.error()["code"] == "unauthorized"
    return word in answer.error()["message"]


@pytest.fixture
async def relay(make_api: MakeApi, start_worker: StartWorker) -> Api:
    """Give a client without a key of a relay with keys; a worker answers."""
    await start_worker()
    return await make_api(api_keys=KEYS)


async def test_a_link_alone_reads_its_stream(relay: Api) -> None:
    """Without a key: as events, from an offset, by poll; and it says when it ends."""
    acme = relay.having(x_api_key="key-of-acme")
    stream_id = await acme.finished()
    made = await link(acme, stream_id)
    assert made["url"] == f"/v1/streams/{stream_id}/events?token={made['token']}"
    assert abs(made["expires_ms"] - time.time() * 1000 - 900_000) < 20_000
    async with acme.follow(stream_id) as reader:
        events = await reader.rest()
    async with relay.follow(stream_id, f"?token={made['token']}") as reader:
        assert await reader.rest() == events
        assert reader.response.headers["Referrer-Policy"] == "no-referrer"
    headers = {"Last-Event-ID": events[2].id}
    async with relay.follow(stream_id, f"?token={made['token']}", headers=headers) as reader:
        assert await reader.rest() == events[3:]
    assert (await relay.poll(stream_id, f"&token={made['token']}")).json()["events"]
    assert (await relay.get(f"{made['url']}&offset={events[-1].id}")).status == 204


async def test_a_link_reads_and_does_nothing_else(relay: Api) -> None:
    """Not even more links; and it opens no other stream, of its tenant or of another one."""
    acme, globex = relay.having(x_api_key="key-of-acme"), relay.having(x_api_key="key-of-globex")
    stream_id, sibling, foreign = await acme.finished(), await acme.finished(), await globex.finished()
    token = (await link(acme, stream_id))["token"]
    for method, path in (
        ("GET", f"/v1/streams/{stream_id}"),
        ("POST", f"/v1/streams/{stream_id}/cancel"),
        ("POST", f"/v1/streams/{stream_id}/links"),
        ("DELETE", f"/v1/streams/{stream_id}/links"),
        ("DELETE", f"/v1/streams/{stream_id}"),
        ("POST", "/v1/streams"),
        ("GET", "/v1/streams"),
        ("GET", "/v1/models"),
    ):
        assert (await relay.ask(method, f"{path}?token={token}")).status == 401, (method, path)
        assert (await relay.ask(method, path, headers={"Authorization": f"Bearer {token}"})).status == 401
    for other in (sibling, foreign, new_stream_id(), "x"):
        answer = await relay.get(f"/v1/streams/{other}/events?token={token}")
        assert refused(answer, "not good for this stream")
        assert token.encode() not in answer.body
        assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_only_the_owner_makes_and_revokes_links(relay: Api) -> None:
    """To others the stream does not exist, and their trying changes nothing."""
    acme, globex = relay.having(x_api_key="key-of-acme"), relay.having(x_api_key="key-of-globex")
    stream_id = await acme.finished()
    token = (await link(acme, stream_id))["token"]
    for method in ("POST", "DELETE"):
        assert (await globex.ask(method, f"/v1/streams/{stream_id}/links")).status == 404
        assert (await relay.ask(method, f"/v1/streams/{stream_id}/links")).status == 401
    assert (await relay.poll(stream_id, f"&token={token}")).status == 200


async def test_an_altered_token_is_refused(relay: Api) -> None:
    """Any character of it, more or less of it, and what is no token at all; a key beside it does not help."""
    acme = relay.having(x_api_key="key-of-acme")
    stream_id = await acme.finished()
    token = (await link(acme, stream_id))["token"]
    expires, _, signature = token.partition(".")
    later = f"{int(expires) + 60_000}.{signature}"
    swapped = "A" if token[-10] != "A" else "B"
    for wrong in (
        later,
        token[:-10] + swapped + token[-9:],
        token[:-1],
        token + "A",
        "",
        ".",
        "x" * 5000,
        "é",
        "0.",
        "%00",
    ):
        answer = await relay.get(f"/v1/streams/{stream_id}/events", params={"token": wrong})
        assert refused(answer, "not good for this stream"), wrong
        answer = await acme.get(f"/v1/streams/{stream_id}/events", params={"token": wrong})
        assert answer.status == 401


async def test_a_link_ends_at_its_time(relay: Api) -> None:
    """The reader who is in is sent away then, in good order; whoever comes later is told that it has expired."""
    acme = relay.having(x_api_key="key-of-acme")
    stream_id = await acme.start(**SLOW)
    began_s = time.monotonic()
    made = await link(acme, stream_id, lasts_s=1.0)
    async with relay.follow(stream_id, f"?token={made['token']}") as reader:
        events = await reader.rest()
    assert 0.9 < time.monotonic() - began_s < 6
    assert events[-1].event == "delta"
    assert refused(await relay.get(f"{made['url']}&offset={events[-1].id}"), "expired")
    again = await link(acme, stream_id)
    assert (await relay.poll(stream_id, f"&token={again['token']}&offset={events[-1].id}")).status == 200


async def test_revoked_links_let_nobody_in(relay: Api) -> None:
    """All of that stream that were made before, on every relay; those of other streams and later ones do."""
    acme = relay.having(x_api_key="key-of-acme")
    stream_id, other = await acme.finished(), await acme.finished()
    before = [(await link(acme, stream_id))["token"] for _ in range(2)]
    kept = (await link(acme, other))["token"]
    for _ in range(2):
        assert (await acme.ask("DELETE", f"/v1/streams/{stream_id}/links")).status == 204
    for token in before:
        assert refused(await relay.poll(stream_id, f"&token={token}"), "revoked")
    after = (await link(acme, stream_id))["token"]
    for token in before:
        assert refused(await relay.poll(stream_id, f"&token={token}"), "revoked")
    assert (await relay.poll(stream_id, f"&token={after}")).status == 200
    assert (await relay.poll(other, f"&token={kept}")).status == 200


async def test_every_relay_takes_the_links_of_every_other(make_api: MakeApi) -> None:
    """With nothing configured; and with a secret, those that have the same one."""
    plain = [await make_api(api_keys=KEYS) for _ in range(2)]
    secret = [await make_api(api_keys=KEYS, link_secret=SecretStr("s" * 16)) for _ in range(2)]
    other = await make_api(api_keys=KEYS, link_secret=SecretStr("t" * 16))
    stream_id = await plain[0].having(x_api_key="key-of-acme").start()
    for makers, rest in ((plain, [*secret, other]), (secret, [*plain, other])):
        token = (await link(makers[0].having(x_api_key="key-of-acme"), stream_id))["token"]
        assert (await makers[1].poll(stream_id, f"&token={token}")).status == 200
        for relay in rest:
            assert refused(await relay.poll(stream_id, f"&token={token}"), "not good for this stream")


async def test_a_link_dies_with_its_tenants_key(make_api: MakeApi) -> None:
    """A tenant that has been taken out of the settings has no readers left."""
    relay = await make_api(api_keys=KEYS)
    stream_id = await relay.having(x_api_key="key-of-acme").start()
    token = (await link(relay.having(x_api_key="key-of-acme"), stream_id))["token"]
    without = await make_api(api_keys={"globex": "key-of-globex"})
    assert refused(await without.poll(stream_id, f"&token={token}"), "not good")


async def test_a_record_that_redis_lost_and_got_back_has_no_links(relay: Api, redis: Any) -> None:
    """Rather none than one that was revoked in the meantime."""
    acme = relay.having(x_api_key="key-of-acme")
    stream_id = await acme.start(**SLOW)
    token = (await link(acme, stream_id))["token"]
    await redis.delete(keys.record(stream_id))

    async def restored() -> bool:
        return bool(await redis.exists(keys.record(stream_id)))

    await eventually(restored)
    assert refused(await relay.poll(stream_id, f"&token={token}"), "not good")
    again = (await link(acme, stream_id))["token"]
    assert (await relay.poll(stream_id, f"&token={again}")).status == 200
    await acme.post(f"/v1/streams/{stream_id}/cancel")


async def test_without_keys_a_token_is_looked_at_all_the_same(served: Api) -> None:
    """What works on one's own machine works elsewhere, and what does not, does not."""
    stream_id = await served.finished()
    made = await link(served, stream_id)
    assert (await served.poll(stream_id, f"&token={made['token']}")).status == 200
    assert (await served.poll(stream_id, f"&token={made['token'][:-1]}")).status == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"lasts_s": 0}', "lasts_s"),
        (b'{"lasts_s": 3601}', "lasts_s: a link may be good for at most 3600 s"),
        (b'{"lasts_s": "x"}', "lasts_s"),
        (b'{"lasts_s": 1e999}', "lasts_s"),
        (b'{"more": 1}', "unknown field 'more'"),
        (b"[]", "the body"),
        (b"{", "JSON"),
    ],
)
async def test_a_mistake_is_named(api: Api, body: bytes, field: str) -> None:
    """400 with the field."""
    stream_id = await api.start()
    headers = {"Content-Type": "application/json"}
    answer = await api.post(f"/v1/streams/{stream_id}/links", data=body, headers=headers)
    assert (answer.status, answer.error()["code"]) == (400, "invalid_request")
    assert field in answer.error()["message"]


async def test_a_stream_that_is_gone_gets_no_link(api: Api) -> None:
    """410 for a deleted one, 404 for one that never was."""
    stream_id = await api.start()
    await api.ask("DELETE", f"/v1/streams/{stream_id}")
    assert (await api.post(f"/v1/streams/{stream_id}/links")).status == 410
    assert (await api.post(f"/v1/streams/{new_stream_id()}/links")).status == 404


async def test_tokens_and_their_keys_are_in_no_log(relay_process: StartService, api: Api, redis: Any) -> None:
    """At the most talkative level, right or wrong."""
    relay = await relay_process(
        TAILRACE_SIM="true", TAILRACE_LOG_LEVEL="DEBUG", TAILRACE_LINK_SECRET="s3cret-of-links-0001"
    ).ready()
    away = Api(api.session, relay.url)
    stream_id = await away.start()
    token = (await link(away, stream_id))["token"]
    async with away.follow(stream_id, f"?token={token}") as reader:
        await reader.take(1)
    await away.poll(stream_id, f"&token={token}x")
    await away.get(f"/v1/streams/{new_stream_id()}/events?token={token}")
    key = await redis.hget(keys.record(stream_id), "link_key")
    await redis.delete(keys.record(stream_id))
    await away.poll(stream_id, f"&token={token}")
    metrics = (await away.get("/metrics")).body.decode()
    relay.terminate()
    assert await relay.ended() == 0
    told = relay.output() + metrics
    assert stream_id in told
    for secret in (token, token.partition(".")[2], key.decode(), "s3cret-of-links-0001"):
        assert secret not in told
