"""Tests of the environments that the parts get."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from shared.settings import Settings
from tailrace.local.environment import drain_budgets, service_environment
from tailrace.local.model import ALIAS, local_model
from tests.support import Process
from tests.tailrace.local_support import ROOT_ENVIRONMENT


def test_the_services_get_what_the_runner_decided() -> None:
    """Address of Redis, port, models, and logs in which readiness can be seen whatever level was asked for."""
    settings = Settings(port=18080, log_level="ERROR", log_json=False)
    environment = service_environment(settings, "unix:///tmp/redis.sock", {ALIAS: local_model(4321)})
    ours = {name: value for name, value in environment.items() if name.startswith("TAILRACE_")}
    assert json.loads(ours.pop("TAILRACE_MODELS")) == {
        ALIAS: {
            "provider": "anthropic",
            "upstream": ALIAS,
            "base_url": "http://127.0.0.1:4321",
            "max_tokens": 2048,
            "continuation": "prefill",
            "on_interruption": "continue",
            "echoes_prefill": False,
            "api": "chat",
        }
    }
    assert ours == {
        "TAILRACE_REDIS_URL": "unix:///tmp/redis.sock",
        "TAILRACE_HOST": "127.0.0.1",
        "TAILRACE_PORT": "18080",
        "TAILRACE_LOG_JSON": "true",
        "TAILRACE_LOG_LEVEL": "INFO",
        "TAILRACE_RELAY_DRAIN_S": "1.0",
        "TAILRACE_WORKER_DRAIN_S": "2.0",
    }


def test_the_services_understand_what_they_get() -> None:
    """The models written for them are the models they read."""
    environment = service_environment(Settings(), "redis://127.0.0.1/0", {ALIAS: local_model(4321)})
    read = Settings(models=json.loads(environment["TAILRACE_MODELS"]))
    assert read.offered_models() == {ALIAS: local_model(4321)}


def test_drain_budgets_are_short_here_unless_they_were_chosen() -> None:
    """Nobody but the person at the terminal waits for them."""
    assert drain_budgets(Settings()) == (1.0, 2.0)
    assert drain_budgets(Settings(relay_drain_s=7, worker_drain_s=9)) == (7, 9)


async def test_programs_that_need_no_settings_get_no_secrets(tmp_path: Path) -> None:
    """Redis, the local model and pip run without the API key and without anybody's passwords."""
    code = "from tailrace.local.environment import foreign_environment as e; print(*e(), flush=True)"
    secrets = {"ANTHROPIC_API_KEY": "sk-secret", "TAILRACE_API_KEYS": '{"me": "secret"}', "KEPT": "yes"}
    process = Process([sys.executable, "-c", code], tmp_path / "out", env=ROOT_ENVIRONMENT | secrets).start()
    names = (await process.line("KEPT")).split()
    assert not [name for name in names if name.startswith(("ANTHROPIC", "TAILRACE"))]
    process.end()


async def test_a_directory_named_like_one_of_ours_is_not_run_instead(tmp_path: Path) -> None:
    """Somebody's project may well have a package called ``worker``."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "__init__.py").write_text("print('the wrong one', flush=True)")
    code = (
        "import subprocess; from tailrace.local.environment import foreign_environment, python_module\n"
        "subprocess.run(python_module('shared'), env=foreign_environment())"
    )
    command = ["env", "-C", str(tmp_path), sys.executable, "-P", "-c", code]
    process = Process(command, tmp_path / "out", env=ROOT_ENVIRONMENT).start()
    await process.line("'shared' is a package and cannot be directly executed")
    await process.ended()
    assert "the wrong one" not in process.output()
    process.end()
