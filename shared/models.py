"""Which models can be asked for, and what must be known of each: its provider, its address and its limits."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

ProviderName = Literal["anthropic", "openai", "google", "sim"]
OpenAIApi = Literal["chat", "responses"]
ThinkingHint = Literal["effort", "budget", "none"]
Continuation = Literal["prefill", "user_turn"]
Interruption = Literal["continue", "restart", "fail"]

_NO_PREFILL_FROM = (4, 6)
_VERSION_DIGITS = 2
"""Longer numbers in a model name are dates."""


class Model(BaseModel):
    """One model that clients may name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: ProviderName
    upstream: str | None = Field(None, description="The provider's own name for the model; the alias if not given.")
    base_url: str | None = Field(None, description="Where the provider listens, if not at its usual address.")
    api_key: SecretStr | None = Field(
        None, description="Key for base_url, where that server wants one; a provider's own key goes to no other server."
    )
    max_tokens: int = Field(8192, gt=0, description="Most tokens one answer may have; a larger request is clamped.")
    continuation: Continuation = Field(
        "user_turn", description="How a cut answer is continued: by assistant prefill or by a further user turn."
    )
    on_interruption: Interruption = Field(
        "continue", description="What becomes of a cut answer where the request does not say: goes on, anew, or fails."
    )
    echoes_prefill: bool = Field(default=False, description="The server repeats the prefill at the answer's start.")
    api: OpenAIApi = Field(
        "chat", description="For provider openai: the upstream's API, Chat Completions (chat) or Responses (responses)."
    )
    thinking: ThinkingHint | None = Field(
        None,
        description="For providers openai and google: how the model is told to think, by effort (effort), by a number "
        "of tokens (budget, google alone) or not at all (none); if not given, as the provider's newest models want it.",
    )

    @model_validator(mode="after")
    def _refuse_what_the_provider_does_not_know(self) -> Self:
        knows_thinking: dict[ProviderName, tuple[ThinkingHint | None, ...]] = {
            "openai": (None, "effort", "none"),
            "google": (None, "effort", "budget", "none"),
        }
        if self.api_key is not None and self.base_url is None:
            message = "api_key is for models with a base_url; a provider's own key has a setting"
            raise ValueError(message)
        if self.api != "chat" and self.provider != "openai":
            message = "api is for models of provider openai"
            raise ValueError(message)
        if self.thinking not in knows_thinking.get(self.provider, (None,)):
            message = f"thinking {self.thinking!r} is not for models of provider {self.provider}"
            raise ValueError(message)
        return self


def default_models(keys: Collection[ProviderName], *, sim: bool) -> dict[str, Model]:
    """Return the models offered when none are configured: those of providers with a key, the simulator if it is on."""
    models: dict[str, Model] = {}
    if "anthropic" in keys:
        for name in ("claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5", "claude-haiku-4-5"):
            models[name] = Model(provider="anthropic", continuation=claude_continuation(name), max_tokens=32_000)
    if "openai" in keys:
        for name in ("gpt-6.2-sol", "gpt-6.1-terra", "gpt-6-luna", "gpt-5.4-mini"):
            models[name] = Model(provider="openai", api="responses", thinking="effort", max_tokens=32_000)
    if "google" in keys:
        for name in ("gemini-3.8-flash", "gemini-3.1-pro-preview", "gemini-2.5-flash"):
            models[name] = Model(provider="google", max_tokens=32_000)
    if sim:
        models["sim"] = Model(provider="sim", continuation="prefill")
    return models


def claude_continuation(name: str) -> Continuation:
    """Return how a Claude model continues a cut answer: models from 4.6 on answer 400 to a prefill."""
    numbers = tuple(int(part) for part in name.split("-") if part.isdigit() and len(part) <= _VERSION_DIGITS)
    return "prefill" if numbers and numbers < _NO_PREFILL_FROM else "user_turn"
