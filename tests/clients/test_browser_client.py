"""clients/js on a far relay that cuts, refuses, forgets, moves and falls silent: every event once and in order."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.clients.support_node import Node
from tests.support import ROOT
from tests.tailrace.far_relay import (
    OTHER_ID,
    PREAMBLE,
    STREAM_ID,
    FarRelay,
    Reply,
    answer,
    answer_events,
    beat,
    cut,
    event,
    frame,
    hang,
    mute,
    refuse,
    serve,
)

_FOLDER = ROOT / "clients" / "js"
_MOST_BYTES = 6 * 1024
_QUICK = {"firstByteMs": 5000, "idleMs": 5000, "startMs": 5000, "lostMs": 5000}


@pytest.fixture
async def far() -> AsyncIterator[FarRelay]:
    """Give a relay that holds one short answer."""
    async with FarRelay() as relay:
        yield relay


async def _read(node: Node, far: FarRelay, *, timeouts: dict[str, int] | None = None, **job: Any) -> dict[str, Any]:
    """Return what one reading of the far relay's stream told."""
    told = await _read_all(node, far, timeouts=timeouts, **job)
    assert len(told) == 1
    return told[0]


async def _read_all(
    node: Node, far: FarRelay, *, timeouts: dict[str, int] | None = None, **job: Any
) -> list[dict[str, Any]]:
    job |= {"url": far.url, "timeouts": _QUICK | (timeouts or {})}
    return await node.run("browser_client.mjs", json.dumps(job))


def test_the_modules_together_are_small() -> None:
    """All of them, the hook included, as they are served: comments and all, gzipped."""
    modules = b"".join(path.read_bytes() for path in sorted(_FOLDER.glob("*.js")))
    assert len(gzip.compress(modules, 9)) < _MOST_BYTES


def test_the_package_can_be_published() -> None:
    """Every entry has its module and its types, nothing is needed, and React is left to who has it."""
    package = json.loads((_FOLDER / "package.json").read_text())
    for entry in package["exports"].values():
        files = entry.values() if isinstance(entry, dict) else [entry]
        assert all((_FOLDER / file).is_file() for file in files)
    assert "dependencies" not in package
    assert package["peerDependenciesMeta"]["react"]["optional"]
    importers = [path.name for path in _FOLDER.glob("*.js") if 'from "react"' in path.read_text()]
    assert importers == ["react.js"]


async def test_a_cut_after_any_byte_loses_and_repeats_nothing(node: Node, far: FarRelay) -> None:
    """Every place in the body, the middle of an id or of a character included."""
    far.tell(answer_events("Hé", "llo\n"))
    size = len(far.body())
    for after_bytes in range(size):
        far.replies.extend((cut(after_bytes, ("close", "lose", "reset")[after_bytes % 3]), serve))
    for reading in await _read_all(node, far, times=size):
        assert reading["told"] == far.events
        assert reading["text"] == "Héllo\n"
    posts = [asked.headers["Idempotency-Key"] for asked in far.asked if asked.method == "POST"]
    assert len(set(posts)) == len(posts) == size
    assert {asked.path for asked in far.asked if asked.method == "GET"} == {f"/v1/streams/{STREAM_ID}/events"}


async def test_what_is_told_again_is_not_given_out_again(node: Node, far: FarRelay) -> None:
    """A relay that begins at the start, wherever the reader is: offsets say what it has."""
    far.replies.extend((cut(len(far.body()) - 150), cut(10_000, replay=True)))
    assert (await _read(node, far))["told"] == far.events


async def test_a_start_that_nobody_answers_is_repeated_under_its_key(node: Node, far: FarRelay) -> None:
    """Silence, a refusal for now, and a connection cut before the first byte: one key, and one answer."""
    far.replies.extend((mute, refuse(503, "overloaded", retryable=True)))
    reading = await _read(node, far, timeouts={"firstByteMs": 1000}, key="secret")
    assert reading["told"] == far.events
    assert [asked.method for asked in far.asked] == ["POST"] * 3
    assert len({asked.headers["Idempotency-Key"] for asked in far.asked}) == 1
    assert {asked.headers["Authorization"] for asked in far.asked} == {"Bearer secret"}
    assert far.asked[0].body == {"messages": [{"role": "user", "content": "Hi"}]}


async def test_a_stream_lost_soon_after_its_start_is_started_again(node: Node, far: FarRelay) -> None:
    """404: the same key again; another stream in its place begins with a reset, and its text is the text."""

    async def moved(relay: FarRelay, request: web.Request) -> web.StreamResponse:
        relay.stream_id = OTHER_ID
        relay.tell(answer_events("Other", stream_id=OTHER_ID))
        return await refuse(404, "not_found")(relay, request)

    before = far.events
    far.replies.extend((cut(len(far.body()) - 150), moved))
    reading = await _read(node, far)
    told = reading["told"]
    at = next(place for place, each in enumerate(told) if each["type"] == "reset")
    assert told[:at] == before[:at]
    assert told[at] == event("reset", keep_blocks=0, reason="stream_lost")
    assert told[at + 1 :] == far.events
    assert reading["text"] == "Other"
    assert [asked.method for asked in far.asked] == ["POST", "GET", "POST"]
    assert far.asked[0].headers["Idempotency-Key"] == far.asked[2].headers["Idempotency-Key"]


async def test_a_stream_that_was_only_mislaid_is_read_on(node: Node, far: FarRelay) -> None:
    """404 once, and the same stream after all: nothing is told twice."""
    far.replies.extend((cut(len(far.body()) - 150), refuse(404, "not_found")))
    assert (await _read(node, far))["told"] == far.events
    assert [asked.method for asked in far.asked] == ["POST", "GET", "POST", "GET"]


@pytest.mark.parametrize(("status", "code"), [(410, "gone"), (401, "unauthorized"), (409, "idempotency_conflict")])
async def test_what_trying_again_cannot_help_is_thrown(node: Node, far: FarRelay, status: int, code: str) -> None:
    """The relay's own code and sentence, after one request."""
    far.replies.append(refuse(status, code))
    error = (await _read(node, far))["error"]
    assert (error["name"], error["status"], error["code"]) == ("TailraceError", status, code)
    assert error["message"] == f"This is {code}."
    assert error["retryable"] is False
    assert len(far.asked) == 1


async def test_a_stream_that_was_not_started_here_is_not_started_again(node: Node, far: FarRelay) -> None:
    """404 to a follower is an error: it has no request to repeat."""
    far.replies.append(refuse(404, "not_found"))
    assert (await _read(node, far, follow=STREAM_ID))["error"]["status"] == 404


async def test_204_is_the_end(node: Node, far: FarRelay) -> None:
    """A reader at the last offset is told nothing more."""
    reading = await _read(node, far, follow=STREAM_ID, options={"offset": far.log[-1][0]})
    assert (reading["told"], reading["ended"], reading["error"]) == ([], True, None)


async def test_a_reader_goes_on_from_a_kept_offset(node: Node, far: FarRelay) -> None:
    """What ``follow`` is given is where it begins."""
    reading = await _read(node, far, follow=STREAM_ID, options={"offset": far.log[3][0]})
    assert reading["told"] == far.events[4:]
    assert reading["offset"] == far.log[-1][0]


async def test_an_offset_that_is_not_known_leads_to_a_replay(node: Node, far: FarRelay) -> None:
    """What was read with it is to be discarded."""
    far.replies.append(refuse(400, "invalid_offset"))
    reading = await _read(node, far, follow=STREAM_ID, options={"offset": "nonsense"})
    assert reading["told"][0] == event("reset", keep_blocks=0, reason="stream_lost")
    assert reading["told"][1:] == far.events


async def test_a_reset_takes_back_what_was_told(node: Node, far: FarRelay) -> None:
    """The text is what is left and what follows; blocks below ``keep_blocks`` stay."""
    first, *_, last = answer_events()
    blocks = [event("block_start", block=number, kind="text") for number in (0, 1)]
    words = [event("delta", block=number, text=f"w{number}") for number in (0, 1)]
    again = [event("reset", keep_blocks=1, reason="restart"), blocks[1], event("delta", block=1, text=" anew")]
    far.tell([first, blocks[0], words[0], blocks[1], words[1], *again, last])
    reading = await _read(node, far)
    assert reading["told"] == far.events
    assert reading["text"] == "w0 anew"


async def test_a_reset_that_leads_back_is_taken(node: Node, far: FarRelay) -> None:
    """After a failover the log may be shorter than what was read of it: the reset counts, whatever its offset."""
    reset = event("reset", keep_blocks=0, reason="fork")

    async def whole(relay: FarRelay, request: web.Request) -> web.StreamResponse:
        relay.tell([reset, *answer_events("Second")])
        return await cut(10_000, replay=True)(relay, request)

    far.replies.extend((cut(len(far.body()) - 150), whole))
    reading = await _read(node, far)
    at = next(place for place, each in enumerate(reading["told"]) if each["type"] == "reset")
    assert reading["told"][at:] == far.events
    assert reading["text"] == "Second"


async def test_a_goodbye_of_the_relay_is_no_event(node: Node, far: FarRelay) -> None:
    """An error without an offset is the connection's: retried where it says so, thrown where it does not."""
    told = {"type": "error", "code": "overloaded", "message": "Too many.", "retryable": True}

    def goodbye(**fields: Any) -> Reply:
        async def reply(relay: FarRelay, request: web.Request) -> web.StreamResponse:
            relay.preamble = PREAMBLE + frame("", told | fields)
            try:
                return await cut(len(relay.preamble))(relay, request)
            finally:
                relay.preamble = PREAMBLE

        return reply

    far.replies.append(goodbye())
    assert (await _read(node, far))["told"] == far.events
    far.replies.append(goodbye(code="gone", retryable=False))
    reading = await _read(node, far)
    assert (reading["told"], reading["error"]["code"]) == ([], "gone")


async def test_silence_is_noticed_and_the_stream_resumed(node: Node, far: FarRelay) -> None:
    """No first byte, and none in the middle; a heartbeat is no silence."""
    far.replies.extend((mute, hang(len(far.body()) - 150)))
    reading = await _read(node, far, timeouts={"firstByteMs": 1000, "idleMs": 1000})
    assert reading["told"] == far.events
    assert len(far.asked) == 3
    assert reading["phases"] == ["connecting", "waiting", *["connecting", "open", "waiting"], "connecting", "open"]


async def test_the_time_for_all_of_it_is_bounded(node: Node, far: FarRelay) -> None:
    """Heartbeats keep the connection, and ``totalMs`` ends the reading: the answer goes on."""
    far.replies.append(beat)
    began_s = time.monotonic()
    reading = await _read(node, far, timeouts={"idleMs": 1000, "totalMs": 2500})
    assert reading["error"]["code"] == "client_timeout"
    assert time.monotonic() - began_s > 2.5
    assert len(far.asked) == 1
    far.replies.extend([refuse(503, "overloaded", retryable=True, retry_after_s=2)] * 9)
    assert (await _read(node, far, timeouts={"totalMs": 500}))["error"]["code"] == "client_timeout"


async def test_retry_after_is_waited_out(node: Node, far: FarRelay) -> None:
    """Not a moment earlier; and a wait beyond all patience is the error at once."""
    far.replies.append(refuse(429, "rate_limited", retryable=True, retry_after_s=1))
    began_s = time.monotonic()
    assert (await _read(node, far))["told"] == far.events
    assert time.monotonic() - began_s > 1.0
    far.replies.append(refuse(429, "rate_limited", retryable=True, retry_after_s=60))
    error = (await _read(node, far))["error"]
    assert (error["code"], error["retryAfterMs"]) == ("rate_limited", 60_000)


async def test_nobody_at_all_is_an_error_after_a_while(node: Node, far: FarRelay) -> None:
    """``startMs`` bounds the tries."""
    far.url = "http://127.0.0.1:9"
    error = (await _read(node, far, timeouts={"startMs": 500}))["error"]
    assert (error["status"], error["code"], error["retryable"]) == (0, "connection_lost", True)


async def test_a_web_page_in_the_relays_place_is_refused_at_first_and_outwaited_later(
    node: Node, far: FarRelay
) -> None:
    """At the start it is a wrong address; in the middle of an answer a proxy between two deploys."""
    far.replies.append(answer(404, html="<h1>It works!</h1>"))
    assert (await _read(node, far))["error"]["code"] == "unexpected_answer"
    far.replies.extend((cut(len(far.body()) - 150), answer(404, html="<h1>It works!</h1>")))
    assert (await _read(node, far, options={"startedMs": 0}))["told"] == far.events


async def test_a_redirect_is_not_followed(node: Node, far: FarRelay) -> None:
    """The key must not go where somebody else points."""
    far.replies.append(answer(307, Location="http://127.0.0.1:9/"))
    reading = await _read(node, far, key="secret")
    assert reading["error"]["code"] == "unexpected_answer"
    assert len(far.asked) == 1


async def test_leaving_is_not_cancelling_and_a_later_loop_reads_on(node: Node, far: FarRelay) -> None:
    """``break`` closes the connection; the next loop asks for what follows."""
    reading = await _read(node, far, leaveAt=4)
    assert reading["told"] == far.events
    assert [asked.method for asked in far.asked] == ["POST", "GET"]
    assert far.asked[1].headers["Last-Event-ID"] == far.log[3][0]


async def test_close_ends_a_reading_at_once(node: Node, far: FarRelay) -> None:
    """Also between two events that have come already. Each time: in Node a read after an abort may wait for ever."""
    readings = await _read_all(node, far, closeAt=3, times=200)
    assert [(reading["told"], reading["error"]) for reading in readings] == [(far.events[:3], None)] * 200


async def test_an_aborted_reading_throws_the_reason(node: Node, far: FarRelay) -> None:
    """While it waits for the next byte; the relay sees the connection close."""
    far.replies.append(hang(len(far.body()) - 150))
    reading = await _read(node, far, abortAfterMs=300)
    assert reading["error"]["message"] == "aborted by its caller"
    assert len(far.asked) == 1


async def test_a_stream_can_be_cancelled_before_its_start_is_answered(node: Node, far: FarRelay) -> None:
    """Its key finds it."""
    reading = await _read(node, far, cancelFirst=True)
    assert reading["id"] == STREAM_ID
    assert [(asked.method, asked.path) for asked in far.asked][:2] == [
        ("POST", "/v1/streams"),
        ("POST", f"/v1/streams/{STREAM_ID}/cancel"),
    ]
