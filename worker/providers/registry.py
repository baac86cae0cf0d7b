"""Which provider serves which model: one instance per server, made from the settings."""

from __future__ import annotations

from shared.errors import ConfigurationError
from shared.models import Model
from shared.settings import Settings
from worker.llm import Provider
from worker.providers.sim import SimProvider
from worker.providers.upstream import Limits

_NO_KEY = "none"
"""Sent to servers other than the Anthropic API: they are not to see its key, and the SDK insists on some."""


class Providers:
    """The providers of all models that the settings offer. Models of one server share its connections."""

    def __init__(self, settings: Settings) -> None:
        """Make them. Opens no connection. Raises ``ConfigurationError`` for a model that could never be called."""
        self._settings = settings
        self._providers: dict[tuple[str, str | None], Provider] = {}
        for alias, model in settings.offered_models().items():
            if _server(model) not in self._providers:
                self._providers[_server(model)] = self._make(alias, model)

    def of(self, model: Model) -> Provider:
        """Return the provider that serves ``model``, one of those the settings offer."""
        return self._providers[_server(model)]

    def _make(self, alias: str, model: Model) -> Provider:
        if model.provider == "sim":
            return SimProvider(stall_s=self._settings.idle_timeout_s)
        if model.provider != "anthropic":
            message = f"the model {alias!r} is of provider {model.provider!r}, which this version cannot call yet"
            raise ConfigurationError(message)
        key = self._settings.anthropic_api_key
        if model.base_url is None and key is None:
            message = f"the model {alias!r} needs ANTHROPIC_API_KEY, or a base_url of a server that needs no key"
            raise ConfigurationError(message)
        return self._make_anthropic(model)

    def _make_anthropic(self, model: Model) -> Provider:
        # Imported here because the SDK takes over a second to load, which only those who use it should wait for.
        from worker.providers.anthropic import DEFAULT_URL, AnthropicProvider  # noqa: PLC0415

        settings, key = self._settings, self._settings.anthropic_api_key
        # Twice the slots, so that a call never waits for the connection of one that is just ending.
        limits = Limits(settings.first_token_timeout_s, settings.idle_timeout_s, 2 * settings.worker_slots)
        if model.base_url is not None or key is None:
            return AnthropicProvider(api_key=_NO_KEY, limits=limits, base_url=model.base_url or DEFAULT_URL)
        base_url = settings.anthropic_base_url or DEFAULT_URL
        return AnthropicProvider(api_key=key.get_secret_value(), limits=limits, base_url=base_url)

    async def aclose(self) -> None:
        """Close every provider's connections. Idempotent."""
        for provider in self._providers.values():
            await provider.aclose()


def _server(model: Model) -> tuple[str, str | None]:
    return model.provider, model.base_url
