"""What the command line's client reads from the environment: where the relay is, and the key to it."""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import ConfigurationError


class ClientSettings(BaseSettings):
    """The settings of ``tailrace ask``, ``follow`` and ``status``; their options win over these."""

    model_config = SettingsConfigDict(env_prefix="TAILRACE_", env_ignore_empty=True, frozen=True, extra="ignore")

    url: str = Field("http://127.0.0.1:8080", description="Address of a relay, or of the proxy before the relays.")
    api_key: SecretStr | None = Field(None, description="API key of your tenant, where relays ask for one.")


def load_client_settings() -> ClientSettings:
    """Return the settings of the environment. Raises ``ConfigurationError`` where one cannot be understood."""
    try:
        return ClientSettings()
    except ValidationError as error:
        names = ", ".join("TAILRACE_" + str(problem["loc"][0]).upper() for problem in error.errors())
        message = f"{names}: not a text that can be used"
        raise ConfigurationError(message) from None
