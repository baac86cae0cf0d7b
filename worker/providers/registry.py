"""Which provider serves which model: one instance per server, made from the settings."""

from __future__ import annotations

from pydantic import SecretStr

from shared.errors import ConfigurationError
from shared.models import Model, ProviderName
from shared.settings import Settings
from worker.providers.provider import Provider
from worker.providers.sim import SimProvider
from worker.providers.upstream import Limits

_NO_KEY = "none"
"""Sent to servers that want none: they are not to see a provider's own, and the SDKs insist on some."""
_KEY_NAMES: dict[ProviderName, str] = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "google": "GEMINI_API_KEY",
}
_Server = tuple[ProviderName, str | None, SecretStr | None]


class Providers:
    """The providers of all models that the settings offer. Models of one server share its connections."""

    def __init__(self, settings: Settings) -> None:
        """Make them. Opens no connection. Raises ``ConfigurationError`` for a model that could never be called."""
        self._settings = settings
        self._keys: dict[ProviderName, SecretStr | None] = {
            "anthropic": settings.anthropic_api_key,
            "openai": settings.openai_api_key,
            "google": settings.google_api_key,
        }
        # Twice the slots, so that a call never waits for the connection of one that is just ending.
        self._limits = Limits(settings.first_token_timeout_s, settings.idle_timeout_s, 2 * settings.worker_slots)
        self._providers: dict[_Server, Provider] = {}
        for alias, model in settings.offered_models().items():
            if _server(model) not in self._providers:
                self._providers[_server(model)] = self._make(alias, model)

    def of(self, model: Model) -> Provider:
        """Return the provider that serves ``model``, one of those the settings offer."""
        return self._providers[_server(model)]

    def _make(self, alias: str, model: Model) -> Provider:
        if model.provider == "sim":
            return SimProvider(stall_s=self._settings.idle_timeout_s)
        key = self._keys[model.provider] if model.base_url is None else model.api_key or SecretStr(_NO_KEY)
        if key is None:
            name = _KEY_NAMES[model.provider]
            message = f"the model {alias!r} needs {name}, or a base_url of a server that needs no key"
            raise ConfigurationError(message)
        try:
            return self._made(model, key.get_secret_value())
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("openai", "google"):
                raise
            message = (
                f"the model {alias!r} is of provider {model.provider}, whose SDK is not installed: "
                f"pip install 'tailrace[{model.provider}]'"
            )
            raise ConfigurationError(message) from None

    def _made(self, model: Model, key: str) -> Provider:
        # Imported here because each SDK takes over a second to load, which only those who use it should wait for, and
        # because two of them are extras.
        settings, limits, own_url = self._settings, self._limits, model.base_url
        if model.provider == "openai":
            from worker.providers import openai  # noqa: PLC0415

            base_url = own_url or settings.openai_base_url or openai.DEFAULT_URL
            return openai.OpenAIProvider(api_key=key, limits=limits, base_url=base_url)
        if model.provider == "google":
            from worker.providers import gemini  # noqa: PLC0415

            base_url = own_url or settings.google_base_url or gemini.DEFAULT_URL
            return gemini.GeminiProvider(api_key=key, limits=limits, base_url=base_url)
        from worker.providers import anthropic  # noqa: PLC0415

        base_url = own_url or settings.anthropic_base_url or anthropic.DEFAULT_URL
        return anthropic.AnthropicProvider(api_key=key, limits=limits, base_url=base_url)

    async def aclose(self) -> None:
        """Close every provider's connections. Idempotent."""
        for provider in self._providers.values():
            await provider.aclose()


def _server(model: Model) -> _Server:
    return model.provider, model.base_url, model.api_key
