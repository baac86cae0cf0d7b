"""deploy/nginx.conf in a real nginx, in front of relays that are played by the test on two loopback addresses."""

from __future__ import annotations

import asyncio
import io
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout, web

from shared.settings import Settings
from tests.deploy.name_server import NameServer, name_server
from tests.deploy.tools import find, run
from tests.support import ROOT, Process, eventually, free_port

CONF = ROOT / "deploy" / "nginx.conf"
FIRST, SECOND = "127.0.0.2", "127.0.0.3"
_FLOOD_BYTES = 256_000_000
_STALLED_S = 2.0


@dataclass
class Relays:
    """The relays behind nginx: on the same port of several addresses, as containers are."""

    port: int
    names: NameServer
    stack: AsyncExitStack
    seen: Counter[str] = field(default_factory=Counter)
    """Requests by address."""
    hear: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by a test when its client has got the first event."""
    flooded: int = 0
    """Bytes that a client which does not read was sent."""
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when such a client has held up its relay."""

    async def start(self, address: str) -> None:
        """Start the relay of one address."""

        async def answer(request: web.Request) -> web.StreamResponse:
            self.seen[address] += 1
            if request.path == "/cut":
                assert request.transport is not None
                request.transport.abort()
            if request.path == "/events":
                return await self._events(request)
            if request.path == "/flood":
                return await self._flood(request)
            if request.path == "/socket":
                return await self._echo(request)
            told = {"bytes": len(await request.read()), "host": request.host}
            return web.json_response(told | {"upgrade": request.headers.get("Upgrade")})

        app = web.Application(client_max_size=8_000_000)
        app.router.add_route("*", "/{tail:.*}", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self.stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, address, self.port).start()

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        async with asyncio.timeout(5):
            await self.hear.wait()
        await response.write(b"data: 2\n\n")
        return response

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("tailrace.v1",))
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{request.host} {message.data}")
        return socket

    async def _flood(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            async with asyncio.timeout(_STALLED_S):
                while self.flooded < _FLOOD_BYTES:
                    await response.write(bytes(65_536))
                    self.flooded += 65_536
        except TimeoutError:
            self.stalled.set()
        return response


def conf_for(directory: Path, listen: int, relay: int, resolver: int) -> str:
    """Return the configuration with its ports, its name server and its directory replaced, and nothing else."""
    text = CONF.read_text()
    for old, new in (
        ("listen 8080", f"listen 127.0.0.1:{listen}"),
        ("http://relay:8080", f"http://relay:{relay}"),
        ("127.0.0.11", f"127.0.0.1:{resolver}"),
        ("/tmp/", f"{directory}/"),
        ("worker_rlimit_nofile 65536;", ""),
    ):
        assert old in text
        text = text.replace(old, new)
    return text if os.geteuid() else f"user root;\n{text}"


@pytest.fixture
async def relays() -> AsyncIterator[Relays]:
    """Give relays of which none runs yet, under a name that stands for the first two."""
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(name_server(FIRST, SECOND))
        yield Relays(free_port(), names, stack)


@pytest.fixture
async def nginx(relays: Relays, tmp_path: Path) -> AsyncIterator[ClientSession]:
    """Run nginx in front of the relays, and give a client of it."""
    program, listen = find("nginx", "Debian: nginx-light"), free_port()
    conf = tmp_path / "nginx.conf"
    conf.write_text(conf_for(tmp_path, listen, relays.port, relays.names.port))
    tested = run(program, "-t", "-c", str(conf))
    assert tested.returncode == 0, tested.stderr
    process = Process([program, "-c", str(conf), "-g", "daemon off;"], tmp_path / "nginx.log").start()
    try:
        async with ClientSession(f"http://127.0.0.1:{listen}", timeout=ClientTimeout(total=20)) as client:

            async def listening() -> bool:
                try:
                    async with client.get("/metrics") as response:
                        return response.status == 404
                except OSError:
                    return False

            await eventually(listening)
            yield client
        process.terminate()
        await process.ended()
    finally:
        process.end()


async def status(client: ClientSession, method: str, path: str) -> int:
    """Return the status of one request."""
    async with client.request(method, path) as response:
        return response.status


async def test_an_event_reaches_the_client_before_the_next_is_sent(relays: Relays, nginx: ClientSession) -> None:
    """Nothing on the way may gather events."""
    await relays.start(FIRST)
    await relays.start(SECOND)
    async with nginx.get("/events") as response:
        assert await response.content.readuntil(b"\n\n") == b"data: 1\n\n"
        relays.hear.set()
        assert await response.content.read() == b"data: 2\n\n"


async def test_a_client_that_does_not_read_holds_up_its_relay(relays: Relays, nginx: ClientSession) -> None:
    """Only a relay that notices can turn to the log for a slow reader; buffering would fill the disk here instead."""
    await relays.start(FIRST)
    await relays.start(SECOND)
    async with nginx.get("/flood") as response:
        await eventually(relays.stalled.is_set, deadline_s=15)
        assert 0 < relays.flooded < _FLOOD_BYTES
        response.close()


async def test_requests_of_one_client_go_to_all_relays(relays: Relays, nginx: ClientSession) -> None:
    """Stickiness would tie a stream's readers to a relay that may go."""
    await relays.start(FIRST)
    await relays.start(SECOND)
    for _ in range(60):
        assert await status(nginx, "GET", "/") == 200
    assert min(relays.seen[FIRST], relays.seen[SECOND]) >= 5


async def test_a_relay_that_is_down_is_passed_over(relays: Relays, nginx: ClientSession) -> None:
    """Also for a POST: one that has reached nobody can be sent to another."""
    await relays.start(SECOND)
    for method in ("GET", "POST") * 10:
        assert await status(nginx, method, "/") == 200
    assert relays.seen == {SECOND: 20}


async def test_a_post_that_reached_a_relay_is_not_sent_to_another(relays: Relays, nginx: ClientSession) -> None:
    """It may have started an answer: a second one would be a second bill."""
    await relays.start(FIRST)
    await relays.start(SECOND)
    assert await status(nginx, "POST", "/cut") == 502
    assert relays.seen.total() == 1


async def test_a_relay_that_comes_later_is_found(relays: Relays, nginx: ClientSession) -> None:
    """A deploy replaces relays, and their addresses, while nginx runs."""
    await relays.start(FIRST)
    assert await status(nginx, "GET", "/") == 200
    await relays.start("127.0.0.4")
    relays.names.addresses = ["127.0.0.4"]

    async def found() -> bool:
        await status(nginx, "GET", "/")
        return relays.seen["127.0.0.4"] > 0

    await eventually(found, deadline_s=10)


async def test_what_is_not_for_clients_is_not_passed_on(relays: Relays, nginx: ClientSession) -> None:
    """The figures of the installation are for the operator."""
    await relays.start(FIRST)
    for path in ("/metrics", "/readyz"):
        assert await status(nginx, "GET", path) == 404
    assert not relays.seen


async def test_a_body_above_the_relays_limit_still_reaches_a_relay(relays: Relays, nginx: ClientSession) -> None:
    """Its own refusal says what to do; the host it sees is the one the client named."""
    await relays.start(FIRST)
    await relays.start(SECOND)
    size = Settings().max_body_bytes + 1
    async with nginx.post("/v1/streams", data=io.BytesIO(bytes(size)), headers={"Host": "a.example"}) as response:
        assert await response.json() == {"bytes": size, "host": "a.example", "upgrade": None}


async def test_a_websocket_passes_and_no_other_upgrade_does(relays: Relays, nginx: ClientSession) -> None:
    """With its subprotocol, and with the host by which the relay knows a page of its own."""
    await relays.start(FIRST)
    await relays.start(SECOND)
    async with nginx.ws_connect("/socket", protocols=["tailrace.v1"], headers={"Host": "a.example"}) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=5) == "a.example hello"
        assert socket.protocol == "tailrace.v1"
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    async with nginx.get("/", headers=headers) as response:
        assert (await response.json())["upgrade"] is None


def test_the_read_timeout_exceeds_the_longest_silence() -> None:
    """A finished answer may be waited for longer than an event connection is ever silent."""
    found = re.search(r"proxy_read_timeout (\d+)s;", CONF.read_text())
    assert found is not None
    assert int(found[1]) >= max(Settings().wait_max_s, Settings().heartbeat_s) + 10
