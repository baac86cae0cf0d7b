"""The environments of the parts: that of this process, with what the runner has decided put on top."""

from __future__ import annotations

import json
from collections.abc import Mapping

from shared.models import Model
from shared.processes.launch import inherited_environment, python_module
from shared.settings import Settings

__all__ = ["drain_budgets", "foreign_environment", "python_module", "service_environment"]

_OURS = ("TAILRACE_", "ANTHROPIC_", "OPENAI_", "GEMINI_", "GOOGLE_")
_RELAY_DRAIN_S = 1.0
_WORKER_DRAIN_S = 2.0
"""A person at the terminal waits for these, and nobody else is connected: far below the services' own budgets."""


def foreign_environment() -> dict[str, str]:
    """Return the environment of what needs none of our settings: without them, since some are secrets."""
    return {name: value for name, value in inherited_environment().items() if not name.startswith(_OURS)}


def service_environment(settings: Settings, redis_url: str, models: Mapping[str, Model]) -> dict[str, str]:
    """Return the environment of the relay and the worker. ``models`` replaces those offered, unless it is empty.

    Logs are JSON at INFO or finer whatever was asked for, because the runner waits for lines that say "ready".
    """
    environment = inherited_environment()
    environment["TAILRACE_REDIS_URL"] = redis_url
    environment["TAILRACE_HOST"] = settings.host
    environment["TAILRACE_PORT"] = str(settings.port)
    environment["TAILRACE_LOG_JSON"] = "true"
    environment["TAILRACE_LOG_LEVEL"] = "DEBUG" if settings.log_level == "DEBUG" else "INFO"
    relay_drain_s, worker_drain_s = drain_budgets(settings)
    environment["TAILRACE_RELAY_DRAIN_S"] = str(relay_drain_s)
    environment["TAILRACE_WORKER_DRAIN_S"] = str(worker_drain_s)
    if models:
        environment["TAILRACE_MODELS"] = json.dumps(
            {alias: model.model_dump(exclude_none=True) for alias, model in models.items()}
        )
    return environment


def drain_budgets(settings: Settings) -> tuple[float, float]:
    """Return the seconds the relay and the worker have at shutdown: short ones, unless they were set."""
    chosen = settings.model_fields_set
    return (
        settings.relay_drain_s if "relay_drain_s" in chosen else _RELAY_DRAIN_S,
        settings.worker_drain_s if "worker_drain_s" in chosen else _WORKER_DRAIN_S,
    )
