"""deploy/healthcheck.py and deploy/preflight.py: what the image runs beside the two services."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.deploy.tools import run
from tests.support import ROOT, free_port


async def health(*ports: int) -> int:
    """Return the exit code of the health check, run as the image runs it."""
    command = (sys.executable, "-S", str(ROOT / "deploy" / "healthcheck.py"), *map(str, ports))
    done = await asyncio.to_thread(run, *command)
    assert not done.stderr
    return done.returncode


@pytest.fixture
async def answering() -> AsyncIterator[tuple[int, int]]:
    """Give the ports of a service that is well and of one that answers 503."""

    async def well(_: web.Request) -> web.Response:
        return web.Response()

    async def unwell(_: web.Request) -> web.Response:
        raise web.HTTPServiceUnavailable

    ports, runners = [], []
    for handler in (well, unwell):
        app = web.Application()
        app.router.add_get("/healthz", handler)
        runners.append(web.AppRunner(app))
        await runners[-1].setup()
        ports.append(free_port())
        await web.TCPSite(runners[-1], "127.0.0.1", ports[-1]).start()
    yield ports[0], ports[1]
    for runner in runners:
        await runner.cleanup()


async def test_a_container_is_healthy_when_either_service_answers(answering: tuple[int, int]) -> None:
    """One image holds both, and a container runs one of them."""
    well, _ = answering
    assert await health(well, free_port()) == 0
    assert await health(free_port(), well) == 0


async def test_a_container_is_unhealthy_when_nothing_answers_well(answering: tuple[int, int]) -> None:
    """A refusal and an answer of 503 are both no health; neither is a traceback."""
    _, unwell = answering
    assert await health(unwell, free_port()) == 1


@pytest.mark.parametrize(
    ("env", "code", "sentence"),
    [
        ({"TAILRACE_SIM": "true"}, 0, "answering with sim"),
        ({}, 1, "no model to answer with: set ANTHROPIC_API_KEY"),
        ({"TAILRACE_PORT": "many"}, 1, "TAILRACE_PORT: "),
        ({"TAILRACE_SIM": "true", "TAILRACE_HOST": "0.0.0.0"}, 1, "only when api_keys are set"),
    ],
)
def test_preflight_says_in_one_sentence_what_is_wrong(env: dict[str, str], code: int, sentence: str) -> None:
    """It is what `docker compose up` shows instead of services that restart for ever."""
    done = run(sys.executable, str(ROOT / "deploy" / "preflight.py"), env=env)
    said = done.stdout + done.stderr
    assert done.returncode == code
    assert sentence in said
    assert said.count("\n") == 1
