"""Settings: documented, buildable without an environment, refused with a sentence, and silent about secrets."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from shared.errors import ConfigurationError
from shared.models import Model
from shared.settings import Settings, load_settings

SECRET = "hunter2-very-secret"
Setenv = Callable[..., None]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away whatever the machine has configured."""
    for name in list(os.environ):
        if name.upper().startswith(("TAILRACE_", "ANTHROPIC_", "OPENAI_", "GEMINI_", "GOOGLE_")):
            monkeypatch.delenv(name)


@pytest.fixture
def setenv(monkeypatch: pytest.MonkeyPatch) -> Setenv:
    """Set variables of the environment for this test."""

    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def keys(**by_tenant: str) -> dict[str, SecretStr]:
    """Return API keys as Settings takes them."""
    return {tenant: SecretStr(key) for tenant, key in by_tenant.items()}


def test_settings_need_no_environment() -> None:
    """The defaults are a working relay and worker on this machine."""
    settings = Settings()
    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert settings == load_settings()


def test_every_setting_is_documented() -> None:
    """``tailrace settings`` prints a sentence for each."""
    for name, field in Settings.model_fields.items():
        assert field.description, f"{name} has no description"
        assert field.description.endswith("."), f"{name}: {field.description}"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_number_says_its_unit_or_what_it_counts(name: str) -> None:
    """Seconds, milliseconds and bytes are in the name; the rest counts things its description names."""
    default = Settings.model_fields[name].default
    if isinstance(default, float):
        assert name.endswith("_s"), f"{name} is a time without a unit"
    if isinstance(default, int) and not isinstance(default, bool):
        description = (Settings.model_fields[name].description or "").lower()
        counted = re.search(r"most|port|entries|largest|longest|max_tokens|hard cap|bytes", description)
        assert name.endswith(("_ms", "_bytes")) or counted, f"{name} does not say what it counts"


def test_the_environment_is_read_by_prefix(setenv: Setenv) -> None:
    """Upper case and ``TAILRACE_``; lists and maps are JSON; the Anthropic names are the SDK's."""
    setenv(
        TAILRACE_LEASE_S="2.5",
        TAILRACE_CORS_ORIGINS='["https://a.example"]',
        TAILRACE_API_KEYS=json.dumps({"acme": SECRET}),
        TAILRACE_SIM="true",
        ANTHROPIC_API_KEY="sk-1",
    )
    settings = load_settings()
    assert settings.lease_s == 2.5
    assert settings.cors_origins == ["https://a.example"]
    assert settings.api_keys["acme"].get_secret_value() == SECRET
    assert settings.anthropic_api_key == SecretStr("sk-1")
    assert {"sim", "claude-sonnet-5-5"} <= set(settings.offered_models())


@pytest.mark.parametrize(
    ("variable", "provider"),
    [("OPENAI_API_KEY", "openai"), ("GEMINI_API_KEY", "google"), ("GOOGLE_API_KEY", "google")],
)
def test_a_providers_key_is_read_by_the_name_its_sdk_has_for_it(setenv: Setenv, variable: str, provider: str) -> None:
    """And its models are offered."""
    setenv(**{variable: SECRET})
    settings = load_settings()
    assert settings.providers_with_keys() == [provider]
    assert {model.provider for model in settings.offered_models().values()} == {provider}
    assert SECRET not in repr(settings)


def test_an_empty_variable_is_one_that_is_not_set(setenv: Setenv) -> None:
    """Compose files pass ``${ANTHROPIC_API_KEY:-}`` on; that is no key."""
    setenv(ANTHROPIC_API_KEY="", TAILRACE_API_KEYS="", TAILRACE_LEASE_S="", TAILRACE_STREAMS_URL="")
    settings = load_settings()
    assert settings.anthropic_api_key is None
    assert settings.streams_url is None
    assert settings.offered_models() == {}


def test_keyword_arguments_win_over_the_environment(setenv: Setenv) -> None:
    """A test says what it means, whatever the machine is configured for."""
    setenv(TAILRACE_LEASE_S="2.5")
    assert Settings(lease_s=3.0).lease_s == 3.0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"host": "0.0.0.0"}, "host may leave loopback only when api_keys are set"),
        ({"linger_s": 60.0, "ttl_s": 60.0}, "linger_s must be shorter than ttl_s"),
        ({"ttl_s": 100.0, "running_ttl_s": 99.0}, "ttl_s must not exceed running_ttl_s"),
        ({"detached_s": 1.0, "lease_s": 1.5}, "detached_s must be at least lease_s"),
        ({"viewer_lease_s": 10.0, "heartbeat_s": 10.0}, "viewer_lease_s must exceed heartbeat_s"),
        ({"retry_delay_s": 31.0}, "retry_delay_s must not exceed retry_delay_max_s"),
        ({"default_model": "nope"}, "default_model must be one of models"),
        ({"default_model": "sim"}, "default_model must be one of models"),
        ({"api_keys": keys(a="")}, "api_keys must not be empty"),
        ({"api_keys": keys(a="x", b="x")}, "api_keys must not be the same for two tenants"),
        ({"api_keys": keys(a="sha256:" + "A" * 64)}, "64 lower-case hexadecimal digits"),
        ({"api_keys": keys(a="sha256:short")}, "64 lower-case hexadecimal digits"),
    ],
)
def test_a_combination_that_cannot_work_is_refused_with_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    """The sentence names the settings and the rule."""
    with pytest.raises(ValidationError, match=re.escape(sentence)):
        Settings(**wrong)


def test_the_same_key_is_noticed_also_when_one_is_hashed() -> None:
    """Two tenants with one key could not be told apart."""
    digest = hashlib.sha256(b"x").hexdigest()
    with pytest.raises(ValidationError, match="the same for two tenants"):
        Settings(api_keys=keys(a="x", b=f"sha256:{digest}"))


def test_what_works_beside_the_limits_is_accepted() -> None:
    """The rules refuse no more than they say."""
    settings = Settings(
        host="0.0.0.0",
        api_keys=keys(a="x"),
        ttl_s=5.1,
        running_ttl_s=5.1,
        detached_s=1.5,
        sim=True,
        default_model="sim",
    )
    assert settings.default_model == "sim"
    assert Settings(models={"m": Model(provider="sim")}, default_model="m").offered_models().keys() == {"m"}
    for host in ("::1", "localhost"):
        assert Settings(host=host).host == host


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAILRACE_LEASE_S", "0"),
        ("TAILRACE_LEASE_S", "-1"),
        ("TAILRACE_LEASE_S", "soon"),
        ("TAILRACE_LEASE_S", "nan"),
        ("TAILRACE_PORT", "65536"),
        ("TAILRACE_PORT", "http"),
        ("TAILRACE_WORKER_SLOTS", "0"),
        ("TAILRACE_MAX_ATTEMPTS", "100"),
        ("TAILRACE_SIM", "perhaps"),
        ("TAILRACE_LOG_LEVEL", "LOUD"),
        ("TAILRACE_CORS_ORIGINS", "https://a.example"),
        ("TAILRACE_API_KEYS", SECRET),
        ("TAILRACE_API_KEYS", f'["{SECRET}"]'),
        ("TAILRACE_API_KEYS", f'{{"acme": {{"key": "{SECRET}"}}}}'),
        ("TAILRACE_MODELS", '{"m": {"provider": "nobody"}}'),
        ("TAILRACE_MODELS", '{"m": {"provider": "sim", "colour": 1}}'),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_variable(setenv: Setenv, name: str, value: str) -> None:
    """No traceback, no pydantic jargon of several lines, and never the value, which may be a secret."""
    setenv(**{name: value})
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(name)
    assert ": " in message
    assert "\n" not in message
    assert SECRET not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_every_wrong_setting_is_told_at_once(setenv: Setenv) -> None:
    """Nobody likes to restart a program once per mistake."""
    setenv(TAILRACE_PORT="-1", TAILRACE_LEASE_S="x")
    with pytest.raises(ConfigurationError, match=r"TAILRACE_PORT: .*; TAILRACE_LEASE_S: "):
        load_settings()


def secretive() -> Settings:
    """Return settings with a secret wherever one can be."""
    url = SecretStr(f"redis://user:{SECRET}@127.0.0.1/0")
    return Settings(redis_url=url, streams_url=url, api_keys=keys(acme=SECRET), anthropic_api_key=SecretStr(SECRET))


def test_secrets_show_neither_in_repr_nor_in_json() -> None:
    """Whoever prints or logs the settings prints stars."""
    settings = secretive()
    for text in (repr(settings), str(settings), settings.model_dump_json(), f"{settings.model_dump()}"):
        assert SECRET not in text
    assert "**********" in settings.model_dump_json()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAILRACE_REDIS_URL", f"redis://:{SECRET}@h"),
        ("TAILRACE_STREAMS_URL", f"redis://:{SECRET}@h"),
        ("TAILRACE_API_KEYS", f'{{"a":"{SECRET}"}}'),
        ("ANTHROPIC_API_KEY", SECRET),
    ],
)
def test_secrets_do_not_show_in_errors(setenv: Setenv, name: str, value: str) -> None:
    """A refused combination quotes none of what was given, neither to the user nor in the error it comes from."""
    setenv(**{name: value}, TAILRACE_LEASE_S="60")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "hunter2" not in f"{caught.value!s} {caught.value!r}"
    with pytest.raises(ConfigurationError, match=r"^detached_s must be at least lease_s$"):
        load_settings()


def test_api_keys_are_kept_as_digests() -> None:
    """A plain key and its digest authorize alike; 32 bytes is all that is compared."""
    digest = hashlib.sha256(SECRET.encode()).digest()
    settings = Settings(api_keys=keys(plain=SECRET, other=f"sha256:{hashlib.sha256(b'b').hexdigest()}"))
    assert settings.key_digests() == {"plain": digest, "other": hashlib.sha256(b"b").digest()}


def test_settings_cannot_be_changed() -> None:
    """What was checked at the start stays true."""
    with pytest.raises(ValidationError):
        Settings().lease_s = 9.0  # type: ignore[misc]


def test_a_misspelt_keyword_is_refused() -> None:
    """A test that sets what does not exist would test the default."""
    with pytest.raises(ValidationError):
        Settings(leese_s=1.0)  # type: ignore[call-arg]
