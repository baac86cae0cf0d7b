"""The one place that reads the environment: every setting of relays, workers and the local runner.

Names are the fields in upper case with the prefix ``TAILRACE_``; lists and maps are JSON.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from shared.errors import ConfigurationError
from shared.models import Model, ProviderName, default_models

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Settings(BaseSettings):
    """All settings, each with its unit and default. Can be built in a test from keyword arguments alone."""

    model_config = SettingsConfigDict(
        env_prefix="TAILRACE_",
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        hide_input_in_errors=True,  # the input is what the secrets are written in
    )

    # Redis
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis of the queue (and of the streams, unless streams_url is set): redis://, rediss://, unix:// "
        "or sentinel://[user:password@]host:26379,host:26379/primary[/db] (sentinels:// with TLS).",
    )
    streams_url: SecretStr | None = Field(
        None,
        description="Redis of the stream logs, where it is another one: as redis_url, or a Redis Cluster as "
        "cluster://[user:password@]host:6379,host:6379 (rediss+cluster:// with TLS).",
    )
    redis_timeout_s: Seconds = Field(5.0, description="Longest wait for one Redis answer or connection.")
    redis_connections: Count = Field(64, description="Most command connections one process opens to each Redis.")

    # Relay
    host: str = Field("127.0.0.1", description="Address the relay listens on; beyond loopback it needs api_keys.")
    port: int = Field(8080, ge=0, le=65535, description="Port the relay listens on; 0 picks a free one.")
    relay_processes: int = Field(
        1, ge=1, le=256, description="Processes of the relay, all behind its port; the limits here are of each."
    )
    max_body_bytes: Count = Field(1_048_576, description="Largest request body.")
    heartbeat_s: Seconds = Field(10.0, description="Silence after which a comment is sent on an SSE connection.")
    retry_ms: Count = Field(1000, description="Reconnection delay told to SSE clients.")
    send_timeout_s: Seconds = Field(
        30.0, description="How long a client may refuse to read, or take to send a request's body, before it is let go."
    )
    feed_entries: Count = Field(
        256, description="Live entries held for one slow reader before it reads the log instead."
    )
    feed_bytes: Count = Field(
        8_192,
        description="Its share of the memory of such entries, with the same effect; readers of one stream share.",
    )
    merge_entries: int = Field(
        4,
        ge=2,
        description="Live entries that have gathered for one reader, since it or the relay is slow, from which on "
        "their deltas are told as one.",
    )
    page_entries: Count = Field(1000, description="Entries read from a log at a time.")
    kept_logs_bytes: int = Field(33_554_432, ge=0, description="Memory of a relay for ended logs told lately; 0: none.")
    quiet_check_s: Seconds = Field(
        2.0, description="How often the logs of silent streams are checked for missed entries."
    )
    wait_max_s: Seconds = Field(300.0, description="Longest ?wait= of a request for a finished answer or a poll.")
    cancel_answer_s: Seconds = Field(
        1.0, description="How long a worker has to end a cancelled stream before the relay does."
    )
    ready_grace_s: Seconds = Field(15.0, description="How long Redis may be away before /readyz fails.")
    relay_drain_s: Seconds = Field(
        20.0, description="Budget for saying goodbye to every client at shutdown, spread evenly."
    )
    relay_notice_s: float = Field(
        0.0,
        ge=0,
        description="How long a relay that must stop goes on accepting with /readyz off, for balancers that ask it; "
        "before the drain, and 0 where something else waits, as Kubernetes' preStop does.",
    )
    accept_per_s: Count = Field(
        500, description="Most event connections let in per second; others wait in line for up to 5 s, then get 503."
    )
    socket_streams: Count = Field(100, description="Most streams that one WebSocket follows.")
    socket_ping_s: Seconds = Field(
        20.0, description="Silence of a WebSocket's client after which it is pinged; half of that again, and it is cut."
    )
    socket_deflate: int = Field(
        100, ge=0, description="Most WebSockets of one relay that compress what they send; the others send it as it is."
    )
    cors_origins: list[str] = Field([], description="Origins that browsers may call from; none by default.")

    # Who may do what
    api_keys: dict[str, SecretStr] = Field(
        {},
        description="Tenant -> its API key, plain or as 'sha256:<hex>'. Empty: one local tenant, loopback only.",
    )
    link_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description="Mixed into signed links, so that whoever can read Redis cannot make any; the same for all relays. "
        "Another one revokes all links.",
    )
    link_s: Seconds = Field(900.0, description="How long a signed link is good for, if its maker does not say.")
    link_max_s: Seconds = Field(3600.0, description="Longest time a signed link may be good for.")
    max_connections: Count = Field(20_000, description="Most open event connections of one relay.")
    max_connections_per_tenant: Count = Field(
        10_000, description="Most open event connections of one tenant on one relay."
    )
    max_active_per_tenant: Count = Field(5_000, description="Most queued and running streams of one tenant.")
    max_active: Count = Field(50_000, description="Most queued and running streams of the whole system.")

    # Worker
    worker_slots: Count = Field(256, description="Most streams one worker runs at once.")
    worker_processes: int = Field(
        1,
        ge=1,
        le=256,
        description="Processes of the worker, all behind worker_metrics_port; the limits here are of each.",
    )
    worker_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of the worker's /healthz and /metrics; 0: none."
    )
    worker_metrics_host: str = Field("127.0.0.1", description="Address of the worker's /healthz and /metrics.")
    poll_s: Seconds = Field(1.0, description="arq's poll of the queue: the safety net behind the wake-up.")
    lease_s: Seconds = Field(1.5, description="A worker silent for this long has lost its streams to another.")
    start_grace_s: Seconds = Field(
        5.0, description="A stream nobody has picked up for this long is offered to every worker."
    )
    detached_s: Seconds = Field(15.0, description="A worker cut off from Redis for this long stops its provider calls.")
    buffer_bytes: Count = Field(
        4_194_304, description="Unwritten events one stream may hold before its provider waits."
    )
    commit_every_s: float = Field(
        0.03,
        ge=0,
        le=1,
        description="Under load a worker writes each stream once in this time; 0: as often as it can. "
        "A first token never waits.",
    )
    linger_s: Seconds = Field(
        5.0, description="How long a worker keeps an ended stream, to restore what Redis may lose."
    )
    max_attempts: int = Field(3, ge=1, le=99, description="Most provider calls for one stream.")
    first_token_timeout_s: Seconds = Field(120.0, description="Longest wait for the provider's first event.")
    idle_timeout_s: Seconds = Field(60.0, description="Longest silence of a provider in the middle of an answer.")
    retry_delay_s: Seconds = Field(
        0.5, description="First delay before a failed provider call is tried again; doubles."
    )
    retry_delay_max_s: Seconds = Field(30.0, description="Longest such delay, also when the provider asks for more.")
    worker_drain_s: Seconds = Field(
        20.0, description="Budget at shutdown for running streams; the rest is handed over."
    )

    # Streams
    ttl_s: Seconds = Field(3600.0, description="How long a log is kept after the stream's end.")
    running_ttl_s: Seconds = Field(86_400.0, description="How long a stream may exist without ending.")
    tombstone_s: Seconds = Field(604_800.0, description="How long a record outlives its log, to answer 410.")
    max_stream_bytes: Count = Field(33_554_432, description="Largest log; at the cap the stream ends as incomplete.")
    max_stream_entries: int = Field(1_000_000, gt=0, lt=99_000_000, description="Longest log, with the same effect.")
    viewer_lease_s: Seconds = Field(15.0, description="A viewer not heard of for this long has left.")
    abandon_grace_s: Seconds = Field(
        5.0, description="Time a last viewer has to come back under when_abandoned=cancel."
    )
    first_viewer_s: Seconds = Field(
        30.0, description="When abandonment starts to count for a stream nobody has read yet."
    )

    # Models
    anthropic_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("ANTHROPIC_API_KEY", "TAILRACE_ANTHROPIC_API_KEY"),
        description="Key of the Anthropic API; read from ANTHROPIC_API_KEY.",
    )
    anthropic_base_url: str | None = Field(
        None,
        validation_alias=AliasChoices("ANTHROPIC_BASE_URL", "TAILRACE_ANTHROPIC_BASE_URL"),
        description="Where the Anthropic API is, for models that name no base_url; read from ANTHROPIC_BASE_URL.",
    )
    openai_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("OPENAI_API_KEY", "TAILRACE_OPENAI_API_KEY"),
        description="Key of the OpenAI API; read from OPENAI_API_KEY.",
    )
    openai_base_url: str | None = Field(
        None,
        validation_alias=AliasChoices("OPENAI_BASE_URL", "TAILRACE_OPENAI_BASE_URL"),
        description="Where the OpenAI API is, version included, for models that name no base_url; OPENAI_BASE_URL.",
    )
    google_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("GEMINI_API_KEY", "GOOGLE_API_KEY", "TAILRACE_GOOGLE_API_KEY"),
        description="Key of the Gemini API; read from GEMINI_API_KEY or GOOGLE_API_KEY.",
    )
    google_base_url: str | None = Field(
        None,
        validation_alias=AliasChoices("GOOGLE_GEMINI_BASE_URL", "TAILRACE_GOOGLE_BASE_URL"),
        description="Where the Gemini API is, for models that name no base_url; read from GOOGLE_GEMINI_BASE_URL.",
    )
    sim: bool = Field(default=False, description="Offer the simulated provider, for load and fault tests.")
    models: dict[str, Model] = Field({}, description="Models by alias, replacing the built-in ones.")
    default_model: str | None = Field(None, description="Model of a request that names none; the first one if not set.")
    max_tokens_default: Count = Field(4096, description="max_tokens of a request that gives none.")
    max_tokens_cap: Count = Field(32_000, description="Hard cap on max_tokens, whatever the model allows.")

    # Logs
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least severe level logged.")
    log_json: bool = Field(default=True, description="Log as JSON lines; otherwise for a person's eyes.")

    @model_validator(mode="after")
    def _refuse_what_cannot_work(self) -> Self:
        keys = [key.get_secret_value() for key in self.api_keys.values()]
        digests = set(self.key_digests().values())
        problems = {
            "host may leave loopback only when api_keys are set": self.host not in _LOOPBACK and not self.api_keys,
            "api_keys must not be empty": hashlib.sha256().digest() in digests,
            "api_keys must not be the same for two tenants": len(digests) < len(keys),
            "api_keys that begin with sha256: need 64 lower-case hexadecimal digits after it": any(
                key.startswith("sha256:") and _SHA256.fullmatch(key) is None for key in keys
            ),
            "linger_s must be shorter than ttl_s": self.linger_s >= self.ttl_s,
            "ttl_s must not exceed running_ttl_s": self.ttl_s > self.running_ttl_s,
            "detached_s must be at least lease_s": self.detached_s < self.lease_s,
            "viewer_lease_s must exceed heartbeat_s": self.viewer_lease_s <= self.heartbeat_s,
            "retry_delay_s must not exceed retry_delay_max_s": self.retry_delay_s > self.retry_delay_max_s,
            "link_s must not exceed link_max_s": self.link_s > self.link_max_s,
            "default_model must be one of models": self.default_model is not None
            and self.default_model not in self.offered_models(),
        }
        wrong = [sentence for sentence, broken in problems.items() if broken]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def offered_models(self) -> dict[str, Model]:
        """Return the models clients may name."""
        return self.models or default_models(self.providers_with_keys(), sim=self.sim)

    def providers_with_keys(self) -> list[ProviderName]:
        """Return the providers whose own API may be called, the one whose models come first in front."""
        keys: dict[ProviderName, SecretStr | None] = {
            "anthropic": self.anthropic_api_key,
            "openai": self.openai_api_key,
            "google": self.google_api_key,
        }
        return [name for name, key in keys.items() if key is not None]

    def key_digests(self) -> dict[str, bytes]:
        """Return tenant -> SHA-256 of its API key, which is all that authorization needs to keep."""
        digests = {}
        for tenant, secret in self.api_keys.items():
            text = secret.get_secret_value()
            hashed = _SHA256.fullmatch(text) is not None
            digests[tenant] = bytes.fromhex(text[7:]) if hashed else hashlib.sha256(text.encode()).digest()
        return digests


def load_settings() -> Settings:
    """Return the settings of the environment. Raises ``ConfigurationError`` with a sentence per wrong setting."""
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigurationError("; ".join(map(_sentence, error.errors(include_input=False)))) from None
    except SettingsError as error:  # a list or map whose text is not even JSON; the message names it in passing
        found = re.search(r'field "(\w+)"', str(error))
        message = f"TAILRACE_{found[1].upper()}: must be JSON" if found else str(error)
        raise ConfigurationError(message) from None


def _sentence(problem: object) -> str:
    """Return what is wrong with one setting, without its value, which may be a secret."""
    assert isinstance(problem, dict)
    name = "_".join(str(part) for part in problem["loc"])
    text = str(problem["msg"]).removeprefix("Value error, ")
    return f"{'TAILRACE_' + name.upper()}: {text}" if name else text
