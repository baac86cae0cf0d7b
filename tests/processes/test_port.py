"""Tests that a port is shared among our own processes and refused where anybody else has it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import pytest

from shared.errors import ConfigurationError
from shared.processes.port import HeldPort
from tests.support import free_port

HOST = "127.0.0.1"
SHARED = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
USUAL = (socket.SO_REUSEADDR,)


def server(port: int, options: tuple[int, ...], host: str = HOST) -> socket.socket:
    """Return a server on ``port``. Raises ``OSError`` where it may not be one."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    for option in options:
        made.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        made.bind((host, port))
        made.listen(16)
    except OSError:
        made.close()
        raise
    return made


@pytest.fixture
def held() -> Iterator[HeldPort]:
    """Give a free port that is held."""
    with closing(HeldPort(HOST, 0)) as port:
        yield port


def refused(port: int) -> str:
    """Return the sentence with which a port is refused."""
    with pytest.raises(ConfigurationError) as caught:
        HeldPort(HOST, port)
    return str(caught.value)


def test_a_held_port_takes_no_connection_until_one_of_ours_listens(held: HeldPort) -> None:
    """A socket that listened and never accepted would keep its share of the clients waiting."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, held.port))
    with server(held.port, SHARED) as one, server(held.port, SHARED):
        with socket.create_connection((HOST, held.port)):
            pass
        one.getsockname()


def test_a_held_port_is_kept_from_everybody_else(held: HeldPort) -> None:
    """Before the first of ours listens, while they do, and after all of them have died."""
    with pytest.raises(OSError, match="in use"):
        server(held.port, USUAL)
    with server(held.port, SHARED), pytest.raises(OSError, match="in use"):
        server(held.port, USUAL)
    with pytest.raises(OSError, match="in use"):
        server(held.port, USUAL)


@pytest.mark.parametrize("options", [USUAL, SHARED, ()], ids=["usual", "sharing", "bare"])
def test_a_port_that_somebody_listens_on_is_refused(options: tuple[int, ...]) -> None:
    """Also where they would share it: half of the clients would come to another program."""
    with server(0, options) as other:
        port = other.getsockname()[1]
        assert refused(port) == f"port {port} on {HOST} cannot be listened on: Address already in use"


def test_of_two_that_start_at_the_same_moment_one_gets_the_port() -> None:
    """However their steps interleave: each round is another race."""
    with ThreadPoolExecutor(2) as pool:
        for _ in range(1000):
            port, together = free_port(), Barrier(2)
            got = [held for held in pool.map(lambda _: try_to_hold(port, together), range(2)) if held]  # noqa: B023
            for held in got:
                held.close()
            assert len(got) == 1


def try_to_hold(port: int, together: Barrier) -> HeldPort | None:
    """Return the port, or nothing when the other has it, as soon as both are there."""
    together.wait(5)
    try:
        return HeldPort(HOST, port)
    except ConfigurationError:
        return None


def test_a_port_that_is_held_already_is_refused(held: HeldPort) -> None:
    """Two parents that start at the same moment: none of their children listens yet."""
    assert "already in use" in refused(held.port)


def test_a_port_can_be_held_again_at_once() -> None:
    """A restart does not wait for the connections of the run before, which the kernel remembers for a minute."""
    port = free_port()
    for options in (USUAL, SHARED, USUAL):
        with server(port, options) as one, socket.create_connection((HOST, port)) as client:
            accepted, _ = one.accept()
            accepted.close()  # the server's side closes first, and so is the one that is remembered
            assert client.recv(1) == b""
        HeldPort(HOST, port).close()


def test_every_address_of_a_name_has_the_same_port() -> None:
    """``localhost`` may be two addresses; free for one is not free for both."""
    addresses = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    with closing(HeldPort("localhost", 0)) as held:
        for address in addresses:
            with pytest.raises(OSError, match="in use"):
                server(held.port, USUAL, str(address))


def test_a_name_that_does_not_exist_is_refused() -> None:
    """In one sentence, with the resolver's reason."""
    with pytest.raises(ConfigurationError, match=re.escape("port 80 on no.such.host.invalid cannot be listened on")):
        HeldPort("no.such.host.invalid", 80)
