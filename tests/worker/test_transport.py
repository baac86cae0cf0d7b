"""How calls reach a provider: over kept connections that are open, by the proxies of the environment."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import httpx2
import pytest

from shared.errors import ConfigurationError
from tests.messages_server import MessagesServer
from worker.providers.transport import Transport

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_LISTENING = """
import socket, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
"""
_CLOSING = f"""{_LISTENING}
    while b"\\r\\n\\r\\n" not in connection.recv(65536):
        pass
    connection.sendall({_ANSWER!r})
    time.sleep(0.0002)
    connection.close()
"""
_REFUSING = f"""{_LISTENING}
    connection.close()
    print("accepted", flush=True)
"""


@contextmanager
def listening_process(script: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a server that prints its port; give its address, and the process."""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}", process
        finally:
            process.kill()


@contextmanager
def closing_server(closed: threading.Event) -> Iterator[str]:
    """Serve one answer for each connection from another thread, and close it without a word, then set ``closed``."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while b"\r\n\r\n" not in connection.recv(65536):
                    pass
                connection.sendall(_ANSWER)
            closed.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


async def test_a_kept_connection_that_its_server_has_closed_is_not_used() -> None:
    """Also where the event loop has yet to hear of it: the loop stands still until the server has closed."""
    closed = threading.Event()
    with closing_server(closed) as url:
        async with httpx2.AsyncClient(transport=Transport(url, 10)) as client:
            for _ in range(20):
                closed.clear()
                assert (await client.post(url)).text == "ok"
                assert closed.wait(5)


async def test_a_connection_that_its_server_is_about_to_close_is_not_used() -> None:
    """As llama.cpp's server closes each, a moment after its answer has ended: one that waits for no other's turn."""
    with listening_process(_CLOSING) as (url, _):
        async with httpx2.AsyncClient(transport=Transport(url, 10)) as client:
            assert [(await client.post(url)).text for _ in range(50)] == ["ok"] * 50


async def test_a_server_that_closes_at_once_is_asked_once() -> None:
    """As a forwarder to nobody does. That is the call's failure, and no reason to connect again and again."""
    with listening_process(_REFUSING) as (url, process):
        async with httpx2.AsyncClient(transport=Transport(url, 10)) as client:
            for _ in range(20):
                with pytest.raises(aiohttp.ClientError):
                    await client.post(url)
        process.terminate()
        assert process.communicate()[0].split() == ["accepted"] * 20


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> MessagesServer:
    """Give a server that will do as a proxy, in an environment that names none."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return MessagesServer()


async def _posted(url: str) -> int:
    """Return the status of an empty call, which a Messages server refuses."""
    async with httpx2.AsyncClient(transport=Transport(url, 10)) as client:
        return (await client.post(f"{url}/v1/messages", json={})).status_code


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
@pytest.mark.parametrize(
    ("before", "told"), [("http://", None), ("", None), ("http://me:s%40cret@", "Basic bWU6c0BjcmV0")]
)
async def test_calls_go_by_the_proxy_that_the_environment_names(
    proxy: MessagesServer, monkeypatch: pytest.MonkeyPatch, name: str, before: str, told: str | None
) -> None:
    """With what it is told to let them pass."""
    async with proxy:
        monkeypatch.setenv(name, proxy.base_url.replace("http://", before))
        assert await _posted("http://provider.invalid") == 400
        headers = proxy.calls[0].headers
    assert headers["host"] == "provider.invalid"
    assert headers.get("proxy-authorization") == told


async def test_a_server_that_needs_no_proxy_is_called_directly(
    proxy: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, or by its name and port."""
    monkeypatch.setenv("http_proxy", "http://proxy.invalid")
    async with proxy:
        for spared in ("127.0.0.1", proxy.base_url.removeprefix("http://")):
            monkeypatch.setenv("no_proxy", spared)
            assert await _posted(proxy.base_url) == 400


def test_a_proxy_that_speaks_no_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, and not by calls that fail."""
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(ConfigurationError, match="socks5"):
        Transport("https://provider.invalid", 1)
