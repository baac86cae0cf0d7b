"""docker-compose.yml: what `docker compose up` starts, as Compose itself reads the file."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from shared.settings import Settings
from tests.deploy.tools import compose_config
from tests.support import ROOT

AIR_S = 5.0
"""What a grace period must leave beyond the budgets, for the interpreter and for Redis."""


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """Give the services under an empty environment."""
    found: dict[str, Any] = compose_config()["services"]
    return found


def seconds(duration: str) -> float:
    """Return a duration such as 1m10s in seconds."""
    units = {"h": 3600, "m": 60, "s": 1}
    return float(sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", duration)))


def settings_of(service: dict[str, Any]) -> Settings:
    """Return the settings that a service would read from its environment."""
    names = {f"TAILRACE_{name.upper()}": name for name in Settings.model_fields}
    values = {names[name]: value for name, value in service["environment"].items() if name in names and value}
    if "api_keys" in values:
        values["api_keys"] = json.loads(values["api_keys"])
    return Settings.model_validate(values)


def test_two_relays_and_two_workers_are_started(services: dict[str, Any]) -> None:
    """The file promises an installation that survives the loss of any one service process."""
    assert services["relay"]["deploy"]["replicas"] == 2
    assert services["worker"]["deploy"]["replicas"] == 2


def test_redis_writes_to_disk_and_never_evicts(services: dict[str, Any]) -> None:
    """An evicted log would be an answer lost without a word."""
    redis = services["redis"]
    command = " ".join(redis["command"])
    assert "--appendonly yes --appendfsync everysec" in command
    assert "--maxmemory-policy noeviction" in command
    assert [volume["target"] for volume in redis["volumes"]] == ["/data"]


@pytest.mark.parametrize("name", ["redis", "relay", "worker", "nginx"])
def test_every_lasting_service_restarts_and_has_a_health_check(services: dict[str, Any], name: str) -> None:
    """The services' own check is the image's."""
    assert services[name]["restart"] == "unless-stopped"
    checked_by_image = "HEALTHCHECK" in (ROOT / "Dockerfile").read_text() and "healthcheck" not in services[name]
    assert checked_by_image if name in ("relay", "worker") else services[name]["healthcheck"]["test"]


def test_only_nginx_is_published_and_only_on_loopback(services: dict[str, Any]) -> None:
    """The API key that applies when none is given is known to everybody."""
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert list(published) == ["nginx"]
    assert [port["host_ip"] for port in published["nginx"]] == ["127.0.0.1"]


@pytest.mark.parametrize("name", ["relay", "worker"])
def test_the_grace_period_exceeds_the_drain_budgets(services: dict[str, Any], name: str) -> None:
    """A service killed in the middle of its drain would leave its work to the lease."""
    budgets = Settings()
    drain_s = budgets.relay_drain_s if name == "relay" else budgets.worker_drain_s + budgets.linger_s
    assert seconds(services[name]["stop_grace_period"]) >= drain_s + AIR_S


@pytest.mark.parametrize("name", ["relay", "worker", "preflight"])
def test_the_settings_given_are_accepted(services: dict[str, Any], name: str) -> None:
    """The defaults of the file must pass the services' own checks, such as keys for a relay beyond loopback."""
    settings = settings_of(services[name])
    assert settings.redis_url.get_secret_value() == "redis://redis:6379/0"
    assert settings.host == ("127.0.0.1" if name == "worker" else "0.0.0.0")


def test_nothing_answers_with_the_simulator_unless_asked(services: dict[str, Any]) -> None:
    """An answer that nobody's model gave must never pass for one."""
    assert settings_of(services["relay"]).offered_models() == {}
    asked = compose_config(TAILRACE_SIM="true")["services"]
    assert list(settings_of(asked["worker"]).offered_models()) == ["sim"]


def test_the_services_wait_for_redis_and_for_the_settings_to_be_checked(services: dict[str, Any]) -> None:
    """A wrong setting is one sentence of `preflight`, not services that restart for ever."""
    for name in ("relay", "worker"):
        conditions = {other: needed["condition"] for other, needed in services[name]["depends_on"].items()}
        assert conditions == {"redis": "service_healthy", "preflight": "service_completed_successfully"}
    assert "restart" not in services["preflight"] or services["preflight"]["restart"] == "no"


@pytest.mark.parametrize("name", ["relay", "worker", "preflight", "nginx"])
def test_our_containers_have_no_rights_and_write_nothing(services: dict[str, Any], name: str) -> None:
    """A hole in a service should lead nowhere."""
    service = services[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_keys_of_ones_own_replace_the_known_one() -> None:
    """The documented way to let others in."""
    services = compose_config(TAILRACE_API_KEYS='{"acme":"a key"}')["services"]
    assert list(settings_of(services["relay"]).api_keys) == ["acme"]


def test_no_image_is_latest(services: dict[str, Any]) -> None:
    """What runs tomorrow is what was tried today."""
    for service in services.values():
        assert re.search(r":(?!latest$)[\w.-]+$", service["image"])
