"""Fixtures for the clients: Node with their packages, and one system that answers them all.

The relay and the worker are started once for the whole run. Tests that kill or drain a relay start their own with
``relay_process`` and ``worker_process``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.support_node import Node, NoNodeError, find_node, install
from tests.support_services import Service, lasting_system


@pytest.fixture(scope="session")
def node() -> Node:
    """Give a Node that has the clients' packages: ``await node.run("script.mjs", relay.url)``.

    Skips the test, with a sentence, where there is no Node that could run them.
    """
    try:
        found = find_node()
    except NoNodeError as error:
        pytest.skip(str(error))
    install()
    return found


@pytest.fixture(scope="session")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a relay and a worker that offer the simulated model, on a Redis of their own: ``relay.url``."""
    with lasting_system(tmp_path_factory.mktemp("clients")) as running:
        yield running
