"""The event loop of our processes: what connecting to an address costs."""

from __future__ import annotations

import subprocess
import sys

_CONNECTS = """
import asyncio, os, socket, sys
import uvloop
from shared.processes.loop import Loop

async def connect():
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.setblocking(False)
        before = len(os.listdir("/proc/self/task"))
        await asyncio.wait_for(loop.sock_connect(client, server.getsockname()), 5)
        print(len(os.listdir("/proc/self/task")) - before)

uvloop.run(connect(), loop_factory={"ours": Loop, "uvloop's": uvloop.new_event_loop}[sys.argv[1]])
"""


def _threads_started(loop: str) -> int:
    """Return how many threads a new process starts to connect a socket."""
    command = [sys.executable, "-c", _CONNECTS, loop]
    return int(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)


def test_no_thread_looks_a_numeric_address_up() -> None:
    """Which is what a provider's name has become, when a connection to it is made."""
    assert _threads_started("ours") == 0


def test_this_is_still_worth_a_loop_of_our_own() -> None:
    """When uvloop does without a thread, ours can go."""
    assert _threads_started("uvloop's") > 0
